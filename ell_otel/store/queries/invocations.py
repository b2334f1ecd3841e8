"""Invocations, a page at a time."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ell_otel import semconv
from ell_otel.errors import StoreError
from ell_otel.store.client import Store
from ell_otel.store.queries import search
from ell_otel.store.queries.cost import UNDATED
from ell_otel.store.queries.heads import HEAD, Row, completed, inferences_of
from ell_otel.store.queries.references import resolve_program, resolve_version
from ell_otel.store.queries.results import Invocation

_INVOKED: Final = "Kind IN ('invocation', 'both')"
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
    heads: list[Row] = []
    spans = search.spans_of_time(store, lambda: len(heads) / limit, wanted.since, newest, said=bool(wanted.text))
    for span in spans:
        heads += _page(store, conditions, {**parameters, **span}, limit - len(heads))
        if len(heads) >= limit:
            break
    return completed(store, heads, inferences_of(store, heads)) if heads else []


def _page(store: Store, conditions: list[str], parameters: dict[str, object], limit: int) -> list[Row]:
    return store.query(
        f"SELECT {HEAD} FROM {semconv.TABLE_SPANS} FINAL "
        f"WHERE {' AND '.join([search.WITHIN, _INVOKED, *conditions])} "
        "ORDER BY Started DESC, SpanId DESC LIMIT {page:UInt32}",
        {**parameters, "page": limit},
        search.SETTINGS,
    )


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
