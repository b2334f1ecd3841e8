-- What we ask of spans, in narrow typed columns: reading one number out of the attribute map would read the prompts with
-- it. One table and one view for all of it, because what an insert costs is its views (each is planned anew, and writes a
-- part of its own): invocations and inferences are views over it, which cost nothing until they are read. What was said
-- stays in otel_traces: it is most of the bytes, and no list reads it.
--
-- Every span that names a program or a model is here. An invocation is the span of a program (invoke_workflow), or a
-- model call that carries a program but stands inside no invocation: that one is both, and has an id made from its span.
-- Two instrumentations may describe one model call. The span that came second is marked ell.duplicate: it is neither, or
-- tokens would count twice, and is kept so that `ell-otel doctor` can name its maker.
--
-- A row that came twice has the same sort key and content: it collapses at merge, and the views read FINAL. Within a day
-- the spans of a program lie together, so that a question about one program reads a share of each day, and the newest are
-- in the granules that end each program's last day. Small granules, since most questions want few rows.
-- The projection answers "which versions are there, since when" and "how long did the longest take" without reading
-- spans, and does not mind duplicates.

CREATE TABLE IF NOT EXISTS ell_spans
(
    Started               DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    Kind                  Enum8('other' = 0, 'invocation' = 1, 'inference' = 2, 'both' = 3, 'duplicate' = 4),
    InvocationId          String CODEC(ZSTD(1)),
    TraceId               String CODEC(ZSTD(1)),
    SpanId                String CODEC(ZSTD(1)),
    ParentSpanId          String CODEC(ZSTD(1)),
    ProgramName           LowCardinality(String) CODEC(ZSTD(1)),
    ProgramVersion        LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName           LowCardinality(String) CODEC(ZSTD(1)),
    RunId                 LowCardinality(String) CODEC(ZSTD(1)),
    CaseId                String CODEC(ZSTD(1)),
    Producer              LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'the instrumentation that made the span',
    Operation             LowCardinality(String) CODEC(ZSTD(1)),
    Provider              LowCardinality(String) CODEC(ZSTD(1)),
    RequestModel          LowCardinality(String) CODEC(ZSTD(1)),
    ResponseModel         LowCardinality(String) CODEC(ZSTD(1)),
    ServiceTier           LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'as answered, else as asked for',
    Duration              UInt64 CODEC(ZSTD(1)) COMMENT 'ns',
    StatusCode            LowCardinality(String) CODEC(ZSTD(1)),
    ErrorType             LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage         String CODEC(ZSTD(1)),
    InputTokens           Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'cached ones included; NULL: not reported',
    OutputTokens          Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'reasoning included',
    CachedInputTokens     Nullable(UInt32) CODEC(ZSTD(1)),
    ReasoningOutputTokens Nullable(UInt32) CODEC(ZSTD(1)),
    INDEX idx_invocation_id InvocationId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    PROJECTION versions
    (
        SELECT ProgramName, ProgramVersion, min(Started), max(Started), max(Duration)
        GROUP BY ProgramName, ProgramVersion
    )
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(Started)
ORDER BY (toDate(Started), ProgramName, Started, SpanId)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, deduplicate_merge_projection_mode = 'rebuild';

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_spans_mv TO ell_spans AS
WITH
    SpanAttributes['ell.invocation.id'] AS invocation,
    RequestModel != '' AND Operation NOT IN ('invoke_workflow', 'execute_tool', 'invoke_agent') AS inferred,
    ProgramName != '' AND (Operation = 'invoke_workflow' OR (invocation = '' AND RequestModel != '')) AS invoked
SELECT
    Timestamp AS Started,
    multiIf(SpanAttributes['ell.duplicate'] != '', 'duplicate', invoked AND inferred, 'both',
            invoked, 'invocation', inferred, 'inference', 'other') AS Kind,
    multiIf(invocation != '', invocation, ProgramName != '', concat(left(TraceId, 16), SpanId), '') AS InvocationId,
    TraceId,
    SpanId,
    ParentSpanId,
    SpanAttributes['ell.program.name'] AS ProgramName,
    SpanAttributes['ell.program.version'] AS ProgramVersion,
    ServiceName,
    SpanAttributes['test.suite.run.id'] AS RunId,
    SpanAttributes['test.case.id'] AS CaseId,
    ScopeName AS Producer,
    SpanAttributes['gen_ai.operation.name'] AS Operation,
    SpanAttributes['gen_ai.provider.name'] AS Provider,
    SpanAttributes['gen_ai.request.model'] AS RequestModel,
    SpanAttributes['gen_ai.response.model'] AS ResponseModel,
    if(SpanAttributes['openai.response.service_tier'] != '', SpanAttributes['openai.response.service_tier'],
       SpanAttributes['openai.request.service_tier']) AS ServiceTier,
    toUInt64(Duration) AS Duration,
    StatusCode,
    SpanAttributes['error.type'] AS ErrorType,
    substring(StatusMessage, 1, 2048) AS StatusMessage,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.input_tokens']) AS InputTokens,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.output_tokens']) AS OutputTokens,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.cache_read.input_tokens']) AS CachedInputTokens,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.reasoning.output_tokens']) AS ReasoningOutputTokens
FROM otel_traces
WHERE ProgramName != '' OR RequestModel != '';

CREATE VIEW IF NOT EXISTS ell_invocations AS
SELECT Started, InvocationId, TraceId, SpanId, ParentSpanId, ProgramName, ProgramVersion, ServiceName, RunId, CaseId,
    Duration, StatusCode, ErrorType, StatusMessage
FROM ell_spans FINAL
WHERE Kind IN ('invocation', 'both');

CREATE VIEW IF NOT EXISTS ell_inferences AS
SELECT Started, InvocationId, TraceId, SpanId, ProgramName, ProgramVersion, ServiceName, RunId, CaseId, Operation,
    Provider, RequestModel, ResponseModel, ServiceTier, Duration, StatusCode, ErrorType, StatusMessage, InputTokens,
    OutputTokens, CachedInputTokens, ReasoningOutputTokens
FROM ell_spans FINAL
WHERE Kind IN ('inference', 'both');

-- What was said in every span of an invocation: arguments and result of programs, messages of inferences. Read it by
-- TraceId; a span that came twice may stand here twice until it has merged.
CREATE VIEW IF NOT EXISTS ell_invocation_contents AS
SELECT
    toTimeZone(Timestamp, 'UTC') AS Started,
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
WHERE (Arguments != '' OR Result != '' OR System != '' OR InputMessages != '' OR OutputMessages != '')
  AND SpanAttributes['ell.duplicate'] = '';

CREATE VIEW IF NOT EXISTS ell_duplicates AS
SELECT Started, TraceId, SpanId, Producer, RequestModel
FROM ell_spans FINAL
WHERE Kind = 'duplicate';

-- A run is what its invocations say they belong to: a set of cases, put to one version or several.
CREATE VIEW IF NOT EXISTS ell_runs AS
SELECT RunId, ProgramName, ProgramVersion, min(Started) AS FirstStarted, max(Started) AS LastStarted,
    count() AS Invocations, uniqExact(CaseId) AS Cases, countIf(StatusCode = 'Error') AS Errors
FROM ell_invocations
WHERE RunId != ''
GROUP BY RunId, ProgramName, ProgramVersion;
