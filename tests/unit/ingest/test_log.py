"""The server's log: acknowledged means fsync'd, one fsync serves many, and a failed one fails those it concerns."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from ell_otel.errors import OverloadedError, StoreError
from ell_otel.ingest.delivery import pause_s
from ell_otel.ingest.log import Clock, Log
from ell_otel.telemetry import spool
from ell_otel.telemetry.segments import Kind, pending


class CountingOs:
    """``os`` for the writer: counts what was synced, and fails when told to."""

    def __init__(self) -> None:
        self.syncs = 0
        self.failing = False
        self.slow_s = 0.0

    def __getattr__(self, name: str) -> object:
        import os

        return getattr(os, name)

    def fsync(self, fd: int) -> None:
        import os

        time.sleep(self.slow_s)
        if self.failing:
            raise OSError(5, "Input/output error")
        os.fsync(fd)
        self.syncs += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> CountingOs:
    made = CountingOs()
    monkeypatch.setattr(spool, "os", made)
    return made


def log(folder: Path, limit: int = 0) -> Log:
    return Log(folder, limit=limit, segment_bytes=1 << 20)


def frames(folder: Path) -> list[bytes]:
    return [frame.payload for segment in pending(folder) for batch in segment.batches() for frame in batch.frames]


def test_an_append_returns_when_it_is_synced(tmp_path: Path, disk: CountingOs) -> None:
    made = log(tmp_path)
    made.append(Kind.TRACES, b"one")
    assert disk.syncs == 2  # the record, and once the folder
    made.append(Kind.TRACES, b"two")
    assert disk.syncs == 3
    assert frames(tmp_path) == [b"one", b"two"]


def test_one_sync_serves_all_that_came_meanwhile(tmp_path: Path, disk: CountingOs) -> None:
    made = log(tmp_path)
    disk.slow_s = 0.05
    senders = [threading.Thread(target=made.append, args=(Kind.TRACES, b"%d" % number)) for number in range(40)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert len(frames(tmp_path)) == 40
    assert disk.syncs <= 10


def test_a_failed_sync_fails_every_request_it_was_to_serve_and_none_after(tmp_path: Path, disk: CountingOs) -> None:
    made = log(tmp_path)
    made.append(Kind.TRACES, b"before")
    disk.failing, disk.slow_s = True, 0.05
    failed: list[bytes] = []

    def send(payload: bytes) -> None:
        try:
            made.append(Kind.TRACES, payload)
        except StoreError:
            failed.append(payload)

    senders = [threading.Thread(target=send, args=(b"%d" % number,)) for number in range(10)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert len(failed) == 10, "an acknowledgement without a sync is a promise nobody keeps"
    disk.failing, disk.slow_s = False, 0
    made.append(Kind.TRACES, b"after")
    assert {b"before", b"after"} <= set(frames(tmp_path))


def test_a_full_log_is_overload_and_room_helps(tmp_path: Path) -> None:
    made = log(tmp_path, limit=1000)
    for _ in range(3):
        made.append(Kind.TRACES, bytes(250))
    with pytest.raises(OverloadedError):
        made.append(Kind.TRACES, bytes(250))
    for segment in pending(tmp_path):
        segment.remove()
    time.sleep(0.25)
    made.append(Kind.TRACES, b"again")
    assert frames(tmp_path) == [b"again"]


def test_a_closed_log_sends_senders_elsewhere_and_leaves_a_sealed_segment(tmp_path: Path) -> None:
    made = log(tmp_path)
    made.append(Kind.TRACES, b"one")
    made.close()
    assert pending(tmp_path)[0].sealed()
    with pytest.raises(OverloadedError, match="stopping"):
        made.append(Kind.TRACES, b"two")


def test_the_lag_is_the_age_of_the_oldest_that_waits() -> None:
    clock = Clock()
    assert clock.lag_s() == 0
    clock.arrive()
    clock.take()
    time.sleep(0.02)
    second = time.monotonic()
    clock.arrive()
    assert clock.lag_s() >= 0.02
    clock.deliver()
    assert 0 < clock.lag_s() <= time.monotonic() - second
    clock.take()
    clock.deliver()
    assert clock.lag_s() == 0


def test_pauses_double_up_to_a_bound_and_are_not_in_step() -> None:
    assert all(0.25 <= pause_s(1) <= 0.5 for _ in range(50))
    assert all(15 <= pause_s(failures) <= 30 for failures in (7, 50, 10_000))
    assert len({pause_s(3) for _ in range(20)}) > 10
