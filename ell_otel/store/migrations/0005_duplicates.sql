-- Two instrumentations may describe one model call. The span that came second is marked ell.duplicate: it is neither an
-- invocation nor an inference, or tokens would count twice, and stands here so that `ell-otel doctor` can name its maker.

ALTER TABLE ell_invocations_mv MODIFY QUERY
SELECT
    Timestamp AS Started,
    if(SpanAttributes['ell.invocation.id'] != '', SpanAttributes['ell.invocation.id'], concat(left(TraceId, 16), SpanId)) AS InvocationId,
    TraceId,
    SpanId,
    ParentSpanId,
    SpanAttributes['ell.program.name'] AS ProgramName,
    SpanAttributes['ell.program.version'] AS ProgramVersion,
    ServiceName,
    toUInt64(Duration) AS Duration,
    StatusCode,
    SpanAttributes['error.type'] AS ErrorType,
    substring(StatusMessage, 1, 2048) AS StatusMessage
FROM otel_traces
WHERE SpanAttributes['ell.program.name'] != ''
  AND SpanAttributes['ell.duplicate'] = ''
  AND (SpanAttributes['gen_ai.operation.name'] = 'invoke_workflow'
       OR (SpanAttributes['ell.invocation.id'] = '' AND SpanAttributes['gen_ai.request.model'] != ''));

ALTER TABLE ell_inferences_mv MODIFY QUERY
SELECT
    Timestamp AS Started,
    multiIf(SpanAttributes['ell.invocation.id'] != '', SpanAttributes['ell.invocation.id'],
            SpanAttributes['ell.program.name'] != '', concat(left(TraceId, 16), SpanId), '') AS InvocationId,
    TraceId,
    SpanId,
    SpanAttributes['ell.program.name'] AS ProgramName,
    SpanAttributes['ell.program.version'] AS ProgramVersion,
    ServiceName,
    SpanAttributes['gen_ai.operation.name'] AS Operation,
    SpanAttributes['gen_ai.provider.name'] AS Provider,
    SpanAttributes['gen_ai.request.model'] AS RequestModel,
    SpanAttributes['gen_ai.response.model'] AS ResponseModel,
    toUInt64(Duration) AS Duration,
    StatusCode,
    SpanAttributes['error.type'] AS ErrorType,
    substring(StatusMessage, 1, 2048) AS StatusMessage,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.input_tokens']) AS InputTokens,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.output_tokens']) AS OutputTokens,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.cache_read.input_tokens']) AS CachedInputTokens,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.reasoning.output_tokens']) AS ReasoningOutputTokens
FROM otel_traces
WHERE SpanAttributes['gen_ai.request.model'] != ''
  AND SpanAttributes['ell.duplicate'] = ''
  AND SpanAttributes['gen_ai.operation.name'] NOT IN ('invoke_workflow', 'execute_tool', 'invoke_agent');

CREATE TABLE IF NOT EXISTS ell_duplicates
(
    Started      DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    TraceId      String CODEC(ZSTD(1)),
    SpanId       String CODEC(ZSTD(1)),
    Producer     LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'the instrumentation that made the span',
    RequestModel LowCardinality(String) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(Started)
ORDER BY (Producer, Started, SpanId)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1${durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_duplicates_mv TO ell_duplicates AS
SELECT
    Timestamp AS Started,
    TraceId,
    SpanId,
    ScopeName AS Producer,
    SpanAttributes['gen_ai.request.model'] AS RequestModel
FROM otel_traces
WHERE SpanAttributes['ell.duplicate'] != '';
