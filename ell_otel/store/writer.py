"""Rows on their way into ``otel_traces`` and ``otel_logs``: the columns, in the order of the Collector's exporter.

Everything else of ours (``ell_*``) is made from these two by materialized views while the insert runs, so this is the
one write path. Rows may come twice, since a sender that was not answered sends again: they collapse at merge and
count once in every query. Insert-deduplication tokens are never used (a kill at the wrong moment followed by a correct
retry would lose the batch).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ell_otel import semconv
from ell_otel.errors import StoreError
from ell_otel.store.client import Store

_MAP: Final = "Map(LowCardinality(String), String)"

TRACE_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("Timestamp", "DateTime64(9)"),
    ("TraceId", "String"),
    ("SpanId", "String"),
    ("ParentSpanId", "String"),
    ("TraceState", "String"),
    ("SpanName", "LowCardinality(String)"),
    ("SpanKind", "LowCardinality(String)"),
    ("ServiceName", "LowCardinality(String)"),
    ("ResourceAttributes", _MAP),
    ("ScopeName", "String"),
    ("ScopeVersion", "String"),
    ("SpanAttributes", _MAP),
    ("Duration", "UInt64"),
    ("StatusCode", "LowCardinality(String)"),
    ("StatusMessage", "String"),
    ("Events.Timestamp", "Array(DateTime64(9))"),
    ("Events.Name", "Array(LowCardinality(String))"),
    ("Events.Attributes", f"Array({_MAP})"),
    ("Links.TraceId", "Array(String)"),
    ("Links.SpanId", "Array(String)"),
    ("Links.TraceState", "Array(String)"),
    ("Links.Attributes", f"Array({_MAP})"),
)

LOG_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("Timestamp", "DateTime64(9)"),
    ("TraceId", "String"),
    ("SpanId", "String"),
    ("TraceFlags", "UInt8"),
    ("SeverityText", "LowCardinality(String)"),
    ("SeverityNumber", "UInt8"),
    ("ServiceName", "LowCardinality(String)"),
    ("Body", "String"),
    ("ResourceSchemaUrl", "LowCardinality(String)"),
    ("ResourceAttributes", _MAP),
    ("ScopeSchemaUrl", "LowCardinality(String)"),
    ("ScopeName", "String"),
    ("ScopeVersion", "LowCardinality(String)"),
    ("ScopeAttributes", _MAP),
    ("LogAttributes", _MAP),
    ("EventName", "String"),
)

# A batch may span any number of days; the engine's default is to refuse one that touches more than 100 partitions. Rows
# that came twice collapse at merge, and every query bears them till then: to look for them in what is inserted the
# engine would copy all of it once more, which takes a quarter of an insert.
INSERT_SETTINGS: Final = {"max_partitions_per_insert_block": 0, "optimize_on_insert": 0}


def _columns(count: int) -> list[list[object]]:
    return [[] for _ in range(count)]


@dataclass(slots=True)
class Rows:
    """Rows for the two tables, column by column, in the order of ``TRACE_COLUMNS`` and ``LOG_COLUMNS``.

    Times and durations are whole nanoseconds (since the epoch); attributes are dicts of text to text.
    """

    traces: list[list[object]] = field(default_factory=lambda: _columns(len(TRACE_COLUMNS)))
    logs: list[list[object]] = field(default_factory=lambda: _columns(len(LOG_COLUMNS)))

    @property
    def spans(self) -> int:
        """How many rows for ``otel_traces``."""
        return len(self.traces[0])

    @property
    def records(self) -> int:
        """How many rows for ``otel_logs``."""
        return len(self.logs[0])

    def extend(self, other: Rows) -> None:
        """Append the other's rows to these."""
        for mine, theirs in zip(self.traces, other.traces, strict=True):
            mine.extend(theirs)
        for mine, theirs in zip(self.logs, other.logs, strict=True):
            mine.extend(theirs)

    def halves(self) -> tuple[Rows, Rows] | None:
        """These rows as two parts; None when there is but one row."""
        if self.spans + self.records < 2:
            return None
        if self.spans and self.records:
            return Rows(traces=self.traces), Rows(logs=self.logs)
        middle = (self.spans or self.records) // 2
        parts = (slice(None, middle), slice(middle, None))
        first, second = (
            Rows([column[part] for column in self.traces], [column[part] for column in self.logs]) for part in parts
        )
        return first, second


def write(store: Store, rows: Rows) -> None:
    """Insert the rows. They are durable when this returns: with chDB the parts, and those of the views, are fsync'd.

    Raises ``StoreError`` when not all of them could be; then write them again, duplicates are harmless.
    """
    if rows.spans:
        _insert(store, semconv.TABLE_TRACES, TRACE_COLUMNS, rows.traces)
    if rows.records:
        _insert(store, semconv.TABLE_LOGS, LOG_COLUMNS, rows.logs)


def _insert(store: Store, table: str, columns: tuple[tuple[str, str], ...], data: list[list[object]]) -> None:
    present = store.columns(table)
    if not present:
        raise StoreError(f"the store {store.name} has no table {table}: make it with `ell-otel migrate`")
    # An exporter of another age may have made the table: EventName is younger than the rest.
    kept = [index for index, (name, _) in enumerate(columns) if name in present or name != "EventName"]
    store.insert(
        table,
        [columns[index][0] for index in kept],
        [columns[index][1] for index in kept],
        [data[index] for index in kept],
        INSERT_SETTINGS,
    )
