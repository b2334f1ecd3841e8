"""Invocations: lists a page at a time, and one with all that is known of it."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ell_otel import semconv
from ell_otel.errors import NotFoundError, StoreError
from ell_otel.store.client import Store
from ell_otel.store.queries import search
from ell_otel.store.queries.cost import UNDATED, priced_inferences
from ell_otel.store.queries.references import MIN_PREFIX, NUMBERED, resolve_program, resolve_version
from ell_otel.store.queries.results import (
    Evaluation,
    Inference,
    Invocation,
    InvocationDetail,
    Link,
    TraceSpan,
)

_ERROR: Final = "if(StatusCode != 'Error', '', if(ErrorType != '', ErrorType, StatusMessage))"
_HEAD: Final = f"""
    InvocationId AS id, TraceId AS trace_id, SpanId AS span_id, ProgramName AS program, ProgramVersion AS version,
    Started AS started, Duration / 1e6 AS duration_ms, if(StatusCode = 'Error', 'error', 'ok') AS status,
    {_ERROR} AS error, concat(toString(toUnixTimestamp64Nano(Started)), '.', SpanId) AS cursor"""
# What belongs to an invocation began after it did, and before it ended, or hardly later. Where to look, then.
_NEAR: Final = "{0} >= {{begin:DateTime64(9)}} AND {0} <= {{end:DateTime64(9)}}"
_MARGIN: Final = timedelta(days=1)
_LONGEST_MS: Final = 10 * 365 * 86_400_000.0
_LAST: Final = datetime(2262, 4, 11, tzinfo=UTC)
_STATUSES: Final = {"ok": "StatusCode != 'Error'", "error": "StatusCode = 'Error'"}


@dataclass(frozen=True, slots=True)
class InvocationFilter:
    """Which invocations: those that meet every condition given.

    ``program`` may be a short name, ``version`` any reference to a version; ``status`` is "ok" or "error"; ``model`` a
    model asked for or answering, with or without its date; ``since`` an aware datetime; ``text`` is searched for in
    arguments, results and messages, whatever the case and in whole words; ``min_ms`` is a duration.
    """

    program: str = ""
    version: str = ""
    status: str = ""
    model: str = ""
    since: datetime | None = None
    text: str = ""
    min_ms: float | None = None


def invocations(
    store: Store, wanted: InvocationFilter | None = None, limit: int = 100, before: str = ""
) -> list[Invocation]:
    """A page of invocations, newest first. ``before`` is the ``cursor`` of the last one of the page before.

    Looked for in the newest spans first, and further back while the page is not full. Contents are read only to search
    them. Raises ``NotFoundError`` for an unknown program or version and ``StoreError`` for a status or cursor that is
    none.
    """
    wanted = wanted or InvocationFilter()
    conditions, parameters = _conditions(store, wanted)
    newest = search.LAST_NS
    if before:
        nanoseconds, span_id = _parse_cursor(before)
        conditions.append("(Started, SpanId) < (fromUnixTimestamp64Nano({last_ns:Int64}, 'UTC'), {last_span:String})")
        parameters |= {"last_ns": nanoseconds, "last_span": span_id}
        newest = nanoseconds
    if wanted.text:
        said, needles = search.condition(wanted.text)
        conditions.append(said)
        parameters |= needles
    heads: list[dict[str, Any]] = []
    for span in search.spans_of_time(store, wanted.since, newest, said=bool(wanted.text)):
        heads += _page(store, conditions, {**parameters, **span}, limit - len(heads))
        if len(heads) >= limit:
            break
    return _completed(store, heads)


def _page(store: Store, conditions: list[str], parameters: dict[str, object], limit: int) -> list[dict[str, Any]]:
    return store.query(
        f"""
        SELECT {_HEAD} FROM {semconv.TABLE_SPANS} FINAL
        WHERE {" AND ".join([search.WITHIN, "Kind IN ('invocation', 'both')", *conditions])}
        ORDER BY Started DESC, SpanId DESC LIMIT {{page:UInt32}}
        """,
        {**parameters, "page": limit},
        search.SETTINGS,
    )


def find_invocation(store: Store, id_or_prefix: str) -> InvocationDetail:
    """The invocation with this id, or the only one whose id begins so (6 digits or more).

    Raises ``NotFoundError`` when there is none, or more than one.
    """
    found = _find_heads(store, id_or_prefix.strip().lower())
    (invocation,) = _completed(store, found)
    ended = invocation.started + timedelta(milliseconds=min(invocation.duration_ms, _LONGEST_MS))
    span = {
        "trace": invocation.trace_id,
        "span": invocation.span_id,
        "id": invocation.id,
        "begin": invocation.started,
        "end": min(ended, _LAST - _MARGIN) + _MARGIN,
    }
    contents = store.query(
        f"""
        SELECT Arguments, Result FROM {semconv.TABLE_INVOCATION_CONTENTS}
        WHERE TraceId = {{trace:String}} AND SpanId = {{span:String}} AND {_NEAR.format("Started")} LIMIT 1
        """,
        span,
        search.SETTINGS,
    )
    messages = store.query(
        f"SELECT StatusMessage FROM {semconv.TABLE_INVOCATIONS} "
        f"WHERE InvocationId = {{id:String}} AND {_NEAR.format('Started')} LIMIT 1",
        span,
    )
    return InvocationDetail(
        invocation=invocation,
        message=str(messages[0]["StatusMessage"]) if messages else "",
        arguments=str(contents[0]["Arguments"]) if contents else "",
        result=str(contents[0]["Result"]) if contents else "",
        inferences=_inferences(store, span),
        evaluations=_evaluations(store, span),
        links=_links(store, span),
    )


def trace(store: Store, trace_id: str) -> list[TraceSpan]:
    """Every span of a trace, ours or not, by start. Raises ``NotFoundError`` when there is none."""
    wanted = trace_id.strip().lower()
    # Programs are in a narrow table that is quickly asked when; other traces are looked for in all of time.
    seen = store.query(
        f"SELECT min(Started) - toIntervalDay(1) AS begin, max(Started) + toIntervalDay(1) AS end, count() AS spans "
        f"FROM {semconv.TABLE_SPANS} WHERE TraceId = {{trace:String}}",
        {"trace": wanted},
    )[0]
    near = _NEAR.format("Timestamp") if seen.pop("spans") else "1"
    rows = store.query(
        f"""
        SELECT SpanId AS span_id, ParentSpanId AS parent_span_id, SpanName AS name, SpanKind AS kind,
            ServiceName AS service, fromUnixTimestamp64Nano(toUnixTimestamp64Nano(Timestamp), 'UTC') AS started,
            Duration / 1e6 AS duration_ms, if(StatusCode = 'Error', 'error', 'ok') AS status,
            if(StatusCode != 'Error', '',
                if(SpanAttributes['error.type'] != '', SpanAttributes['error.type'], StatusMessage)) AS error,
            SpanAttributes['ell.invocation.id'] AS invocation, SpanAttributes['ell.program.name'] AS program,
            SpanAttributes['ell.program.version'] AS version, SpanAttributes['gen_ai.request.model'] AS model
        FROM {semconv.TABLE_TRACES} WHERE TraceId = {{trace:String}} AND {near}
        ORDER BY Timestamp, span_id LIMIT 1 BY span_id
        """,
        {"trace": wanted, **seen},
        search.SETTINGS,
    )
    if not rows:
        raise NotFoundError(f"no trace has the id {trace_id!r}; list invocations with `ell-otel invocations`")
    return [TraceSpan(**row) for row in rows]  # type: ignore[arg-type]


def _conditions(store: Store, wanted: InvocationFilter) -> tuple[list[str], dict[str, object]]:
    conditions: list[str] = []
    parameters: dict[str, object] = {}
    if wanted.version:
        key = resolve_version(store, wanted.version)
        conditions.append("ProgramName = {of:String} AND ProgramVersion = {version:String}")
        parameters |= {"of": key.program, "version": key.version}
    if wanted.program:
        conditions.append("ProgramName = {program:String}")
        parameters["program"] = resolve_program(store, wanted.program)
    if wanted.status:
        if wanted.status not in _STATUSES:
            raise StoreError(f"status {wanted.status!r} is none: it is one of {', '.join(_STATUSES)}")
        conditions.append(_STATUSES[wanted.status])
    if wanted.since is not None:
        conditions.append("Started >= {since:DateTime64(9)}")
        parameters["since"] = wanted.since
    if wanted.min_ms is not None:
        conditions.append("Duration >= {min_ns:Float64}")
        parameters["min_ns"] = wanted.min_ms * 1e6
    if wanted.model:
        conditions.append(_MODEL)
        parameters["model"] = wanted.model
    return conditions, parameters


_MODEL: Final = f"""InvocationId IN (
    SELECT InvocationId FROM {semconv.TABLE_INFERENCES}
    WHERE {{model:String}} IN (RequestModel, ResponseModel, {UNDATED.format("ResponseModel")})
)"""


def _parse_cursor(cursor: str) -> tuple[int, str]:
    nanoseconds, _, span_id = cursor.partition(".")
    try:
        return int(nanoseconds), span_id
    except ValueError:
        raise StoreError(f"{cursor!r} is no cursor: take the one of the last invocation of the page before") from None


def _completed(store: Store, heads: list[dict[str, Any]]) -> list[Invocation]:
    """Heads with version numbers, tokens, cost and models: two small queries for the whole page."""
    if not heads:
        return []
    numbers: dict[tuple[object, object], Any] = {
        (row["ProgramName"], row["ProgramVersion"]): row["VersionNumber"]
        for row in store.query(
            f"SELECT ProgramName, ProgramVersion, VersionNumber FROM {NUMBERED} "
            "WHERE ProgramName IN {programs:Array(String)} AND ProgramVersion IN {versions:Array(String)}",
            {"programs": _distinct(heads, "program"), "versions": _distinct(heads, "version")},
        )
    }
    theirs = "InvocationId IN {ids:Array(String)} AND Started >= {from:DateTime64(9)}"
    rows = store.query(
        f"""
        SELECT InvocationId, ifNull(sum(Input), 0) AS input_tokens, ifNull(sum(Output), 0) AS output_tokens,
            if(sum(Unknown) > 0, NULL, sum(Cost)) AS cost, arraySort(groupUniqArray(Model)) AS models
        FROM {priced_inferences("InvocationId", theirs)}
        GROUP BY InvocationId
        """,
        {"ids": _distinct(heads, "id"), "from": min(head["started"] for head in heads)},
    )
    usage: dict[object, dict[str, Any]] = {row.pop("InvocationId"): row for row in rows}
    nothing: Mapping[str, Any] = {"input_tokens": 0, "output_tokens": 0, "cost": None, "models": ()}
    return [
        Invocation(
            **head,
            number=numbers.get((head["program"], head["version"]), 0),
            **{**(used := usage.get(head["id"], nothing)), "models": tuple(used["models"])},
        )
        for head in heads
    ]


def _distinct(heads: list[dict[str, Any]], name: str) -> list[str]:
    return sorted({head[name] for head in heads})


def _find_heads(store: Store, wanted: str) -> list[dict[str, Any]]:
    select = f"SELECT {_HEAD} FROM {semconv.TABLE_INVOCATIONS} WHERE"
    found = store.query(f"{select} InvocationId = {{id:String}} ORDER BY Started DESC LIMIT 1", {"id": wanted})
    if not found and len(wanted) >= MIN_PREFIX:
        sql = f"{select} startsWith(InvocationId, {{id:String}}) ORDER BY Started DESC LIMIT 1 BY id LIMIT 9"
        found = store.query(sql, {"id": wanted})
    if len(found) > 1:
        ids = ", ".join(str(head["id"]) for head in found[:8])
        raise NotFoundError(f"several invocations begin with {wanted!r}: {ids}; type more of the id")
    if not found:
        short = "" if len(wanted) >= MIN_PREFIX else f" (a prefix takes {MIN_PREFIX} digits or more)"
        raise NotFoundError(f"no invocation has the id {wanted!r}{short}; list them with `ell-otel invocations`")
    return found


def _inferences(store: Store, span: Mapping[str, object]) -> tuple[Inference, ...]:
    priced = priced_inferences("SpanId", f"InvocationId = {{id:String}} AND {_NEAR.format('Started')}")
    rows = store.query(
        f"""
        SELECT SpanId AS span_id, Operation AS operation, Provider AS provider, RequestModel AS request_model,
            ResponseModel AS response_model, Started AS started, Duration / 1e6 AS duration_ms,
            InputTokens AS input_tokens, OutputTokens AS output_tokens, CachedInputTokens AS cached_input_tokens,
            ReasoningOutputTokens AS reasoning_output_tokens, cost, {_ERROR} AS error,
            system, input_messages, output_messages
        FROM (
            SELECT * FROM {semconv.TABLE_INFERENCES}
            WHERE InvocationId = {{id:String}} AND {_NEAR.format("Started")}
        ) AS inference
        LEFT JOIN (
            SELECT SpanId AS priced_span, Cost AS cost FROM {priced}
        ) AS priced ON priced.priced_span = inference.SpanId
        LEFT JOIN (
            SELECT SpanId AS said_span, System AS system, InputMessages AS input_messages,
                OutputMessages AS output_messages
            FROM {semconv.TABLE_INVOCATION_CONTENTS}
            WHERE TraceId = {{trace:String}} AND {_NEAR.format("Started")} LIMIT 1 BY SpanId
        ) AS said ON said.said_span = inference.SpanId
        ORDER BY Started, span_id
        """,
        span,
        search.SETTINGS,
    )
    return tuple(Inference(**row) for row in rows)  # type: ignore[arg-type]


def _evaluations(store: Store, span: Mapping[str, object]) -> tuple[Evaluation, ...]:
    rows = store.query(
        f"""
        SELECT Name AS name, Score AS score, Label AS label, Explanation AS explanation, Timestamp AS at
        FROM {semconv.TABLE_EVALUATIONS} FINAL
        WHERE InvocationId = {{id:String}} OR (TraceId = {{trace:String}} AND SpanId = {{span:String}})
        ORDER BY at, name
        """,
        span,
    )
    return tuple(Evaluation(**row) for row in rows)  # type: ignore[arg-type]


def _links(store: Store, span: Mapping[str, object]) -> tuple[Link, ...]:
    links = store.query(
        f"""
        SELECT DISTINCT attributes['ell.link'] AS kind, link_trace AS trace_id, link_span AS span_id
        FROM {semconv.TABLE_TRACES}
        ARRAY JOIN Links.TraceId AS link_trace, Links.SpanId AS link_span, Links.Attributes AS attributes
        WHERE TraceId = {{trace:String}} AND SpanId = {{span:String}} AND {_NEAR.format("Timestamp")}
        ORDER BY trace_id, span_id
        """,
        span,
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
