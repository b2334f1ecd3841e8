"""Every program at a glance: what runs, how fast, what it costs, what is new."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is decoded, see ``chosen``

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.panels.parts import (
    BUCKET,
    FIGURES,
    IN_RANGE,
    MODEL,
    RUNS,
    USES,
    numbered,
    ran,
    scored,
    used,
)
from ell_otel.store.queries.cost import priced_inferences

_MOST: Final = 1000

SERVICES: Final = (
    f"SELECT DISTINCT ServiceName AS service FROM {semconv.TABLE_INVOCATIONS} WHERE {IN_RANGE} ORDER BY service"
)
PROGRAMS: Final = f"SELECT DISTINCT ProgramName AS program FROM {semconv.TABLE_PROGRAM_VERSIONS} ORDER BY program"
MODELS: Final = f"SELECT DISTINCT {MODEL} AS model FROM {semconv.TABLE_INFERENCES} WHERE {IN_RANGE} ORDER BY model"

TOTALS: Final = f"""
SELECT calls, error_rate, p50, p95, input, output, cost, unpriced
FROM (
    SELECT count() AS calls, countIf(StatusCode = 'Error') / nullIf(calls, 0) AS error_rate,
        if(calls = 0, NULL, quantile(0.5)(Duration) / 1e6) AS p50,
        if(calls = 0, NULL, quantile(0.95)(Duration) / 1e6) AS p95
    FROM {semconv.TABLE_INVOCATIONS} WHERE {RUNS}
) AS ran
CROSS JOIN (
    SELECT sum(Input) AS input, sum(Output) AS output, sum(Cost) AS cost, sum(Unknown) AS unpriced
    FROM {priced_inferences("ServiceName", USES)}
) AS used
"""

CALLS: Final = f"""
SELECT {BUCKET} AS time, ProgramName AS program, count() AS calls
FROM {semconv.TABLE_INVOCATIONS} WHERE {RUNS}
GROUP BY time, program ORDER BY time, program
"""

CALLS_BY_VERSION: Final = f"""
SELECT time, concat(program, ' ', label) AS version, sum(runs) AS calls
FROM (
    SELECT {BUCKET} AS time, ProgramName, ProgramVersion, count() AS runs
    FROM {semconv.TABLE_INVOCATIONS} WHERE {RUNS} GROUP BY time, ProgramName, ProgramVersion
) AS run
INNER JOIN {numbered()} AS known ON known.program = run.ProgramName AND known.version = run.ProgramVersion
GROUP BY time, known.program, known.label ORDER BY time, version
"""

ERRORS: Final = f"""
SELECT {BUCKET} AS time, ProgramName AS program, countIf(StatusCode = 'Error') / count() AS error_rate
FROM {semconv.TABLE_INVOCATIONS} WHERE {RUNS}
GROUP BY time, program ORDER BY time, program
"""

LATENCY: Final = f"""
SELECT {BUCKET} AS time, quantile(0.5)(Duration) / 1e6 AS p50, quantile(0.95)(Duration) / 1e6 AS p95,
    quantile(0.99)(Duration) / 1e6 AS p99
FROM {semconv.TABLE_INVOCATIONS} WHERE {RUNS}
GROUP BY time ORDER BY time
"""

LATENCY_BY_PROGRAM: Final = f"""
SELECT {BUCKET} AS time, ProgramName AS program, quantile(0.95)(Duration) / 1e6 AS p95
FROM {semconv.TABLE_INVOCATIONS} WHERE {RUNS}
GROUP BY time, program ORDER BY time, program
"""

LATENCY_BY_MODEL: Final = f"""
SELECT {BUCKET} AS time, {MODEL} AS model, quantile(0.95)(Duration) / 1e6 AS p95
FROM {semconv.TABLE_INFERENCES} WHERE {USES}
GROUP BY time, model ORDER BY time, model
"""

TOKENS: Final = f"""
SELECT {BUCKET} AS time, {MODEL} AS model, ifNull(sum(InputTokens), 0) AS input, ifNull(sum(OutputTokens), 0) AS output
FROM {semconv.TABLE_INFERENCES} WHERE {USES}
GROUP BY time, model ORDER BY time, model
"""

COST_BY_MODEL: Final = f"""
SELECT time, Model AS model, sum(Cost) AS cost
FROM {priced_inferences(f"{BUCKET} AS time", USES)}
GROUP BY time, model ORDER BY time, model
"""

COST_BY_PROGRAM: Final = f"""
SELECT time, if(ProgramName = '', 'no program', ProgramName) AS program, sum(Cost) AS cost
FROM {priced_inferences(f"{BUCKET} AS time, ProgramName", USES)}
GROUP BY time, program ORDER BY time, program
"""

PROGRAM_TABLE: Final = f"""
SELECT ran.ran_key AS program, versions, last_seen, {FIGURES.strip()}
FROM {ran("ProgramName", RUNS)} AS ran
LEFT JOIN {used("ProgramName", USES)} AS used ON used.used_key = ran.ran_key
LEFT JOIN {scored("ProgramName", "$__timeFilter(Timestamp)")} AS scored ON scored.scored_key = ran.ran_key
LEFT JOIN (
    SELECT ProgramName, uniqExact(ProgramVersion) AS versions, max(LastSeen) AS last_seen
    FROM {semconv.TABLE_PROGRAM_VERSIONS} GROUP BY ProgramName
) AS known ON known.ProgramName = ran.ran_key
ORDER BY calls DESC, program LIMIT {_MOST}
"""

MODEL_TABLE: Final = f"""
SELECT model, provider, calls, error_rate, p50, p95, input, output, cached, reasoning, cost, unpriced
FROM (
    SELECT {MODEL} AS model, anyLast(Provider) AS provider, count() AS calls,
        countIf(StatusCode = 'Error') / count() AS error_rate,
        quantile(0.5)(Duration) / 1e6 AS p50, quantile(0.95)(Duration) / 1e6 AS p95,
        sum(InputTokens) AS input, sum(OutputTokens) AS output, sum(CachedInputTokens) AS cached,
        sum(ReasoningOutputTokens) AS reasoning
    FROM {semconv.TABLE_INFERENCES} WHERE {USES} GROUP BY model
) AS asked
LEFT JOIN (
    SELECT Model AS priced_model, sum(Cost) AS cost, sum(Unknown) AS unpriced
    FROM {priced_inferences("ServiceName", USES)} GROUP BY priced_model
) AS priced ON priced.priced_model = asked.model
ORDER BY calls DESC, model LIMIT {_MOST}
"""

NEW_VERSIONS: Final = f"""
SELECT first_seen AS time, program, label, version, previous
FROM {numbered()} AS known
WHERE $__timeFilter(first_seen)
ORDER BY time DESC LIMIT {_MOST}
"""

# An annotation: a line in every graph where a version was first seen.
NEW_VERSION_MARKS: Final = f"""
SELECT first_seen AS time, concat(program, ' ', label) AS text, program AS tags
FROM {numbered()} AS known
WHERE number > 1 AND $__timeFilter(first_seen)
ORDER BY time LIMIT {_MOST}
"""
