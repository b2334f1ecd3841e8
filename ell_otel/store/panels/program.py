"""One program: its versions against each other."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is decoded, see ``chosen``

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.panels.parts import (
    BUCKET,
    EVALUATIONS,
    FIGURES,
    IN_RANGE,
    chosen,
    numbered,
    ran,
    scored,
    used,
)
from ell_otel.store.queries.cost import priced_inferences

_HERE: Final = f"ProgramName = {chosen('program')}"
_RUNS: Final = f"{IN_RANGE} AND {_HERE}"
_SCORES: Final = f"$__timeFilter(Timestamp) AND {_HERE}"
_VERSIONS: Final = numbered(_HERE)
_COMPARED: Final = f"ProgramVersion IN ({chosen('before')}, {chosen('after')})"

# The first is what a dashboard shows when it is opened: the newest version, and the one before it.
AFTER: Final = f"""
SELECT version AS value, concat(label, ' ', substring(version, 4, 8)) AS text FROM {_VERSIONS} ORDER BY number DESC
"""
BEFORE: Final = f"""
SELECT version AS value, concat(label, ' ', substring(version, 4, 8)) AS text
FROM (SELECT *, max(number) OVER () AS newest FROM {_VERSIONS})
ORDER BY number = newest, number DESC
"""

VERSION_TABLE: Final = f"""
SELECT known.label AS label, known.version AS version, known.previous AS previous, known.first_seen AS first_seen,
    git.commit AS commit, git.branch AS branch, {FIGURES.strip()}
FROM {_VERSIONS} AS known
LEFT JOIN (
    SELECT ProgramVersion AS git_key, anyIf(GitCommit, Parts > 0) AS commit, anyIf(GitBranch, Parts > 0) AS branch
    FROM {semconv.TABLE_PROGRAM_VERSIONS} WHERE {_HERE} GROUP BY git_key
) AS git ON git.git_key = known.version
LEFT JOIN {ran("ProgramVersion", _RUNS)} AS ran ON ran.ran_key = known.version
LEFT JOIN {used("ProgramVersion", _RUNS)} AS used ON used.used_key = known.version
LEFT JOIN {scored("ProgramVersion", _SCORES)} AS scored ON scored.scored_key = known.version
ORDER BY known.number DESC LIMIT 1000
"""

COMPARISON: Final = f"""
SELECT if(known.version = {chosen("before")}, 'before', 'after') AS which, known.label AS label, {FIGURES.strip()}
FROM (SELECT * FROM {_VERSIONS} WHERE version IN ({chosen("before")}, {chosen("after")})) AS known
LEFT JOIN {ran("ProgramVersion", f"{_RUNS} AND {_COMPARED}")} AS ran ON ran.ran_key = known.version
LEFT JOIN {used("ProgramVersion", f"{_RUNS} AND {_COMPARED}")} AS used ON used.used_key = known.version
LEFT JOIN {scored("ProgramVersion", f"{_SCORES} AND {_COMPARED}")} AS scored ON scored.scored_key = known.version
ORDER BY which DESC
"""

# Relative to "before"; the error rate and the score as differences, for both are often 0.
CHANGE: Final = f"""
SELECT anyIf(p95, which = 'after') / anyIf(p95, which = 'before') - 1 AS latency,
    anyIf(cost_per_call, which = 'after') / anyIf(cost_per_call, which = 'before') - 1 AS cost,
    anyIf(output_per_call, which = 'after') / anyIf(output_per_call, which = 'before') - 1 AS output,
    anyIf(error_rate, which = 'after') - anyIf(error_rate, which = 'before') AS errors,
    anyIf(score, which = 'after') - anyIf(score, which = 'before') AS score
FROM ({COMPARISON})
"""


def _over_time(value: str, table: str, where: str, time: str = BUCKET) -> str:
    return f"""
SELECT time, label AS version, {value}
FROM (SELECT *, {time} AS time FROM {table} WHERE {where}) AS run
INNER JOIN {_VERSIONS} AS known ON known.version = run.ProgramVersion
GROUP BY time, version ORDER BY time, version
"""


CALLS: Final = _over_time("count() AS calls", semconv.TABLE_INVOCATIONS, _RUNS)
ERRORS: Final = _over_time("countIf(StatusCode = 'Error') / count() AS error_rate", semconv.TABLE_INVOCATIONS, _RUNS)
LATENCY: Final = _over_time(
    "quantile(0.5)(Duration) / 1e6 AS p50, quantile(0.95)(Duration) / 1e6 AS p95", semconv.TABLE_INVOCATIONS, _RUNS
)
SCORES: Final = _over_time(
    "avg(Score) AS score", EVALUATIONS, f"{_SCORES} AND Score IS NOT NULL", "$__timeInterval(Timestamp)"
)
COST: Final = f"""
SELECT time, label AS version, sum(Cost) AS cost
FROM {priced_inferences(f"{BUCKET} AS time, ProgramVersion", _RUNS)} AS spent
INNER JOIN {_VERSIONS} AS known ON known.version = spent.ProgramVersion
GROUP BY time, version ORDER BY time, version
"""

LATENCY_QUANTILES: Final = f"""
SELECT concat('p', toString(toUInt8(level * 100))) AS quantile,
    arrayElement(anyIf(ms, which = 'before'), place) AS before, arrayElement(anyIf(ms, which = 'after'), place) AS after
FROM (
    SELECT if(ProgramVersion = {chosen("before")}, 'before', 'after') AS which,
        arrayMap(ns -> ns / 1e6, quantiles(0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(Duration)) AS ms
    FROM {semconv.TABLE_INVOCATIONS} WHERE {_RUNS} AND {_COMPARED} GROUP BY which
) AS measured
CROSS JOIN (
    SELECT level, place FROM (SELECT [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99] AS levels)
    ARRAY JOIN levels AS level, arrayEnumerate(levels) AS place
) AS level_of
GROUP BY level, place ORDER BY level
"""

SCORE_TABLE: Final = f"""
SELECT Name AS name, avgIf(Score, ProgramVersion = {chosen("before")}) AS before,
    avgIf(Score, ProgramVersion = {chosen("after")}) AS after, after - before AS change,
    countIf(ProgramVersion = {chosen("before")}) AS scores_before,
    countIf(ProgramVersion = {chosen("after")}) AS scores_after
FROM {EVALUATIONS}
WHERE {_SCORES} AND {_COMPARED} AND Score IS NOT NULL
GROUP BY name ORDER BY name
"""


def _source(which: str) -> str:
    return f"""
    SELECT arrayStringConcat(arrayMap(part -> part.2, arraySort(groupArray((Part, text))))) AS source
    FROM (
        SELECT Parts, Part, any(Source) AS text FROM {semconv.TABLE_PROGRAM_VERSIONS}
        WHERE {_HERE} AND ProgramVersion = {chosen(which)} AND Parts > 0
        GROUP BY Parts, Part
    )
    GROUP BY Parts HAVING count() = Parts ORDER BY Parts LIMIT 1"""


# Which lines are only in one of the two, in the order of the source. They go into Grafana's panel for logs, which keeps
# indentation: it wants a time, and colours by level. `ell-otel diff` shows more: words, and what moved.
DIFFERENCE: Final = f"""
WITH ({_source("before")}) AS old, ({_source("after")}) AS new,
    splitByChar('\\n', ifNull(old, '')) AS old_lines, splitByChar('\\n', ifNull(new, '')) AS new_lines
SELECT fromUnixTimestamp64Milli(toInt64(line)) AS timestamp, concat(sign, ' ', text) AS body,
    if(sign = '-', 'error', 'info') AS level
FROM (
    SELECT '-' AS sign, place AS line, text FROM (SELECT old_lines AS lines)
    ARRAY JOIN lines AS text, arrayEnumerate(lines) AS place WHERE NOT has(new_lines, text)
    UNION ALL
    SELECT '+' AS sign, place AS line, text FROM (SELECT new_lines AS lines)
    ARRAY JOIN lines AS text, arrayEnumerate(lines) AS place WHERE NOT has(old_lines, text)
)
ORDER BY line, sign DESC
"""

# What to type for more. Whoever sends telemetry chooses names and versions, so that only hashes are put into a command.
_HASH: Final = "'^c1:[0-9a-f]{64}$'"
IN_THE_SHELL: Final = f"""
SELECT fromUnixTimestamp64Milli(toInt64(0)) AS timestamp, concat(
    '# word by word, and with what moved\\nell-otel diff ', extract({chosen("before")}, {_HASH}), ' ',
    extract({chosen("after")}, {_HASH}), '\\n\\n# the version after, as a file that runs\\nell-otel checkout ',
    extract({chosen("after")}, {_HASH})) AS body
"""

SOURCE: Final = f"SELECT fromUnixTimestamp64Milli(toInt64(0)) AS timestamp, source AS body FROM ({_source('after')})"
