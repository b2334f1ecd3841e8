"""What invocations and inferences add up to: by version, by model, by hour; one version against another; scores."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from ell_otel import semconv
from ell_otel.errors import StoreError
from ell_otel.store.client import Store
from ell_otel.store.queries.cost import priced_inferences
from ell_otel.store.queries.references import resolve_program, resolve_version
from ell_otel.store.queries.results import Comparison, Figures, Label, Score, ScoreChange, Usage

# What usage can be asked for by, and how it is worked out.
_KEYS: Final = {
    "hour": "toStartOfHour(Started)",
    "program": "ProgramName",
    "version": "ProgramVersion",
    "model": "if(ResponseModel = '', RequestModel, ResponseModel)",
}


def usage(
    store: Store,
    by: Collection[str] = ("hour", "version", "model"),
    *,
    program: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Usage]:
    """Tokens and cost by any of hour, program, version and model, in the order of these.

    Raises ``StoreError`` for another key and ``NotFoundError`` for an unknown program.
    """
    if unknown := set(by) - _KEYS.keys():
        raise StoreError(f"usage by {sorted(unknown)[0]!r} is none: it is by {', '.join(_KEYS)}")
    where, parameters = _span(store, program, since, until)
    named = [f"used_{name}" for name in _KEYS if name in by]
    keys = ", ".join(f"{_KEYS[name]} AS used_{name}" for name in _KEYS if name in by) or "'' AS used_all"
    columns = ", ".join(f"{f'used_{name}' if name in by else 'NULL'} AS {name}" for name in _KEYS)
    rows = store.query(
        f"""
        SELECT {columns}, sum(Inferences) AS inferences, ifNull(sum(Input), 0) AS input_tokens,
            ifNull(sum(Output), 0) AS output_tokens, sum(Cost) AS cost, sum(Unknown) AS unpriced
        FROM {priced_inferences(keys, where)}
        GROUP BY {", ".join(named) or "used_all"}
        ORDER BY {", ".join(named) or "used_all"}
        """,
        parameters,
    )
    return [Usage(**row) for row in rows]  # type: ignore[arg-type]


def figures(store: Store, version: str, *, since: datetime | None = None, until: datetime | None = None) -> Figures:
    """What the invocations of one version add up to. Raises ``NotFoundError`` when there is no such version."""
    key = resolve_version(store, version)
    return _figures(store, key.program, key.version, since, until)


def compare(
    store: Store, before: str, after: str, *, since: datetime | None = None, until: datetime | None = None
) -> Comparison:
    """Two versions side by side, of one program or of two. Raises ``NotFoundError`` when one is not there."""
    first, second = resolve_version(store, before), resolve_version(store, after)
    rows = store.query(
        f"""
        SELECT Name AS name,
            avgIf(Score, {_IS.format("before")}) AS before, avgIf(Score, {_IS.format("after")}) AS after,
            countIf({_IS.format("before")}) AS count_before, countIf({_IS.format("after")}) AS count_after
        FROM {semconv.TABLE_EVALUATIONS} FINAL
        WHERE ({_IS.format("before")} OR {_IS.format("after")}) AND {_between("Timestamp", since, until)}
        GROUP BY name ORDER BY name
        """,
        {
            "program_before": first.program,
            "version_before": first.version,
            "program_after": second.program,
            "version_after": second.version,
            **_times(since, until),
        },
    )
    return Comparison(
        before=first,
        after=second,
        figures_before=_figures(store, first.program, first.version, since, until),
        figures_after=_figures(store, second.program, second.version, since, until),
        scores=tuple(ScoreChange(**row) for row in rows),  # type: ignore[arg-type]
    )


_IS: Final = "(ProgramName = {{program_{0}:String}} AND ProgramVersion = {{version_{0}:String}})"


def evaluations(
    store: Store,
    *,
    program: str = "",
    name: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> list[Score]:
    """Scores, the newest first. Raises ``NotFoundError`` for an unknown program."""
    where, parameters = _span(store, program, since, until, "Timestamp")
    if name:
        where += " AND Name = {name:String}"
    rows = store.query(
        f"""
        SELECT Name AS name, Score AS score, Label AS label, Explanation AS explanation, Timestamp AS at,
            ProgramName AS program, ProgramVersion AS version, InvocationId AS invocation
        FROM {semconv.TABLE_EVALUATIONS} FINAL WHERE {where}
        ORDER BY at DESC, invocation, name LIMIT {{limit:UInt32}}
        """,
        {**parameters, "name": name, "limit": limit},
    )
    return [Score(**row) for row in rows]  # type: ignore[arg-type]


def labels(store: Store, program: str = "") -> list[Label]:
    """The labels in force, by program and name. Raises ``NotFoundError`` for an unknown program."""
    where, parameters = _span(store, program, None, None)
    rows = store.query(
        f"""
        SELECT ProgramName AS program, Label AS name, argMax(ProgramVersion, Timestamp) AS version, max(Timestamp) AS at
        FROM {semconv.TABLE_LABELS} WHERE {where}
        GROUP BY program, name HAVING version != '' ORDER BY program, name
        """,
        parameters,
    )
    return [Label(**row) for row in rows]  # type: ignore[arg-type]


def _figures(store: Store, program: str, version: str, since: datetime | None, until: datetime | None) -> Figures:
    here = "ProgramName = {program:String} AND ProgramVersion = {version:String}"
    (row,) = store.query(
        f"""
        SELECT invocations, errors, p50_ms, p95_ms, p99_ms, input_tokens, output_tokens, cost, score
        FROM (
            SELECT count() AS invocations, countIf(StatusCode = 'Error') AS errors,
                if(invocations = 0, NULL, quantile(0.5)(Duration) / 1e6) AS p50_ms,
                if(invocations = 0, NULL, quantile(0.95)(Duration) / 1e6) AS p95_ms,
                if(invocations = 0, NULL, quantile(0.99)(Duration) / 1e6) AS p99_ms
            FROM {semconv.TABLE_INVOCATIONS} WHERE {here} AND {_between("Started", since, until)}
        ) AS ran
        CROSS JOIN (
            SELECT ifNull(sum(Input), 0) AS input_tokens, ifNull(sum(Output), 0) AS output_tokens, sum(Cost) AS cost
            FROM {priced_inferences("ServiceName", f"{here} AND {_between('Started', since, until)}")}
        ) AS used
        CROSS JOIN (
            SELECT avg(Score) AS score FROM {semconv.TABLE_EVALUATIONS} FINAL
            WHERE {here} AND {_between("Timestamp", since, until)}
        ) AS scored
        """,
        {"program": program, "version": version, **_times(since, until)},
    )
    return Figures(**row)  # type: ignore[arg-type]


def _span(
    store: Store, program: str, since: datetime | None, until: datetime | None, column: str = "Started"
) -> tuple[str, dict[str, Any]]:
    where, parameters = _between(column, since, until), _times(since, until)
    if program:
        where += " AND ProgramName = {program:String}"
        parameters["program"] = resolve_program(store, program)
    return where, parameters


def _between(column: str, since: datetime | None, until: datetime | None) -> str:
    conditions = [f"{column} >= {{since:DateTime64(9)}}"] if since else []
    conditions += [f"{column} < {{until:DateTime64(9)}}"] if until else []
    return " AND ".join(conditions) or "1"


def _times(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    return {name: at for name, at in (("since", since), ("until", until)) if at is not None}
