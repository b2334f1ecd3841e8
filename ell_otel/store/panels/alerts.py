"""What the alert rules ask: one number for each label, over the rule's own time range."""

# ruff: noqa: S608 - SQL is put together from constants of this package

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.panels.parts import (
    EVALUATIONS,
    IN_RANGE,
    numbered,
)
from ell_otel.store.queries.cost import priced_inferences

ENOUGH_CALLS: Final = 20
"""Fewer calls than this say nothing about a rate or a percentile."""

COST: Final = f"""
SELECT if(ProgramName = '', 'no program', ProgramName) AS program, sum(Cost) AS dollars
FROM {priced_inferences("ProgramName", IN_RANGE)}
GROUP BY program HAVING dollars > 0
"""

ERROR_RATE: Final = f"""
SELECT ProgramName AS program, countIf(StatusCode = 'Error') / count() AS error_rate
FROM {semconv.TABLE_INVOCATIONS} WHERE {IN_RANGE}
GROUP BY program HAVING count() >= {ENOUGH_CALLS}
"""

# The newest version of each program that has become known in the range, beside the one before it.
_NEWEST: Final = f"""(
    SELECT program, label, version, previous FROM {numbered()} AS known
    WHERE previous != '' AND $__timeFilter(first_seen)
    ORDER BY number DESC LIMIT 1 BY program
)"""


# How far back the version before is looked at, beyond the rule's own range.
_BEFORE: Final = "{} >= $__fromTime - INTERVAL 7 DAY"


def _after_and_before(value: str, table: str, count: str, time: str = "") -> str:
    """``value`` of the newest version and of the one before it, where both have enough to go by."""
    return f"""(
    SELECT newest.program AS program, newest.label AS label,
        maxIf(figure, ProgramVersion = newest.version) AS after,
        maxIf(figure, ProgramVersion = newest.previous) AS before
    FROM (
        SELECT ProgramName, ProgramVersion, {value} AS figure
        FROM {table} WHERE {_BEFORE.format(time) if time else 1}
        GROUP BY ProgramName, ProgramVersion HAVING {count} >= {ENOUGH_CALLS}
    ) AS measured
    INNER JOIN {_NEWEST} AS newest ON newest.program = measured.ProgramName
    WHERE ProgramVersion IN (newest.version, newest.previous)
    GROUP BY program, label HAVING uniqExact(ProgramVersion) = 2
)"""


SLOWER: Final = f"""
SELECT program, label AS version, after / before AS ratio
FROM {_after_and_before("quantile(0.95)(Duration)", semconv.TABLE_INVOCATIONS, "count()", "Started")}
WHERE before > 0
"""

_PRICED: Final = priced_inferences("ProgramName, ProgramVersion", _BEFORE.format("Started"))
DEARER: Final = f"""
SELECT program, label AS version, after / before AS ratio
FROM {_after_and_before("sum(Cost) / sum(Inferences)", _PRICED, "sum(Inferences)")}
WHERE before > 0
"""

WORSE: Final = f"""
SELECT program, label AS version, before - after AS drop
FROM {_after_and_before("avg(Score)", EVALUATIONS, "count(Score)", "Timestamp")}
"""

LOST: Final = f"""
SELECT ServiceName AS service, sum(toUInt64OrZero(LogAttributes['{semconv.ELL_LOSS_COUNT}'])) AS lost
FROM (
    SELECT DISTINCT Timestamp, ServiceName, LogAttributes FROM {semconv.TABLE_LOGS}
    WHERE $__timeFilter(Timestamp) AND LogAttributes['{semconv.EVENT_NAME}'] = '{semconv.EVENT_LOSS}'
)
GROUP BY service
"""
