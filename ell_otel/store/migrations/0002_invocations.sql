-- What we ask of spans, in narrow typed columns: reading one number out of the attribute map would read the prompts with
-- it. Contents stand apart, and lists never touch them.
--
-- An invocation is the span of a program (invoke_workflow), or a model call that carries a program but stands inside no
-- invocation: that one is its own, and has an id made from its span.
-- A row that came twice has the same sort key and content: it collapses at merge, and queries read FINAL.

CREATE TABLE IF NOT EXISTS ell_invocations
(
    Started        DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    InvocationId   String CODEC(ZSTD(1)),
    TraceId        String CODEC(ZSTD(1)),
    SpanId         String CODEC(ZSTD(1)),
    ParentSpanId   String CODEC(ZSTD(1)),
    ProgramName    LowCardinality(String) CODEC(ZSTD(1)),
    ProgramVersion LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName    LowCardinality(String) CODEC(ZSTD(1)),
    Duration       UInt64 CODEC(ZSTD(1)) COMMENT 'ns',
    StatusCode     LowCardinality(String) CODEC(ZSTD(1)),
    ErrorType      LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage  String CODEC(ZSTD(1)),
    INDEX idx_invocation_id InvocationId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_program ProgramName TYPE set(1000) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(Started)
ORDER BY (Started, InvocationId, SpanId)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1${durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_invocations_mv TO ell_invocations AS
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
  AND (SpanAttributes['gen_ai.operation.name'] = 'invoke_workflow'
       OR (SpanAttributes['ell.invocation.id'] = '' AND SpanAttributes['gen_ai.request.model'] != ''));

-- A span that asks a model for something. Token counts that were not reported are NULL, never 0.
CREATE TABLE IF NOT EXISTS ell_inferences
(
    Started               DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    InvocationId          String CODEC(ZSTD(1)),
    TraceId               String CODEC(ZSTD(1)),
    SpanId                String CODEC(ZSTD(1)),
    ProgramName           LowCardinality(String) CODEC(ZSTD(1)),
    ProgramVersion        LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName           LowCardinality(String) CODEC(ZSTD(1)),
    Operation             LowCardinality(String) CODEC(ZSTD(1)),
    Provider              LowCardinality(String) CODEC(ZSTD(1)),
    RequestModel          LowCardinality(String) CODEC(ZSTD(1)),
    ResponseModel         LowCardinality(String) CODEC(ZSTD(1)),
    Duration              UInt64 CODEC(ZSTD(1)) COMMENT 'ns',
    StatusCode            LowCardinality(String) CODEC(ZSTD(1)),
    ErrorType             LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage         String CODEC(ZSTD(1)),
    InputTokens           Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'cached ones included',
    OutputTokens          Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'reasoning included',
    CachedInputTokens     Nullable(UInt32) CODEC(ZSTD(1)),
    ReasoningOutputTokens Nullable(UInt32) CODEC(ZSTD(1)),
    INDEX idx_invocation_id InvocationId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(Started)
ORDER BY (Started, InvocationId, SpanId)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1${durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_inferences_mv TO ell_inferences AS
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
  AND SpanAttributes['gen_ai.operation.name'] NOT IN ('invoke_workflow', 'execute_tool', 'invoke_agent');

-- What was said: arguments and result of invocations, messages of inferences. Read one trace at a time, or searched.
CREATE TABLE IF NOT EXISTS ell_invocation_contents
(
    Started        DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    TraceId        String CODEC(ZSTD(1)),
    SpanId         String CODEC(ZSTD(1)),
    InvocationId   String CODEC(ZSTD(1)),
    ProgramName    LowCardinality(String) CODEC(ZSTD(1)),
    Arguments      String CODEC(ZSTD(3)),
    Result         String CODEC(ZSTD(3)),
    System         String CODEC(ZSTD(3)),
    InputMessages  String CODEC(ZSTD(3)),
    OutputMessages String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(Started)
ORDER BY (TraceId, SpanId)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1${durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_invocation_contents_mv TO ell_invocation_contents AS
SELECT
    Timestamp AS Started,
    TraceId,
    SpanId,
    multiIf(SpanAttributes['ell.invocation.id'] != '', SpanAttributes['ell.invocation.id'],
            SpanAttributes['ell.program.name'] != '', concat(left(TraceId, 16), SpanId), '') AS InvocationId,
    SpanAttributes['ell.program.name'] AS ProgramName,
    SpanAttributes['ell.invocation.arguments'] AS Arguments,
    SpanAttributes['ell.invocation.result'] AS Result,
    SpanAttributes['gen_ai.system_instructions'] AS System,
    SpanAttributes['gen_ai.input.messages'] AS InputMessages,
    SpanAttributes['gen_ai.output.messages'] AS OutputMessages
FROM otel_traces
WHERE Arguments != '' OR Result != '' OR System != '' OR InputMessages != '' OR OutputMessages != '';
