"""From rows of ``ell_spans`` to invocations, with version numbers, tokens and cost.

Statements here are short, and what can be said in Python is not said in SQL: the engine plans each expression anew for
every statement, which takes it longer than reading a page.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ell_otel import semconv
from ell_otel.store.client import Store
from ell_otel.store.queries.pricing import PRICED_BY, PriceList
from ell_otel.store.queries.references import NUMBERED
from ell_otel.store.queries.results import Invocation

Row = dict[str, Any]

# What ``completed`` wants to know of an invocation.
HEAD: Final = (
    "InvocationId, TraceId, SpanId, ProgramName, ProgramVersion, Started, "
    "toUnixTimestamp64Nano(Started) AS Nanoseconds, Duration, StatusCode, ErrorType, StatusMessage"
)
# What belongs to an invocation began after it did, and before it ended, or hardly later. Where to look, then.
NEAR: Final = "{0} >= {{begin:DateTime64(9)}} AND {0} <= {{end:DateTime64(9)}}"
MARGIN: Final = timedelta(days=1)
_LONGEST_NS: Final = 10 * 365 * 86_400 * 10**9
LAST: Final = datetime(2262, 4, 11, tzinfo=UTC)
"""About where the time of a span must end."""


def near(heads: Iterable[Row]) -> dict[str, datetime]:
    """Between which times there is anything that belongs to these invocations: the parameters of ``NEAR``."""
    began, ended = [], []
    for head in heads:
        began.append(head["Started"])
        ended.append(head["Started"] + timedelta(microseconds=min(head["Duration"], _LONGEST_NS) // 1000))
    return {"begin": min(began), "end": min(max(ended), LAST - MARGIN) + MARGIN}


def inferences_of(store: Store, heads: list[Row], more: str = "") -> dict[str, list[Row]]:
    """The inferences of these invocations by id, each with its ``Cost``; ``more`` names columns to read beside."""
    rows: list[Row] = store.query(
        f"SELECT InvocationId, SpanId, StatusCode, {PRICED_BY}{more} FROM {semconv.TABLE_SPANS} FINAL "
        f"WHERE Kind IN ('inference', 'both') AND InvocationId IN {{ids:Array(String)}} AND {NEAR.format('Started')}",
        {"ids": sorted({head["InvocationId"] for head in heads}), **near(heads)},
    )
    found: dict[str, list[Row]] = {head["InvocationId"]: [] for head in heads}
    prices = PriceList(store) if rows else None
    for row in sorted(rows, key=lambda row: (row["Started"], row["SpanId"])):
        row["Cost"] = prices and prices.cost(row)
        found[row["InvocationId"]].append(row)
    return found


def completed(store: Store, heads: list[Row], inferences: Mapping[str, list[Row]]) -> list[Invocation]:
    """The invocations that these rows are, in the same order."""
    versions = sorted({head["ProgramVersion"] for head in heads})
    sql = f"SELECT ProgramName, ProgramVersion, VersionNumber FROM {NUMBERED}"
    rows = store.query(f"{sql} WHERE has({{versions:Array(String)}}, ProgramVersion)", {"versions": versions})
    numbers: Any = {(row["ProgramName"], row["ProgramVersion"]): row["VersionNumber"] for row in rows}
    return [_invocation(head, numbers, inferences[head["InvocationId"]]) for head in heads]


def error_of(row: Row) -> str:
    """What went wrong: the type, or else the message; "" when nothing did."""
    return str(row["ErrorType"] or row["StatusMessage"]) if row["StatusCode"] == "Error" else ""


def _invocation(head: Row, numbers: Mapping[tuple[str, str], int], inferences: list[Row]) -> Invocation:
    costs = [row["Cost"] for row in inferences if row["Cost"] is not None]
    unknown = any(row["Cost"] is None and row["StatusCode"] != "Error" for row in inferences)
    return Invocation(
        id=head["InvocationId"],
        trace_id=head["TraceId"],
        span_id=head["SpanId"],
        program=head["ProgramName"],
        version=head["ProgramVersion"],
        number=numbers.get((head["ProgramName"], head["ProgramVersion"]), 0),
        started=head["Started"],
        duration_ms=head["Duration"] / 1e6,
        status="error" if head["StatusCode"] == "Error" else "ok",
        error=error_of(head),
        input_tokens=sum(row["InputTokens"] or 0 for row in inferences),
        output_tokens=sum(row["OutputTokens"] or 0 for row in inferences),
        cost=sum(costs) if costs and not unknown else None,
        models=tuple(sorted({row["ResponseModel"] or row["RequestModel"] for row in inferences})),
        cursor=f"{head['Nanoseconds']}.{head['SpanId']}",
    )
