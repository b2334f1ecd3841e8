"""Whether telemetry arrives, whole and once, and what it takes to keep it."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is decoded, see ``chosen``

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.panels.parts import (
    IN_RANGE,
)
from ell_otel.store.queries.cost import priced_inferences
from ell_otel.store.queries.references import NUMBERED

_SPANS_IN_RANGE: Final = "$__timeFilter(Timestamp)"

ARRIVED: Final = f"""
SELECT $__timeInterval(Timestamp) AS time, ServiceName AS service, count() AS spans
FROM {semconv.TABLE_TRACES} WHERE {_SPANS_IN_RANGE}
GROUP BY time, service ORDER BY time, service
"""

EVENTS_ARRIVED: Final = f"""
SELECT $__timeInterval(Timestamp) AS time, LogAttributes['event.name'] AS event, count() AS records
FROM {semconv.TABLE_LOGS} WHERE {_SPANS_IN_RANGE}
GROUP BY time, event ORDER BY time, event
"""

SILENCE: Final = f"""
SELECT ServiceName AS service, max(Timestamp) AS newest, dateDiff('second', newest, now64(9)) AS seconds
FROM {semconv.TABLE_TRACES} WHERE {_SPANS_IN_RANGE}
GROUP BY service ORDER BY seconds
"""

# From the time of the newest span in a part to the part's writing. Merging forgets that, so of parts from one insert.
LAG: Final = """
SELECT table, count() AS inserts, max(dateDiff('second', max_time, modification_time)) AS worst,
    quantile(0.5)(dateDiff('second', max_time, modification_time)) AS median
FROM system.parts
WHERE database = currentDatabase() AND active AND min_block_number = max_block_number
    AND table IN ('otel_traces', 'otel_logs') AND max_time > toDateTime(0) AND $__timeFilter(modification_time)
GROUP BY table ORDER BY table
"""

LOSSES: Final = f"""
SELECT $__timeInterval(Timestamp) AS time, LogAttributes['{semconv.ELL_LOSS_REASON}'] AS reason,
    sum(toUInt64OrZero(LogAttributes['{semconv.ELL_LOSS_COUNT}'])) AS lost
FROM (
    SELECT DISTINCT Timestamp, ServiceName, LogAttributes FROM {semconv.TABLE_LOGS}
    WHERE {_SPANS_IN_RANGE} AND LogAttributes['{semconv.EVENT_NAME}'] = '{semconv.EVENT_LOSS}'
)
GROUP BY time, reason ORDER BY time, reason
"""


def _twice(table: str, key: str, time: str) -> str:
    return f"""
SELECT '{table}' AS table, count() AS stored, uniqExact({key}) AS distinct, stored - distinct AS again
FROM {table} WHERE {time} > $__toTime - INTERVAL 1 HOUR AND {time} <= $__toTime"""


# Rows that came more than once and have not been merged yet; every query counts them once. Of an hour only, for telling
# rows apart takes all of their keys into memory.
REPEATED: Final = " UNION ALL ".join(
    (
        _twice(semconv.TABLE_TRACES, "TraceId, SpanId", "Timestamp"),
        _twice(semconv.TABLE_SPANS, "TraceId, SpanId", "Started"),
        _twice(semconv.TABLE_EVALUATIONS, "InvocationId, Name, Timestamp, SpanId", "Timestamp"),
    )
)

TWO_REPORTERS: Final = f"""
SELECT Producer AS producer, RequestModel AS model, count() AS spans
FROM {semconv.TABLE_DUPLICATES} WHERE {IN_RANGE}
GROUP BY producer, model ORDER BY spans DESC
"""

ATTRIBUTION: Final = f"""
SELECT $__timeInterval(Started) AS time, countIf(ProgramName = '') / count() AS unknown
FROM {semconv.TABLE_INFERENCES} WHERE {IN_RANGE}
GROUP BY time ORDER BY time
"""

UNPRICED: Final = f"""
SELECT Model AS model, sum(Inferences) AS calls, sum(ifNull(Input, 0)) AS input, sum(ifNull(Output, 0)) AS output,
    max(LastStarted) AS last_seen
FROM {priced_inferences("ServiceName", IN_RANGE)}
WHERE Cost IS NULL AND (Input > 0 OR Output > 0)
GROUP BY model ORDER BY calls DESC
"""

# Versions that spans carry, but whose source has not come, or not all of it.
SOURCELESS: Final = f"""
SELECT numbered.ProgramName AS program, concat('v', toString(numbered.VersionNumber)) AS label,
    numbered.ProgramVersion AS version, numbered.First AS first_seen
FROM {NUMBERED} AS numbered
LEFT ANTI JOIN (
    SELECT ProgramName, ProgramVersion FROM {semconv.TABLE_PROGRAM_VERSIONS} WHERE Parts > 0
    GROUP BY ProgramName, ProgramVersion, Parts HAVING uniqExact(Part) = Parts
) AS whole ON whole.ProgramName = numbered.ProgramName AND whole.ProgramVersion = numbered.ProgramVersion
ORDER BY first_seen DESC LIMIT 1000
"""

SIZES: Final = """
SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS on_disk, sum(data_uncompressed_bytes) AS raw,
    raw / nullIf(on_disk, 0) AS ratio, on_disk / nullIf(rows, 0) AS bytes_per_row, count() AS parts,
    uniqExact(partition) AS partitions, max(modification_time) AS last_written
FROM system.parts WHERE database = currentDatabase() AND active
GROUP BY table ORDER BY on_disk DESC
"""

# An insert is refused when a partition has 3,000 parts, by ClickHouse's default.
PARTS: Final = """
SELECT table, partition, count() AS parts
FROM system.parts WHERE database = currentDatabase() AND active
GROUP BY table, partition ORDER BY parts DESC LIMIT 20
"""

DISKS: Final = "SELECT name, path, total_space AS total, free_space AS free, 1 - free / total AS used FROM system.disks"
