"""Tables made from spans and logs, filled from what is already there: all of it, once, whatever came between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from store_rows import T0, evaluation, hash_of, inference, invocation, program_event, record, rows_of

from ell_otel.config import resolve
from ell_otel.store import queries
from ell_otel.store.client import Store
from ell_otel.store.lifting import lift, lifting
from ell_otel.store.migrate import Rebuilt, _scripts, migrate, rebuild, statements
from ell_otel.store.writer import Rows, write

Open = Callable[..., Store]
HOUR = 3_600_000_000_000
HOURS = 5
TARGETS = ("ell_spans", "ell_program_sources", "ell_evaluations", "ell_labels")
VIEWS = [view for script in _scripts() for each in statements(script.text) if (view := lifting(each))]


def _everything() -> Rows:
    """Two spans and a score in each of five hours, five hours apart; the program's text in the last; and a label."""
    version = hash_of("1")
    parts = []
    for n in range(1, HOURS + 1):
        at = T0 + n * 5 * HOUR
        parts += [
            invocation(n, "a.b", version, Timestamp=at),
            inference(n, "a.b", version, "gpt-4o-mini", {"input_tokens": 10}, Timestamp=at + 1),
            evaluation(n, "a.b", version, "1", Timestamp=at + 2),
        ]
    event = {"event.name": "ell.label", "ell.program.name": "a.b", "ell.label.name": "production"}
    put = record({**event, "ell.program.version": version}, Timestamp=T0)
    return rows_of(*parts, program_event("a.b", version, Timestamp=T0 + HOURS * 5 * HOUR), put)


def _stored(store: Store) -> dict[str, list[dict[str, object]]]:
    """Every row of the tables, copies that have not merged included; of merged sources, what they say."""
    return {
        table: store.query(f"SELECT * FROM {table} {'FINAL' if table == 'ell_program_sources' else ''} ORDER BY ALL")
        for table in TARGETS
    }


@pytest.fixture
def whole(opened: Open) -> tuple[Store, dict[str, list[dict[str, object]]]]:
    """A store whose views saw everything, and what they made of it."""
    store = opened()
    migrate(store)
    write(store, _everything())
    stored = _stored(store)
    assert {table: len(rows) for table, rows in stored.items()} == dict(zip(TARGETS, (10, 1, 5, 1), strict=True))
    return store, stored


def _empty(store: Store) -> None:
    for table in TARGETS:
        store.command(f"TRUNCATE TABLE {table}")


def test_what_came_before_the_views_is_in_the_tables_afterwards_and_twice_is_once(
    whole: tuple[Store, dict[str, list[dict[str, object]]]],
) -> None:
    store, expected = whole
    for table in TARGETS:
        store.command(f"DROP TABLE {table}_mv")
    _empty(store)
    write(store, rows_of(invocation(9, "a.b", hash_of("2"))))
    assert queries.counts(store).invocations == 0
    told: list[tuple[str, int, int]] = []
    done = rebuild(store, reporting=lambda table: nullcontext(lambda rows, total: told.append((table, rows, total))))
    assert [each.added for each in done] == [11, 1, 5, 1]
    assert told == [(each.table, each.read, each.read) for each in done]
    assert queries.counts(store).invocations == HOURS + 1
    stored = _stored(store)
    assert stored | {"ell_spans": expected["ell_spans"]} == expected
    assert rebuild(store)[0] == Rebuilt("ell_spans", "otel_traces", 11, 11, 0)
    assert _stored(store) == stored
    write(store, rows_of(invocation(10, "a.b", hash_of("2"))))  # the views are there again
    assert queries.counts(store).invocations == HOURS + 2


def test_a_version_seen_again_is_as_old_as_its_first_event(
    whole: tuple[Store, dict[str, list[dict[str, object]]]],
) -> None:
    store, expected = whole
    _empty(store)
    write(store, rows_of(program_event("a.b", hash_of("1"), Timestamp=T0 + 900 * HOUR)))  # after the fault
    rebuild(store)
    (row,) = _stored(store)["ell_program_sources"]
    (first,) = expected["ell_program_sources"]
    assert row["FirstSeen"] == first["FirstSeen"]
    assert row["LastSeen"] != first["LastSeen"]


def test_a_run_stopped_before_any_statement_is_completed_by_the_next(
    whole: tuple[Store, dict[str, list[dict[str, object]]]],
) -> None:
    class Killed(Exception):
        pass

    store, expected = whole
    _empty(store)
    command, done = store.command, set()

    def stopping(statement: str, *given: object) -> None:
        if statement.startswith("INSERT") and statement not in done:
            done.add(statement)
            raise Killed
        command(statement, *given)  # type: ignore[arg-type]

    store.command = stopping  # type: ignore[method-assign]
    for view in VIEWS:
        while True:
            try:
                lift(store, view, at_once=1)
                break
            except Killed:
                continue
    assert len(done) == HOURS + 3 * (HOURS + 1)  # an hour is the least that goes at once
    assert _stored(store) == expected


def test_a_statement_that_was_cut_off_has_the_rest_written(
    whole: tuple[Store, dict[str, list[dict[str, object]]]],
) -> None:
    store, expected = whole
    for table, half in (("ell_spans", "SpanId"), ("ell_evaluations", "InvocationId")):
        store.command(f"ALTER TABLE {table} DELETE WHERE cityHash64({half}) % 2 = 0 SETTINGS mutations_sync = 1")
    assert 0 < len(_stored(store)["ell_spans"]) < 10
    rebuild(store)
    assert _stored(store) == expected


def test_rows_that_outlived_their_source_stay(whole: tuple[Store, dict[str, list[dict[str, object]]]]) -> None:
    store, expected = whole
    for table in ("otel_traces", "otel_logs"):
        store.command(f"TRUNCATE TABLE {table}")
    assert [each.added for each in rebuild(store, resolve({}))] == [0, 0, 0, 0]
    assert _stored(store) == expected
