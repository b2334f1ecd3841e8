"""Invocations one by one, and one of them with what was said and what ran inside it."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is decoded, see ``chosen``

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.panels.parts import (
    ERROR,
    EVALUATIONS,
    EVERYTHING,
    IN_RANGE,
    RUNS,
    among,
    chosen,
    numbered,
)
from ell_otel.store.panels.words import SEARCHED, USING_THE_INDEX
from ell_otel.store.queries.cost import priced_inferences

_PAGE: Final = 200
_STATUS: Final = f"({chosen('status')} = '{EVERYTHING}' OR (StatusCode = 'Error') = ({chosen('status')} = 'error'))"
_WHERE: Final = f"""{RUNS} AND {among("version", "ProgramVersion")} AND {_STATUS}
    AND Duration >= toFloat64OrZero({chosen("slower_than_ms")}) * 1e6
    AND {SEARCHED}"""

VERSIONS: Final = f"""
SELECT version AS value, concat(program, ' ', label) AS text FROM {numbered()} AS known
WHERE {among("program", "program")}
ORDER BY program, number DESC LIMIT 1000
"""

OUTCOMES: Final = f"""
SELECT $__timeInterval(Started) AS time, countIf(StatusCode != 'Error') AS ok, countIf(StatusCode = 'Error') AS error
FROM {semconv.TABLE_INVOCATIONS} WHERE {_WHERE}
GROUP BY time ORDER BY time
{USING_THE_INDEX}
"""

_PAGE_OF_RUNS: Final = f"""
    SELECT Started, InvocationId, TraceId, ProgramName, ProgramVersion, ServiceName, Duration, StatusCode,
        {ERROR} AS error
    FROM {semconv.TABLE_INVOCATIONS} WHERE {_WHERE}
    ORDER BY Started DESC, SpanId DESC LIMIT {_PAGE}"""
_ON_PAGE: Final = f"{IN_RANGE} AND InvocationId IN (SELECT InvocationId FROM ({_PAGE_OF_RUNS}))"

TABLE: Final = f"""
SELECT run.Started AS started, run.ProgramName AS program, known.label AS version,
    if(run.StatusCode = 'Error', 'error', 'ok') AS status, run.Duration / 1e6 AS duration, used.models AS models,
    used.input AS input, used.output AS output, used.cost AS cost, scored.score AS score, run.error AS error,
    run.ServiceName AS service, run.InvocationId AS invocation, run.TraceId AS trace
FROM ({_PAGE_OF_RUNS}) AS run
LEFT JOIN (
    SELECT InvocationId AS used_key, sum(Input) AS input, sum(Output) AS output,
        if(sum(Unknown) > 0, NULL, sum(Cost)) AS cost,
        arrayStringConcat(arraySort(groupUniqArray(Model)), ', ') AS models
    FROM {priced_inferences("InvocationId", _ON_PAGE)} GROUP BY used_key
) AS used ON used.used_key = run.InvocationId
LEFT JOIN (
    SELECT InvocationId AS scored_key, avg(Score) AS score
    FROM {EVALUATIONS}
    WHERE InvocationId IN (SELECT InvocationId FROM ({_PAGE_OF_RUNS})) GROUP BY scored_key
) AS scored ON scored.scored_key = run.InvocationId
LEFT JOIN {numbered()} AS known ON known.program = run.ProgramName AND known.version = run.ProgramVersion
ORDER BY started DESC
{USING_THE_INDEX}
"""

_SPAN_TAGS: Final = "arrayMap(key -> map('key', key, 'value', {0}[key]), mapKeys({0}))"

# The columns and types are those of Grafana's trace panel.
TRACE: Final = f"""
SELECT TraceId AS traceID, SpanId AS spanID, ParentSpanId AS parentSpanID, ServiceName AS serviceName,
    SpanName AS operationName, multiply(toUnixTimestamp64Nano(Timestamp), 0.000001) AS startTime,
    multiply(Duration, 0.000001) AS duration, {_SPAN_TAGS.format("SpanAttributes")} AS tags,
    {_SPAN_TAGS.format("ResourceAttributes")} AS serviceTags,
    if(StatusCode IN ('Error', 'STATUS_CODE_ERROR'), 2, 0) AS statusCode, StatusMessage AS statusMessage,
    SpanKind AS kind
FROM {semconv.TABLE_TRACES}
WHERE TraceId = {chosen("trace")}
ORDER BY Timestamp, SpanId LIMIT 1 BY SpanId
"""

_OF_ONE: Final = f"TraceId = {chosen('trace')} AND InvocationId = {chosen('invocation')}"

CALL: Final = f"""
SELECT Arguments AS arguments, Result AS result
FROM {semconv.TABLE_INVOCATION_CONTENTS} WHERE {_OF_ONE} AND (Arguments != '' OR Result != '')
ORDER BY Started
"""

_PARTS: Final = """arrayFlatten(arrayMap(message -> arrayMap(part -> (JSONExtractString(message, 'role'), part),
            JSONExtractArrayRaw(message, 'parts')), JSONExtractArrayRaw({})))"""

# One row for each part of a message, in the order in which it was said; the system's instructions first.
MESSAGES: Final = f"""
SELECT Started AS time, said.1 AS role, JSONExtractString(said.2, 'type') AS part,
    multiIf(
        JSONHas(said.2, 'content'), JSONExtractString(said.2, 'content'),
        part = 'tool_call', concat(JSONExtractString(said.2, 'name'), ' ', JSONExtractRaw(said.2, 'arguments')),
        part = 'tool_call_response' AND JSONHas(said.2, 'response'), JSONExtractRaw(said.2, 'response'),
        part = 'tool_call_response', JSONExtractRaw(said.2, 'result'),
        said.2
    ) AS text
FROM (
    SELECT Started, SpanId, arrayConcat(
        arrayMap(part -> ('system', part), JSONExtractArrayRaw(System)),
        {_PARTS.format("InputMessages")},
        {_PARTS.format("OutputMessages")}
    ) AS everything
    FROM {semconv.TABLE_INVOCATION_CONTENTS} WHERE {_OF_ONE}
)
ARRAY JOIN everything AS said, arrayEnumerate(everything) AS place
ORDER BY Started, SpanId, place LIMIT 1000
"""

SCORES: Final = f"""
SELECT Timestamp AS time, Name AS name, Score AS score, Label AS label, Explanation AS explanation
FROM {EVALUATIONS} WHERE InvocationId = {chosen("invocation")}
ORDER BY time, name
"""
