-- Versions, what they use, and how they scored. Events are known by the attribute event.name, which every sink keeps;
-- the column EventName is missing from tables made by an older exporter.

-- One row per version and part of its source after merging; a version known only from its spans is part 0 of 0.
-- The order of FirstSeen is the version number.
CREATE TABLE IF NOT EXISTS ell_program_versions
(
    ProgramName    LowCardinality(String) CODEC(ZSTD(1)),
    ProgramVersion String CODEC(ZSTD(1)),
    Parts          UInt16,
    Part           UInt16,
    FirstSeen      SimpleAggregateFunction(min, DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    LastSeen       SimpleAggregateFunction(max, DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    Source         SimpleAggregateFunction(any, String) CODEC(ZSTD(3)),
    Proto          SimpleAggregateFunction(any, String) CODEC(ZSTD(3)),
    ProtoEncoding  SimpleAggregateFunction(any, String) CODEC(ZSTD(1)),
    Partial        SimpleAggregateFunction(max, UInt8) CODEC(ZSTD(1)),
    Warnings       SimpleAggregateFunction(any, String) CODEC(ZSTD(1)),
    GitCommit      SimpleAggregateFunction(any, String) CODEC(ZSTD(1)) COMMENT 'where it was first seen',
    GitBranch      SimpleAggregateFunction(any, String) CODEC(ZSTD(1)),
    GitDirty       SimpleAggregateFunction(any, String) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (ProgramName, ProgramVersion, Parts, Part)
SETTINGS index_granularity = 1024${durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_program_versions_mv TO ell_program_versions AS
WITH splitByChar('/', LogAttributes['ell.program.part']) AS numbers
SELECT
    LogAttributes['ell.program.name'] AS ProgramName,
    LogAttributes['ell.program.version'] AS ProgramVersion,
    greatest(toUInt16OrZero(numbers[2]), 1) AS Parts,
    greatest(toUInt16OrZero(numbers[1]), 1) AS Part,
    Timestamp AS FirstSeen,
    Timestamp AS LastSeen,
    LogAttributes['ell.program.source'] AS Source,
    LogAttributes['ell.program.proto'] AS Proto,
    LogAttributes['ell.program.proto.encoding'] AS ProtoEncoding,
    toUInt8(LogAttributes['ell.program.partial'] = 'true') AS Partial,
    LogAttributes['ell.program.warnings'] AS Warnings,
    LogAttributes['ell.program.git.commit'] AS GitCommit,
    LogAttributes['ell.program.git.branch'] AS GitBranch,
    LogAttributes['ell.program.git.dirty'] AS GitDirty
FROM otel_logs
WHERE LogAttributes['event.name'] = 'ell.program' AND LogAttributes['ell.program.name'] != '' AND LogAttributes['ell.program.version'] != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_program_versions_spans_mv TO ell_program_versions AS
SELECT
    SpanAttributes['ell.program.name'] AS ProgramName,
    SpanAttributes['ell.program.version'] AS ProgramVersion,
    toUInt16(0) AS Parts,
    toUInt16(0) AS Part,
    min(Timestamp) AS FirstSeen,
    max(Timestamp) AS LastSeen
FROM otel_traces
WHERE SpanAttributes['ell.program.name'] != '' AND SpanAttributes['ell.program.version'] != ''
GROUP BY ProgramName, ProgramVersion;

CREATE TABLE IF NOT EXISTS ell_program_edges
(
    ProgramName    LowCardinality(String) CODEC(ZSTD(1)),
    ProgramVersion String CODEC(ZSTD(1)),
    Kind           LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'uses | parent',
    TargetName     LowCardinality(String) CODEC(ZSTD(1)),
    TargetVersion  String CODEC(ZSTD(1)),
    Optimizer      LowCardinality(String) CODEC(ZSTD(1)),
    FirstSeen      SimpleAggregateFunction(min, DateTime64(9, 'UTC')) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (ProgramName, ProgramVersion, Kind, TargetName, TargetVersion, Optimizer)
SETTINGS index_granularity = 1024${durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_program_edges_mv TO ell_program_edges AS
SELECT
    LogAttributes['ell.program.name'] AS ProgramName,
    LogAttributes['ell.program.version'] AS ProgramVersion,
    'uses' AS Kind,
    JSONExtractString(used, 'name') AS TargetName,
    JSONExtractString(used, 'version') AS TargetVersion,
    '' AS Optimizer,
    Timestamp AS FirstSeen
FROM otel_logs
ARRAY JOIN JSONExtractArrayRaw(LogAttributes['ell.program.uses']) AS used
WHERE LogAttributes['event.name'] = 'ell.program' AND TargetName != '';

CREATE TABLE IF NOT EXISTS ell_evaluations
(
    Timestamp      DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    TraceId        String CODEC(ZSTD(1)),
    SpanId         String CODEC(ZSTD(1)),
    InvocationId   String CODEC(ZSTD(1)),
    ProgramName    LowCardinality(String) CODEC(ZSTD(1)),
    ProgramVersion LowCardinality(String) CODEC(ZSTD(1)),
    Name           LowCardinality(String) CODEC(ZSTD(1)),
    Score          Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'NULL: none given, or no finite number',
    Label          LowCardinality(String) CODEC(ZSTD(1)),
    Explanation    String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(Timestamp)
ORDER BY (ProgramName, ProgramVersion, InvocationId, Name, Timestamp, SpanId)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1${durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_evaluations_mv TO ell_evaluations AS
WITH toFloat64OrNull(LogAttributes['gen_ai.evaluation.score.value']) AS given
SELECT
    Timestamp,
    TraceId,
    SpanId,
    LogAttributes['ell.invocation.id'] AS InvocationId,
    LogAttributes['ell.program.name'] AS ProgramName,
    LogAttributes['ell.program.version'] AS ProgramVersion,
    LogAttributes['gen_ai.evaluation.name'] AS Name,
    if(isFinite(given), given, NULL) AS Score,
    LogAttributes['gen_ai.evaluation.score.label'] AS Label,
    LogAttributes['gen_ai.evaluation.explanation'] AS Explanation
FROM otel_logs
WHERE LogAttributes['event.name'] = 'gen_ai.evaluation.result';
