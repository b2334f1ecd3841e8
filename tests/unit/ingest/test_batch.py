"""The batcher: acknowledged means written, and one request's trouble is its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ell_otel.errors import DecodeError, OverloadedError, StoreError, StoreLockedError
from ell_otel.ingest.batch import Batcher
from ell_otel.ingest.counters import Counters
from ell_otel.store.writer import LOG_COLUMNS, Rows


def request(*bodies: str) -> Rows:
    """Rows that only a body tells apart."""
    rows = Rows()
    for body in bodies:
        for column, (name, _) in zip(rows.logs, LOG_COLUMNS, strict=True):
            column.append(body if name == "Body" else "")
    return rows


BODY = [name for name, _ in LOG_COLUMNS].index("Body")


class Sink:
    """Keeps what it is given; a batch that holds ``refused`` is refused whole, as an insert is."""

    def __init__(self, refused: str = "", error: Exception | None = None) -> None:
        self.batches: list[list[object]] = []
        self.attempts = 0
        self.open = threading.Event()
        self.open.set()
        self._refused = refused
        self._error = error or StoreError("cannot parse this row")

    def __call__(self, rows: Rows) -> None:
        self.open.wait(10)
        self.attempts += 1
        if self._refused and self._refused in rows.logs[BODY]:
            raise self._error
        self.batches.append(list(rows.logs[BODY]))

    @property
    def stored(self) -> list[object]:
        return sorted(str(body) for batch in self.batches for body in batch)


@contextmanager
def batcher(sink: Callable[[Rows], None], **limits: float) -> Iterator[Batcher]:
    made = Batcher(sink, Counters(), **limits)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close(5)


def test_requests_that_come_together_are_written_together() -> None:
    sink = Sink()
    with batcher(sink, gather_s=0.2) as batch:
        futures = [batch.submit(request(f"{n}")) for n in range(20)]
        for future in futures:
            future.result(5)
    assert len(sink.batches) == 1
    assert len(sink.stored) == 20


def test_a_future_is_not_done_before_the_write_is() -> None:
    sink = Sink()
    sink.open.clear()
    with batcher(sink) as batch:
        future = batch.submit(request("a"))
        time.sleep(0.1)
        assert not future.done()
        sink.open.set()
        future.result(5)
    assert sink.stored == ["a"]


def test_enough_rows_are_written_without_waiting_for_the_clock() -> None:
    sink = Sink()
    with batcher(sink, gather_s=30, batch_rows=3) as batch:
        for future in [batch.submit(request(f"{n}")) for n in range(3)]:
            future.result(5)
        assert sorted(sink.stored) == ["0", "1", "2"]  # before the batcher is closed, which would write them too


def test_enough_bytes_are_written_without_waiting_for_the_clock() -> None:
    sink = Sink()
    with batcher(sink, gather_s=30, batch_bytes=100) as batch:
        batch.submit(request("a"), 100).result(5)
        assert sink.stored == ["a"]


def test_a_bad_row_fails_its_own_request_and_no_other() -> None:
    sink = Sink(refused="bad")
    with batcher(sink, gather_s=0.2) as batch:
        good = [batch.submit(request(f"{n}")) for n in range(9)]
        bad = batch.submit(request("fine", "bad"))
        for future in good:
            future.result(5)
        with pytest.raises(DecodeError, match="cannot parse this row"):
            bad.result(5)
    assert sink.stored == [f"{n}" for n in range(9)]
    assert sink.attempts <= 2 * 4 + 1, "bisected, not tried one by one"


def test_an_error_that_is_not_ours_fails_the_request_and_not_the_batcher() -> None:
    sink = Sink(refused="bad", error=ZeroDivisionError("oops"))
    with batcher(sink) as batch:
        with pytest.raises(StoreError, match="oops"):
            batch.submit(request("bad")).result(5)
        batch.submit(request("good")).result(5)


def test_a_store_that_is_away_is_tried_once_and_every_request_hears_of_it() -> None:
    sink = Sink(refused="a", error=StoreLockedError("held"))
    with batcher(sink, gather_s=0.2) as batch:
        futures = [batch.submit(request("a")) for _ in range(8)]
        for future in futures:
            with pytest.raises(StoreLockedError):
                future.result(5)
    assert sink.attempts == 1


def test_a_store_that_refuses_everything_is_not_called_the_senders_fault() -> None:
    sink = Sink(refused="a", error=StoreError("the disk is full"))
    with batcher(sink, gather_s=0.2) as batch:
        futures = [batch.submit(request("a")) for _ in range(4)]
        for future in futures:
            with pytest.raises(StoreError, match="disk is full"):
                future.result(5)


def test_what_waits_is_bounded_in_bytes_and_the_bound_is_given_back() -> None:
    sink = Sink()
    sink.open.clear()
    with batcher(sink, gather_s=0, queue_bytes=100) as batch:
        first = batch.submit(request("a"), 80)
        with pytest.raises(OverloadedError):
            batch.submit(request("b"), 80)
        sink.open.set()
        first.result(5)
        deadline = time.monotonic() + 5
        while batch.lag_s() and time.monotonic() < deadline:
            time.sleep(0.005)
        batch.submit(request("c"), 80).result(5)
    assert sink.stored == ["a", "c"]


def test_a_single_request_larger_than_the_bound_still_passes() -> None:
    sink = Sink()
    with batcher(sink, queue_bytes=10) as batch:
        batch.submit(request("a"), 1000).result(5)
        assert sink.stored == ["a"]


def test_closing_writes_what_was_accepted_and_accepts_no_more() -> None:
    sink = Sink()
    batch = Batcher(sink, Counters(), gather_s=30)
    futures = [batch.submit(request(f"{n}")) for n in range(5)]
    batch.close(5)
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(OverloadedError):
        batch.submit(request("late"))
    assert len(sink.stored) == 5


def test_closing_gives_up_on_a_store_that_hangs_and_tells_those_who_wait() -> None:
    sink = Sink()
    sink.open.clear()
    batch = Batcher(sink, Counters(), gather_s=0, batch_rows=1)
    batch.submit(request("writing"))
    time.sleep(0.05)
    waiting = batch.submit(request("waiting"))
    batch.close(0.2)
    with pytest.raises(OverloadedError):
        waiting.result(1)
    sink.open.set()


def test_many_senders_at_once_lose_nothing_and_repeat_nothing() -> None:
    sink = Sink()

    def send(who: int) -> None:
        for n in range(50):
            batch.submit(request(f"{who}.{n}"), 10).result(10)

    with batcher(sink, gather_s=0.002, batch_rows=7) as batch:
        senders = [threading.Thread(target=send, args=(who,)) for who in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(20)
    assert sink.stored == sorted(f"{who}.{n}" for who in range(8) for n in range(50))


def test_the_lag_is_the_age_of_the_oldest_request_and_nothing_when_idle() -> None:
    sink = Sink()
    sink.open.clear()
    with batcher(sink, gather_s=0) as batch:
        assert batch.lag_s() == 0.0
        future = batch.submit(request("a"))
        time.sleep(0.05)
        assert batch.lag_s() >= 0.05
        sink.open.set()
        future.result(5)
