"""Programs and their versions."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

import json
from typing import Any, Final

from ell_otel import semconv
from ell_otel.store.client import Store
from ell_otel.store.queries.cost import priced_inferences
from ell_otel.store.queries.references import NUMBERED, VersionKey, resolve_program, resolve_version
from ell_otel.store.queries.results import Attribution, Counts, Program, Version, VersionDetail

# The same columns for a program and for one of its versions.
_FIGURES: Final = """
    ifNull(invocations, 0) AS invocations, ifNull(errors, 0) AS errors,
    ifNull(used.input, 0) AS input_tokens, ifNull(used.output, 0) AS output_tokens, used.cost AS cost,
    p50_ms, p95_ms"""


def _runs(key: str, where: str) -> str:
    # Nullable, so that a join without a match says NULL and not 0.
    return f"""(
    SELECT {key} AS run_key, toNullable(count()) AS invocations, toNullable(countIf(StatusCode = 'Error')) AS errors,
        toNullable(quantile(0.5)(Duration) / 1e6) AS p50_ms, toNullable(quantile(0.95)(Duration) / 1e6) AS p95_ms
    FROM {semconv.TABLE_SPANS} FINAL WHERE Kind IN ('invocation', 'both') AND {where} GROUP BY run_key
)"""


def _usage(key: str, where: str) -> str:
    return f"""(
    SELECT {key} AS use_key, sum(Input) AS input, sum(Output) AS output, sum(Cost) AS cost
    FROM {priced_inferences(key, where)} GROUP BY use_key
)"""


def programs(store: Store) -> list[Program]:
    """Every program, the one used last first."""
    rows = store.query(
        f"""
        SELECT name, versions, {_FIGURES}, last_seen
        FROM (
            SELECT ProgramName AS name, uniqExact(ProgramVersion) AS versions, max(LastSeen) AS last_seen
            FROM {semconv.TABLE_PROGRAM_VERSIONS} GROUP BY name
        ) AS known
        LEFT JOIN {_runs("ProgramName", "1")} AS runs ON runs.run_key = known.name
        LEFT JOIN {_usage("ProgramName", "ProgramName != ''")} AS used ON used.use_key = known.name
        ORDER BY last_seen DESC, name
        """
    )
    return [Program(**row) for row in rows]  # type: ignore[arg-type]


def versions(store: Store, program: str) -> list[Version]:
    """Every version of a program, v1 first. Raises ``NotFoundError`` when there is no such program."""
    name = resolve_program(store, program)
    here = "ProgramName = {program:String}"
    rows = store.query(
        f"""
        SELECT program, number, version, first_seen, last_seen, {_FIGURES}, score, git_commit, git_branch, partial
        FROM (
            SELECT ProgramName AS program, ProgramVersion AS version, min(FirstSeen) AS first_seen,
                max(LastSeen) AS last_seen, row_number() OVER (ORDER BY first_seen, version) AS number,
                anyIf(GitCommit, Parts > 0) AS git_commit, anyIf(GitBranch, Parts > 0) AS git_branch,
                max(Partial) = 1 AS partial
            FROM {semconv.TABLE_PROGRAM_VERSIONS} WHERE {here} GROUP BY program, version
        ) AS known
        LEFT JOIN {_runs("ProgramVersion", here)} AS runs ON runs.run_key = known.version
        LEFT JOIN {_usage("ProgramVersion", here)} AS used ON used.use_key = known.version
        LEFT JOIN (
            SELECT ProgramVersion AS score_key, avg(Score) AS score
            FROM {semconv.TABLE_EVALUATIONS} FINAL WHERE {here} GROUP BY score_key
        ) AS scored ON scored.score_key = known.version
        ORDER BY number
        """,
        {"program": name},
    )
    return [Version(**{**row, "partial": bool(row["partial"])}) for row in rows]  # type: ignore[arg-type]


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
