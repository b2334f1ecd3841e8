"""Filling the tables that materialized views write, with what their sources held before the views were there.

A view sees only what is inserted after it was made. Where its source already holds rows (tables made by the Collector's
exporter, or a view that somebody dropped for a while), they are put through the view's own SELECT here.

A span of time goes at once, and only rows that the target lacks are written. So this can be repeated at no cost but
reading, and after a kill anywhere the next run writes the rest. Nothing is taken out of a target: it may be kept for
longer than its source. A row that arrives meanwhile may be lifted twice, which collapses like any other duplicate.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package and from numbers

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from ell_otel import semconv
from ell_otel.store.client import Store

_VIEW: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS \w+ TO (?P<target>\w+) AS\s+(?P<select>.+?\sFROM (?P<source>\w+)\b.*)",
    re.DOTALL,
)

# By what a row of a target is known, its time first. Sources of programs are not here: what came again may have been
# seen earlier than what is there, and the table merges the two.
_KEYS: Final = {
    semconv.TABLE_SPANS: ("Started", "SpanId"),
    semconv.TABLE_EVALUATIONS: ("Timestamp", "ProgramName", "ProgramVersion", "InvocationId", "Name", "SpanId"),
    semconv.TABLE_LABELS: ("Timestamp", "ProgramName", "Label"),
}

# Sets of so many keys fit a laptop's memory, and a statement over so many rows ends before a client loses patience.
ROWS_AT_ONCE: Final = 1_000_000

Report = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """A report to nobody."""


@dataclass(frozen=True, slots=True)
class Lifting:
    """What a materialized view does: which SELECT, over which source, goes into which table."""

    target: str
    select: str
    source: str


def lifting(statement: str) -> Lifting | None:
    """What a statement of a migration lifts, if it makes a materialized view."""
    view = _VIEW.match(statement)
    return Lifting(**view.groupdict()) if view else None


def lift(store: Store, view: Lifting, report: Report = silent, *, at_once: int = ROWS_AT_ONCE) -> int:
    """Write what the view's target lacks of what its source says; returns how many rows the source has.

    ``report`` is told how many of them are done, and of how many. Raises ``StoreError``; then call it again."""
    slices = list(_slices(store, view.source, at_once))
    total, done = sum(rows for _, _, rows in slices), 0
    names = [str(row["name"]) for row in store.query(f"DESCRIBE TABLE ({view.select})")] if slices else []
    for first, last, rows in slices:
        store.command(_insert(view, names, first, last))
        done += rows
        report(done, total)
    return total


def _insert(view: Lifting, names: list[str], first: int, last: int) -> str:
    between = f"BETWEEN fromUnixTimestamp64Nano({first}) AND fromUnixTimestamp64Nano({last})"
    some = f"FROM (SELECT * FROM {view.source} WHERE Timestamp {between})"
    select = re.sub(rf"\bFROM {view.source}\b", some, view.select, count=1)
    if keys := _KEYS.get(view.target):
        known = f"SELECT {', '.join(keys)} FROM {view.target} WHERE {keys[0]} {between}"
        # GLOBAL is for a cluster, where each shard is told what all of them have. One server takes no notice.
        select = f"SELECT * FROM ({select}) WHERE ({', '.join(keys)}) GLOBAL NOT IN ({known})"
    settings = "max_partitions_per_insert_block = 0, insert_distributed_sync = 1"
    return f"INSERT INTO {view.target} ({', '.join(names)}) SETTINGS {settings} {select}"


def _slices(store: Store, source: str, at_once: int) -> Iterator[tuple[int, int, int]]:
    """Spans of time, oldest first: their first and last row in ns, and how many rows. At least an hour each."""
    first = last = rows = 0
    for hour in store.query(
        f"SELECT toUnixTimestamp64Nano(min(Timestamp)) AS first, toUnixTimestamp64Nano(max(Timestamp)) AS last, "
        f"count() AS rows FROM {source} GROUP BY toStartOfHour(Timestamp) ORDER BY first"
    ):
        if rows and rows + cast("int", hour["rows"]) > at_once:
            yield first, last, rows
            rows = 0
        first = first if rows else cast("int", hour["first"])
        last, rows = cast("int", hour["last"]), rows + cast("int", hour["rows"])
    if rows:
        yield first, last, rows
