"""When merging waits, and that it always goes on again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from store_rows import inference, rows_of

from ell_otel.errors import StoreError
from ell_otel.store.client import Store
from ell_otel.store.merging import Merging
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write

TABLES = ("otel_traces", "ell_spans")


@pytest.fixture
def store(opened: Callable[..., Store]) -> Store:
    store = opened()
    migrate(store)
    return store


def waits(store: Store) -> bool:
    """Whether two new parts of both tables cannot be merged now."""
    for number in range(2):
        write(store, rows_of(inference(number, "a.b", "0" * 64, "gpt-4o", {})))
    refused = 0
    for table in TABLES:
        try:
            store.command(f"OPTIMIZE TABLE {table} FINAL SETTINGS optimize_throw_if_noop = 1")
        except StoreError as error:
            if "ABORTED" not in str(error):
                raise
            refused += 1
    assert refused in {0, len(TABLES)}
    return refused > 0


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return met


def test_merging_waits_for_inserts_beside_one_another_and_then_goes_on_by_itself(store: Store) -> None:
    merging = Merging()
    with merging.insert(store):
        assert not waits(store)  # one by itself
        with merging.insert(store):
            assert waits(store)
        assert waits(store)
    with merging.insert(store):
        assert waits(store)  # which came soon after the others
    assert until(lambda: not waits(store))


def test_it_goes_on_after_so_many_inserts_though_there_are_always_some(store: Store) -> None:
    merging = Merging()
    with merging.insert(store), merging.insert(store):
        for _ in range(31):
            with merging.insert(store):
                pass
        assert waits(store)
        for _ in range(40):
            with merging.insert(store):
                pass
        assert not waits(store)
    time.sleep(1.5)  # another burst
    with merging.insert(store), merging.insert(store):
        assert waits(store)
    assert until(lambda: not waits(store))


def test_what_is_being_merged_is_not_thrown_away(store: Store) -> None:
    merging = Merging()
    slow = (
        "ALTER TABLE otel_traces UPDATE StatusMessage = toString(sleepEachRow(0.2)) WHERE 1 SETTINGS mutations_sync = 1"
    )
    write(store, rows_of(*(inference(number, "a.b", "0" * 64, "gpt-4o", {}) for number in range(6))))
    store.command("OPTIMIZE TABLE otel_traces FINAL")
    changing = threading.Thread(target=store.command, args=(slow,))
    changing.start()
    assert until(lambda: store.query("SELECT count() AS n FROM system.merges") == [{"n": 1}])
    with merging.insert(store), merging.insert(store):
        assert store.query("SELECT count() AS n FROM system.merges") == [{"n": 1}]
        changing.join(30)
        assert store.query("SELECT DISTINCT StatusMessage AS m FROM otel_traces") == [{"m": "0"}]
        assert not waits(store)
        with merging.insert(store):  # now there is none, and the next is beside another
            assert waits(store)
    assert until(lambda: not waits(store))


def test_it_goes_on_at_once_where_no_thread_can_be_had(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", start)
    merging = Merging()
    with merging.insert(store), merging.insert(store):
        assert waits(store)
    assert not waits(store)


def test_it_is_told_again_to_go_on_when_that_failed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def command(sql: str) -> None:
        if sql not in told:
            told.append(sql)
            raise StoreError("it has run out of memory")
        Store.command(store, sql)
        told.append(sql)

    merging = Merging()
    with merging.insert(store), merging.insert(store):
        monkeypatch.setattr(store, "command", command)
    assert until(lambda: len(told) == 5)  # refused for each table once; nothing else comes
    monkeypatch.undo()
    assert not waits(store)


def test_a_store_that_is_closed_meanwhile_is_let_be(store: Store, opened: Callable[..., Store]) -> None:
    merging = Merging()
    with merging.insert(store), merging.insert(store):
        pass
    store.close()
    time.sleep(1.5)  # a thread that fails would fail this test
    store = opened()
    with merging.insert(store):
        assert not waits(store)
    time.sleep(1.5)
    with merging.insert(store), merging.insert(store):
        assert waits(store)
