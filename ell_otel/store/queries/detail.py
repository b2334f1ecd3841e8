"""One invocation with all that is known of it, and one trace."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from ell_otel import semconv
from ell_otel.errors import NotFoundError
from ell_otel.store.client import Store
from ell_otel.store.queries import search
from ell_otel.store.queries.heads import HEAD, LAST, MARGIN, NEAR, Row, completed, error_of, inferences_of, near
from ell_otel.store.queries.references import MIN_PREFIX
from ell_otel.store.queries.results import Evaluation, Inference, InvocationDetail, Link, TraceSpan

_OF_INFERENCES: Final = ", Operation, Provider, Duration, ReasoningOutputTokens, ErrorType, StatusMessage"
_HOUR: Final = timedelta(hours=1)
_NOTHING: Final = {"Arguments": "", "Result": "", "System": "", "InputMessages": "", "OutputMessages": ""}


def find_invocation(store: Store, id_or_prefix: str) -> InvocationDetail:
    """The invocation with this id, or the only one whose id begins so (6 digits or more).

    Raises ``NotFoundError`` when there is none, or more than one.
    """
    head = _find_head(store, id_or_prefix.strip().lower())
    inferences = inferences_of(store, [head], _OF_INFERENCES)
    (invocation,) = completed(store, [head], inferences)
    requests = inferences[invocation.id]
    spans = [head["SpanId"], *(row["SpanId"] for row in requests)]
    said = _contents(store, {"trace": invocation.trace_id, "spans": spans, **near([head])})
    own = said.get(invocation.span_id, _NOTHING)
    return InvocationDetail(
        invocation=invocation,
        message=head["StatusMessage"],
        arguments=own["Arguments"],
        result=own["Result"],
        inferences=tuple(_inference(row, said.get(row["SpanId"], _NOTHING)) for row in requests),
        evaluations=_evaluations(store, head),
        links=_links(store, head),
    )


def trace(store: Store, trace_id: str) -> list[TraceSpan]:
    """Every span of a trace, ours or not, by start. Raises ``NotFoundError`` when there is none.

    When a program ran a narrow table knows; the rest of its trace is looked for within an hour of that, and where that
    leaves something open, within a day. Traces without a program are looked for in all of time.
    """
    wanted = trace_id.strip().lower()
    seen: Row = store.query(
        f"SELECT min(Started) AS First, max(Started) AS Last, count() AS Spans FROM {semconv.TABLE_SPANS} "
        "WHERE TraceId = {trace:String}",
        {"trace": wanted},
    )[0]
    rows: list[Row] = []
    for margin in (_HOUR, MARGIN) if seen["Spans"] else (None,):
        when = margin and {"begin": seen["First"] - margin, "end": min(seen["Last"], LAST - margin) + margin}
        rows = _spans(store, wanted, when or {})
        if when and _is_whole(rows, when["end"]):
            break
    if not rows:
        raise NotFoundError(f"no trace has the id {trace_id!r}; list invocations with `ell-otel invocations`")
    return [_trace_span(row) for row in rows]


def _is_whole(rows: list[Row], end: datetime) -> bool:
    """Whether every parent is among these spans of a trace, and nothing goes on behind ``end``."""
    known = {"", *(row["SpanId"] for row in rows)}
    return all(
        row["ParentSpanId"] in known and row["Started"] + timedelta(microseconds=row["Duration"] // 1000) <= end
        for row in rows
    )


def _spans(store: Store, wanted: str, when: Mapping[str, datetime]) -> list[Row]:
    return store.query(
        f"""
        SELECT SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, toTimeZone(Timestamp, 'UTC') AS Started, Duration,
            StatusCode, StatusMessage, SpanAttributes['error.type'] AS ErrorType,
            SpanAttributes['ell.invocation.id'] AS InvocationId, SpanAttributes['ell.program.name'] AS ProgramName,
            SpanAttributes['ell.program.version'] AS ProgramVersion, SpanAttributes['gen_ai.request.model'] AS Model
        FROM {semconv.TABLE_TRACES} WHERE TraceId = {{trace:String}} AND {NEAR.format("Timestamp") if when else "1"}
        ORDER BY Timestamp, SpanId LIMIT 1 BY SpanId
        """,
        {"trace": wanted, **when},
        search.SETTINGS,
    )


def _trace_span(row: Row) -> TraceSpan:
    return TraceSpan(
        span_id=row["SpanId"],
        parent_span_id=row["ParentSpanId"],
        name=row["SpanName"],
        kind=row["SpanKind"],
        service=row["ServiceName"],
        started=row["Started"],
        duration_ms=row["Duration"] / 1e6,
        status="error" if row["StatusCode"] == "Error" else "ok",
        error=error_of(row),
        invocation=row["InvocationId"],
        program=row["ProgramName"],
        version=row["ProgramVersion"],
        model=row["Model"],
    )


def _find_head(store: Store, wanted: str) -> Row:
    select = f"SELECT {HEAD} FROM {semconv.TABLE_SPANS} FINAL WHERE Kind IN ('invocation', 'both') AND"
    found: list[Row] = store.query(
        f"{select} InvocationId = {{id:String}} ORDER BY Started DESC LIMIT 1", {"id": wanted}
    )
    if not found and len(wanted) >= MIN_PREFIX:
        sql = f"{select} startsWith(InvocationId, {{id:String}}) ORDER BY Started DESC LIMIT 1 BY InvocationId LIMIT 9"
        found = store.query(sql, {"id": wanted})
    if len(found) > 1:
        ids = ", ".join(head["InvocationId"] for head in found[:8])
        raise NotFoundError(f"several invocations begin with {wanted!r}: {ids}; type more of the id")
    if not found:
        short = "" if len(wanted) >= MIN_PREFIX else f" (a prefix takes {MIN_PREFIX} digits or more)"
        raise NotFoundError(f"no invocation has the id {wanted!r}{short}; list them with `ell-otel invocations`")
    return found[0]


def _contents(store: Store, of: Row) -> dict[str, Row]:
    """What was said in these spans, by their id."""
    rows = store.query(
        f"SELECT SpanId, {', '.join(_NOTHING)} FROM {semconv.TABLE_INVOCATION_CONTENTS} "
        f"WHERE TraceId = {{trace:String}} AND SpanId IN {{spans:Array(String)}} AND {NEAR.format('Started')} "
        "LIMIT 1 BY SpanId",
        of,
        search.SETTINGS,
    )
    return {str(row["SpanId"]): row for row in rows}


def _inference(row: Row, said: Row) -> Inference:
    return Inference(
        span_id=row["SpanId"],
        operation=row["Operation"],
        provider=row["Provider"],
        request_model=row["RequestModel"],
        response_model=row["ResponseModel"],
        started=row["Started"],
        duration_ms=row["Duration"] / 1e6,
        input_tokens=row["InputTokens"],
        output_tokens=row["OutputTokens"],
        cached_input_tokens=row["CachedInputTokens"],
        reasoning_output_tokens=row["ReasoningOutputTokens"],
        cost=row["Cost"],
        error=error_of(row),
        system=said["System"],
        input_messages=said["InputMessages"],
        output_messages=said["OutputMessages"],
    )


def _evaluations(store: Store, head: Row) -> tuple[Evaluation, ...]:
    rows = store.query(
        f"""
        SELECT Name AS name, Score AS score, Label AS label, Explanation AS explanation, Timestamp AS at
        FROM {semconv.TABLE_EVALUATIONS} FINAL
        WHERE InvocationId = {{id:String}} OR (TraceId = {{trace:String}} AND SpanId = {{span:String}})
        ORDER BY at, name
        """,
        {"id": head["InvocationId"], "trace": head["TraceId"], "span": head["SpanId"]},
    )
    return tuple(Evaluation(**row) for row in rows)  # type: ignore[arg-type]


def _links(store: Store, head: Row) -> tuple[Link, ...]:
    links = store.query(
        f"""
        SELECT DISTINCT attributes['ell.link'] AS kind, link_trace AS trace_id, link_span AS span_id
        FROM {semconv.TABLE_TRACES}
        ARRAY JOIN Links.TraceId AS link_trace, Links.SpanId AS link_span, Links.Attributes AS attributes
        WHERE TraceId = {{trace:String}} AND SpanId = {{span:String}} AND {NEAR.format("Timestamp")}
        ORDER BY trace_id, span_id
        """,
        {"trace": head["TraceId"], "span": head["SpanId"], **near([head])},
    )
    if not links:
        return ()
    rows = store.query(
        f"""
        SELECT TraceId, SpanId, InvocationId AS invocation, ProgramName AS program
        FROM {semconv.TABLE_INVOCATIONS} WHERE TraceId IN {{traces:Array(String)}}
        """,
        {"traces": sorted({str(link["trace_id"]) for link in links})},
    )
    known = {(row.pop("TraceId"), row.pop("SpanId")): row for row in rows}
    unknown = {"invocation": "", "program": ""}
    return tuple(
        Link(**link, **known.get((link["trace_id"], link["span_id"]), unknown))  # type: ignore[arg-type]
        for link in links
    )
