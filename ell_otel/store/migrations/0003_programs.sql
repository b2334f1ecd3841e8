-- Versions, what they use, what they are called, and how they scored: from events in the logs. An event is known by the
-- attribute event.name, which every sink keeps; the column EventName is missing from tables made by an older exporter.

-- One row per version and part of its source after merging.
CREATE TABLE IF NOT EXISTS ell_program_sources
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
    Uses           SimpleAggregateFunction(any, String) CODEC(ZSTD(1)) COMMENT 'JSON as sent: [{name, version}, …]',
    GitCommit      SimpleAggregateFunction(any, String) CODEC(ZSTD(1)) COMMENT 'where it was first seen',
    GitBranch      SimpleAggregateFunction(any, String) CODEC(ZSTD(1)),
    GitDirty       SimpleAggregateFunction(any, String) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (ProgramName, ProgramVersion, Parts, Part)
SETTINGS index_granularity = 1024;

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_program_sources_mv TO ell_program_sources AS
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
    LogAttributes['ell.program.uses'] AS Uses,
    LogAttributes['ell.program.git.commit'] AS GitCommit,
    LogAttributes['ell.program.git.branch'] AS GitBranch,
    LogAttributes['ell.program.git.dirty'] AS GitDirty
FROM otel_logs
WHERE LogAttributes['event.name'] = 'ell.program' AND LogAttributes['ell.program.name'] != '' AND LogAttributes['ell.program.version'] != '';

-- Every version, by its events and by its spans: those are part 0 of 0, for a version whose event has not arrived, and
-- for when it was last used. The order of the least FirstSeen is the version number.
CREATE VIEW IF NOT EXISTS ell_program_versions AS
SELECT ProgramName, ProgramVersion, Parts, Part, FirstSeen, LastSeen, Source, Proto, ProtoEncoding, Partial, Warnings,
    GitCommit, GitBranch, GitDirty
FROM ell_program_sources
UNION ALL
SELECT ProgramName, toString(ProgramVersion) AS ProgramVersion, toUInt16(0) AS Parts, toUInt16(0) AS Part,
    min(Started) AS FirstSeen, max(Started) AS LastSeen, '' AS Source, '' AS Proto, '' AS ProtoEncoding,
    toUInt8(0) AS Partial, '' AS Warnings, '' AS GitCommit, '' AS GitBranch, '' AS GitDirty
FROM ell_spans
WHERE ProgramName != '' AND ProgramVersion != ''
GROUP BY ProgramName, ProgramVersion;

CREATE VIEW IF NOT EXISTS ell_program_edges AS
SELECT ProgramName, ProgramVersion, 'uses' AS Kind, JSONExtractString(used, 'name') AS TargetName,
    JSONExtractString(used, 'version') AS TargetVersion, '' AS Optimizer, FirstSeen
FROM ell_program_sources
ARRAY JOIN JSONExtractArrayRaw(Uses) AS used
WHERE TargetName != '';

CREATE TABLE IF NOT EXISTS ell_evaluations
(
    Timestamp      DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    TraceId        String CODEC(ZSTD(1)),
    SpanId         String CODEC(ZSTD(1)),
    InvocationId   String CODEC(ZSTD(1)),
    ProgramName    LowCardinality(String) CODEC(ZSTD(1)),
    ProgramVersion LowCardinality(String) CODEC(ZSTD(1)),
    RunId          LowCardinality(String) CODEC(ZSTD(1)),
    CaseId         String CODEC(ZSTD(1)),
    Name           LowCardinality(String) CODEC(ZSTD(1)),
    Score          Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'NULL: none given, or no finite number',
    Label          LowCardinality(String) CODEC(ZSTD(1)),
    Explanation    String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(Timestamp)
ORDER BY (ProgramName, ProgramVersion, InvocationId, Name, Timestamp, SpanId)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_evaluations_mv TO ell_evaluations AS
WITH toFloat64OrNull(LogAttributes['gen_ai.evaluation.score.value']) AS given
SELECT
    Timestamp,
    TraceId,
    SpanId,
    LogAttributes['ell.invocation.id'] AS InvocationId,
    LogAttributes['ell.program.name'] AS ProgramName,
    LogAttributes['ell.program.version'] AS ProgramVersion,
    LogAttributes['test.suite.run.id'] AS RunId,
    LogAttributes['test.case.id'] AS CaseId,
    LogAttributes['gen_ai.evaluation.name'] AS Name,
    if(isFinite(given), given, NULL) AS Score,
    LogAttributes['gen_ai.evaluation.score.label'] AS Label,
    LogAttributes['gen_ai.evaluation.explanation'] AS Explanation
FROM otel_logs
WHERE LogAttributes['event.name'] = 'gen_ai.evaluation.result';

-- name@label points to a version; the last one said is in force, and one that points nowhere has been taken back.
CREATE TABLE IF NOT EXISTS ell_labels
(
    ProgramName    LowCardinality(String) CODEC(ZSTD(1)),
    Label          LowCardinality(String) CODEC(ZSTD(1)),
    Timestamp      DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    ProgramVersion String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (ProgramName, Label, Timestamp)
SETTINGS index_granularity = 1024;

CREATE MATERIALIZED VIEW IF NOT EXISTS ell_labels_mv TO ell_labels AS
SELECT
    LogAttributes['ell.program.name'] AS ProgramName,
    LogAttributes['ell.label.name'] AS Label,
    Timestamp,
    LogAttributes['ell.program.version'] AS ProgramVersion
FROM otel_logs
WHERE LogAttributes['event.name'] = 'ell.label' AND Label != '' AND ProgramName != '';
