-- The tables that hold what arrives: the insert columns, names and types of the OpenTelemetry Collector's ClickHouse
-- exporter, so that it, rotel and our own collector can write here, and queries made for its tables work.
-- Tables it has made already stay as they are. Ours differ in the engine: a row that was sent twice collapses at merge.
--
-- Spans of a trace lie together, for they say the same things (what a program was given stands in the message it sent
-- too) and compression then sees it: two fifths less on disk than in the exporter's own order. What was said is kept here
-- only, in the attributes; idx_text finds the words of it. The engine takes an index over parts of a map only where a
-- query has optimize_functions_to_subcolumns = 0; queries/search.py writes the same expression.
--
-- These files are for one server. What differs for chDB and for a cluster is worked in by targets.py.

CREATE TABLE IF NOT EXISTS otel_traces
(
    Timestamp          DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId            String CODEC(ZSTD(1)),
    SpanId             String CODEC(ZSTD(1)),
    ParentSpanId       String CODEC(ZSTD(1)),
    TraceState         String CODEC(ZSTD(1)),
    SpanName           LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind           LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName        LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName          String CODEC(ZSTD(1)),
    ScopeVersion       String CODEC(ZSTD(1)),
    SpanAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(3)),
    Duration           UInt64 CODEC(ZSTD(1)),
    StatusCode         LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage      String CODEC(ZSTD(1)),
    Events Nested
    (
        Timestamp  DateTime64(9),
        Name       LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested
    (
        TraceId    String,
        SpanId     String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_text replaceAll(lowerUTF8(concat(SpanAttributes['ell.invocation.arguments'], ' ',
        SpanAttributes['ell.invocation.result'], ' ', SpanAttributes['gen_ai.system_instructions'], ' ',
        SpanAttributes['gen_ai.input.messages'], ' ', SpanAttributes['gen_ai.output.messages'])), '\\n', ' ')
        TYPE tokenbf_v1(16384, 2, 0) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, toStartOfHour(Timestamp), TraceId, Timestamp, SpanId)
SETTINGS index_granularity = 8192, index_granularity_bytes = 2097152, ttl_only_drop_parts = 1;

-- Two records are the same when all that can tell them apart is: attributes and body count by their hash.
CREATE TABLE IF NOT EXISTS otel_logs
(
    Timestamp          DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TimestampTime      DateTime DEFAULT toDateTime(Timestamp),
    TraceId            String CODEC(ZSTD(1)),
    SpanId             String CODEC(ZSTD(1)),
    TraceFlags         UInt8,
    SeverityText       LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber     UInt8,
    ServiceName        LowCardinality(String) CODEC(ZSTD(1)),
    Body               String CODEC(ZSTD(1)),
    ResourceSchemaUrl  LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeSchemaUrl     LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName          String CODEC(ZSTD(1)),
    ScopeVersion       LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes    Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    LogAttributes      Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    EventName          String CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(Timestamp)
PRIMARY KEY (ServiceName, TimestampTime)
ORDER BY (ServiceName, TimestampTime, Timestamp, TraceId, SpanId, cityHash64(Body, ResourceAttributes, LogAttributes))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- When a trace began and ended: Grafana's trace view asks this first. A view, since a table of its own would cost every
-- insert a write; the index on TraceId answers it.
CREATE VIEW IF NOT EXISTS otel_traces_trace_id_ts AS
SELECT TraceId, toDateTime(min(Timestamp)) AS Start, toDateTime(max(Timestamp)) AS End
FROM otel_traces
GROUP BY TraceId;
