"""Pieces that several panels share."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is decoded, see ``chosen``

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.queries.cost import UNDATED, priced_inferences
from ell_otel.store.queries.references import NUMBERED

EVERYTHING: Final = "*"
"""The value of a variable that chooses nothing in particular."""

# What is read, each row once: the others are views, which see to that.
EVALUATIONS: Final = f"{semconv.TABLE_EVALUATIONS} FINAL"

MODEL: Final = "if(ResponseModel = '', RequestModel, ResponseModel)"
ERROR: Final = "if(StatusCode != 'Error', '', if(ErrorType != '', ErrorType, StatusMessage))"
IN_RANGE: Final = "$__timeFilter(Started)"
BUCKET: Final = "$__timeInterval(Started)"


def chosen(variable: str) -> str:
    """The value of a dashboard variable, as a string constant.

    Neither of Grafana's own ways to quote for SQL escapes a backslash, which is an escape in ClickHouse: a value that
    ends in one would end the string elsewhere. Percent-encoded nothing is left of any value that means something to
    SQL, to the data source's macros or to query parameters.
    """
    return f"decodeURLComponent('${{{variable}:percentencode}}')"


def among(variable: str, column: str) -> str:
    """The condition that ``column`` is what the variable chooses, or that it chooses everything."""
    return f"({chosen(variable)} = '{EVERYTHING}' OR {column} = {chosen(variable)})"


# What the variables of the list dashboards leave of the invocations, and of the inferences.
_COMMON: Final = f"{IN_RANGE} AND {among('service', 'ServiceName')} AND {among('program', 'ProgramName')}"
_OF_MODEL: Final = f"{chosen('model')} IN (RequestModel, ResponseModel, {UNDATED.format('ResponseModel')})"
USES: Final = f"{_COMMON} AND ({chosen('model')} = '{EVERYTHING}' OR {_OF_MODEL})"
RUNS: Final = f"""{_COMMON} AND ({chosen("model")} = '{EVERYTHING}' OR InvocationId IN (
        SELECT InvocationId FROM {semconv.TABLE_INFERENCES} WHERE {IN_RANGE} AND {_OF_MODEL}))"""

# For a table of versions: what was run, used and scored of each. Nullable, so that a join without a match says NULL.
FIGURES: Final = """
    ifNull(ran.calls, 0) AS calls, ran.error_rate AS error_rate, ran.p50 AS p50, ran.p95 AS p95,
    used.input / ran.calls AS input_per_call, used.output / ran.calls AS output_per_call,
    used.cost / ran.calls AS cost_per_call, used.cost AS cost, used.unpriced AS unpriced,
    scored.score AS score, ifNull(scored.scores, 0) AS scores"""


def ran(key: str, where: str) -> str:
    """A subquery: invocations by ``key``, with ``calls``, ``error_rate``, ``p50`` and ``p95`` in ms."""
    return f"""(
    SELECT {key} AS ran_key, toNullable(count()) AS calls,
        toNullable(countIf(StatusCode = 'Error') / count()) AS error_rate,
        toNullable(quantile(0.5)(Duration) / 1e6) AS p50, toNullable(quantile(0.95)(Duration) / 1e6) AS p95
    FROM {semconv.TABLE_INVOCATIONS} WHERE {where} GROUP BY ran_key
)"""


def used(key: str, where: str) -> str:
    """A subquery: tokens, cost and the number of inferences without a price, by ``key``."""
    return f"""(
    SELECT {key} AS used_key, sum(Input) AS input, sum(Output) AS output, sum(Cost) AS cost,
        toNullable(sum(Unknown)) AS unpriced
    FROM {priced_inferences(key, where)} GROUP BY used_key
)"""


def scored(key: str, where: str) -> str:
    """A subquery: the mean score and how many there are, by ``key``."""
    return f"""(
    SELECT {key} AS scored_key, avg(Score) AS score, toNullable(count(Score)) AS scores
    FROM {EVALUATIONS} WHERE {where} GROUP BY scored_key
)"""


def numbered(where: str = "1") -> str:
    """A subquery: versions with their number and the version before them."""
    return f"""(
    SELECT ProgramName AS program, ProgramVersion AS version, VersionNumber AS number, First AS first_seen,
        concat('v', toString(VersionNumber)) AS label,
        lagInFrame(ProgramVersion, 1, '') OVER (
            PARTITION BY ProgramName ORDER BY VersionNumber ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS previous
    FROM {NUMBERED} WHERE {where}
)"""
