"""Programs and their versions."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from ell_otel import semconv
from ell_otel.store.client import Store
from ell_otel.store.queries.pricing import PriceList
from ell_otel.store.queries.references import NUMBERED, VersionKey, resolve_program, resolve_version
from ell_otel.store.queries.results import Attribution, Counts, Program, Version, VersionDetail

Row = dict[str, Any]

_TOKENS: Final = ("InputTokens", "OutputTokens", "CachedInputTokens")
_NOTHING: Final[Row] = {"invocations": 0, "errors": 0, "InputTokens": 0, "OutputTokens": 0}


def _figures(store: Store, key: str, where: str, parameters: Mapping[str, object]) -> Callable[[object], Row]:
    """What the spans of a program, or of one of its versions, add up to: the same fields for both, by ``key``.

    Read once for two groupings: what ran, and what was used of each model on each day, which is how far a price goes.
    """
    keys = "ResponseModel, RequestModel, ServiceTier, Day"
    rows: list[Row] = store.query(
        f"""
        SELECT {key} AS Key, ResponseModel, RequestModel, ServiceTier, toStartOfDay(Started) AS Day,
            grouping(Day) AS Ran, {", ".join(f"sumIf({name}, Kind != 'invocation') AS {name}" for name in _TOKENS)},
            countIf(Kind != 'inference') AS invocations,
            countIf(Kind != 'inference' AND StatusCode = 'Error') AS errors,
            quantilesIf(0.5, 0.95)(Duration, Kind != 'inference') AS took
        FROM {semconv.TABLE_SPANS} FINAL WHERE Kind IN ('invocation', 'inference', 'both') AND {where}
        GROUP BY GROUPING SETS ((Key), (Key, {keys}))
        """,
        parameters,
    )
    prices, costs = PriceList(store), defaultdict[object, list[float]](list)
    for row in rows:
        if not row["Ran"] and (cost := prices.cost({**row, "Started": row["Day"]})) is not None:
            costs[row["Key"]].append(cost)
    ran = {row["Key"]: row for row in rows if row["Ran"]}
    return lambda one: _summed(ran.get(one, _NOTHING), costs[one])


def _summed(ran: Row, costs: list[float]) -> Row:
    p50, p95 = (ns / 1e6 for ns in ran["took"]) if ran["invocations"] else (None, None)
    return {
        "invocations": ran["invocations"],
        "errors": ran["errors"],
        "input_tokens": ran["InputTokens"] or 0,
        "output_tokens": ran["OutputTokens"] or 0,
        "cost": sum(costs) if costs else None,
        "p50_ms": p50,
        "p95_ms": p95,
    }


def programs(store: Store) -> list[Program]:
    """Every program, the one used last first."""
    known = store.query(
        f"""
        SELECT ProgramName AS name, uniqExact(ProgramVersion) AS versions, max(LastSeen) AS last_seen
        FROM {semconv.TABLE_PROGRAM_VERSIONS} GROUP BY name ORDER BY last_seen DESC, name
        """
    )
    figures = _figures(store, "ProgramName", "ProgramName != ''", {})
    return [Program(**row, **figures(row["name"])) for row in known]  # type: ignore[arg-type]


def versions(store: Store, program: str) -> list[Version]:
    """Every version of a program, v1 first. Raises ``NotFoundError`` when there is no such program.

    Short statements in place of one that joins them, which takes the engine longer to plan than all that is read.
    """
    name = {"program": program}
    known = _known(store, name)
    if not known:  # a short name, or none
        name = {"program": resolve_program(store, program)}
        known = _known(store, name)
    here = "ProgramName = {program:String}"
    figures = _figures(store, "ProgramVersion", here, name)
    scored = store.query(
        f"SELECT ProgramVersion, avg(Score) AS score FROM {semconv.TABLE_EVALUATIONS} FINAL "
        f"WHERE {here} GROUP BY ProgramVersion",
        name,
    )
    scores: Any = {row["ProgramVersion"]: row["score"] for row in scored}
    return [
        Version(
            program=name["program"],
            number=number,
            score=scores.get(row["version"]),
            **{**row, "partial": bool(row["partial"])},
            **figures(row["version"]),
        )
        for number, row in enumerate(known, 1)
    ]


def _known(store: Store, name: Mapping[str, object]) -> list[Row]:
    """The versions of a program in the order of their numbers."""
    return store.query(
        f"""
        SELECT ProgramVersion AS version, min(FirstSeen) AS first_seen, max(LastSeen) AS last_seen,
            anyIf(GitCommit, Parts > 0) AS git_commit, anyIf(GitBranch, Parts > 0) AS git_branch,
            max(Partial) AS partial
        FROM {semconv.TABLE_PROGRAM_VERSIONS} WHERE ProgramName = {{program:String}}
        GROUP BY version ORDER BY first_seen, version
        """,
        name,
    )


def find_version(store: Store, reference: str) -> VersionDetail:
    """The version that ``reference`` names, with its source.

    A reference is a full ``c1:…`` hash, a prefix of at least 6 of its digits, ``program`` for its newest version,
    ``program@v3`` or ``program@prefix``. Raises ``NotFoundError`` that lists what could have been meant.
    """
    key = resolve_version(store, reference)
    parameters = {"program": key.program, "version": key.version}
    rows = store.query(
        f"""
        SELECT Parts, Part, min(FirstSeen) AS first_seen, max(LastSeen) AS last_seen, any(Source) AS source,
            any(Proto) AS proto, any(ProtoEncoding) AS proto_encoding, max(Partial) AS partial,
            any(Warnings) AS warnings, any(GitCommit) AS git_commit, any(GitBranch) AS git_branch,
            any(GitDirty) AS git_dirty
        FROM {semconv.TABLE_PROGRAM_VERSIONS}
        WHERE ProgramName = {{program:String}} AND ProgramVersion = {{version:String}}
        GROUP BY Parts, Part ORDER BY Parts, Part
        """,
        parameters,
    )
    uses = store.query(
        f"""
        SELECT DISTINCT TargetName, TargetVersion FROM {semconv.TABLE_PROGRAM_EDGES}
        WHERE ProgramName = {{program:String}} AND ProgramVersion = {{version:String}} AND Kind = 'uses'
        ORDER BY TargetName, TargetVersion
        """,
        parameters,
    )
    return _detail(key, rows, tuple((str(row["TargetName"]), str(row["TargetVersion"])) for row in uses))


def _detail(key: VersionKey, rows: list[dict[str, Any]], uses: tuple[tuple[str, str], ...]) -> VersionDetail:
    parts, missing = _whole(rows)
    head = parts[0] if parts else {}
    return VersionDetail(
        program=key.program,
        number=key.number,
        version=key.version,
        first_seen=min(row["first_seen"] for row in rows),
        last_seen=max(row["last_seen"] for row in rows),
        git_commit=head.get("git_commit", ""),
        git_branch=head.get("git_branch", ""),
        git_dirty=head.get("git_dirty") == "true",
        partial=any(row["partial"] for row in rows),
        source="".join(part["source"] for part in parts),
        proto="".join(part["proto"] for part in parts),
        proto_encoding=head.get("proto_encoding", ""),
        uses=uses,
        warnings=(*_warnings(head.get("warnings", "")), *([missing] if missing else [])),
    )


def _whole(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The parts of the source in order, when all of one sending are there; else none, and what is missing."""
    sent = sorted({row["Parts"] for row in rows} - {0})
    for count in sent:
        parts = [row for row in rows if row["Parts"] == count]
        if [part["Part"] for part in parts] == list(range(1, count + 1)):
            return parts, ""
    if not sent:
        return [], "its source has not arrived: only spans of this version have"
    arrived = sum(row["Parts"] == sent[0] for row in rows)
    return [], f"its source has not arrived whole: {arrived} of {sent[0]} parts have"


def _warnings(text: str) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return [text]
    return [str(warning) for warning in found] if isinstance(found, list) else [text]


def counts(store: Store) -> Counts:
    """How much of everything there is."""
    (row,) = store.query(
        f"""
        SELECT (SELECT count() FROM {semconv.TABLE_TRACES}) AS spans,
            (SELECT count() FROM {semconv.TABLE_LOGS}) AS records,
            (SELECT uniqExact(ProgramName) FROM {semconv.TABLE_PROGRAM_VERSIONS}) AS programs,
            (SELECT count() FROM {NUMBERED}) AS versions,
            (SELECT count() FROM {semconv.TABLE_INVOCATIONS}) AS invocations,
            (SELECT count() FROM {semconv.TABLE_INFERENCES}) AS inferences,
            (SELECT count() FROM {semconv.TABLE_EVALUATIONS} FINAL) AS evaluations
        """
    )
    return Counts(**row)  # type: ignore[arg-type]


def attribution(store: Store) -> Attribution:
    """How many model requests name no program, and which instrumentations described requests that another had."""
    counted = store.query(
        f"SELECT countIf(ProgramName = '') AS unknown, count() AS all FROM {semconv.TABLE_INFERENCES}"
    )
    twice = store.query(
        f"SELECT Producer, count() AS spans FROM {semconv.TABLE_DUPLICATES} GROUP BY Producer ORDER BY Producer"
    )
    return Attribution(
        inferences=int(str(counted[0]["all"])),
        without_program=int(str(counted[0]["unknown"])),
        duplicates=tuple((str(row["Producer"]), int(str(row["spans"]))) for row in twice),
    )


def losses(store: Store) -> int:
    """How many records programs on the way here have reported as lost before they were accepted."""
    rows = store.query(
        f"""
        SELECT sum(toUInt64OrZero(LogAttributes['ell.loss.count'])) AS lost
        FROM (
            SELECT DISTINCT Timestamp, ServiceName, LogAttributes FROM {semconv.TABLE_LOGS}
            WHERE LogAttributes['event.name'] = '{semconv.EVENT_LOSS}'
        )
        """
    )
    return int(str(rows[0]["lost"]))
