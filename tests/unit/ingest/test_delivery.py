"""A sink that is away costs its senders nothing: what was acknowledged waits, without a hot loop, and arrives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ell_otel.errors import StoreError
from ell_otel.ingest.counters import Counters
from ell_otel.ingest.delivery import Delivery
from ell_otel.ingest.drain import ENOUGH_BYTES
from ell_otel.ingest.log import Log
from ell_otel.ingest.sink import Taken
from ell_otel.telemetry.segments import Frame, Kind, pending


class Sink:
    """Takes payloads, unless it is away."""

    name = "a sink"

    def __init__(self) -> None:
        self.away = False
        self.reasons = ["connection refused"]
        self.calls = 0
        self.payloads: list[bytes] = []

    def put(self, frames: Sequence[Frame]) -> Taken:
        self.calls += 1
        if self.away:
            raise StoreError(self.reasons[self.calls % len(self.reasons)])
        self.payloads += [frame.payload for frame in frames]
        return Taken(spans=len(frames))


def started(directory: Path, sink: Sink, said: list[str]) -> tuple[Delivery, Log, Counters]:
    counters = Counters()
    delivery = Delivery(directory, ["log"], sink, counters, said.append)
    log = Log(directory / "log", limit=0, segment_bytes=1 << 20, on_append=delivery.wake)
    delivery.start()
    return delivery, log, counters


def test_what_comes_while_the_sink_is_away_arrives_when_it_is_back(tmp_path: Path) -> None:
    sink, said = Sink(), list[str]()
    sink.away = True
    delivery, log, counters = started(tmp_path, sink, said)
    for number in range(200):
        log.append(Kind.TRACES, b"%d" % number)
    time.sleep(0.8)
    assert sink.calls <= 5, "growing pauses, however much comes meanwhile"
    assert len(said) == 1, "told once"
    assert counters.lag_s() > 0.5
    sink.away = False
    until = time.monotonic() + 20
    while len(sink.payloads) < 200 and time.monotonic() < until:
        time.sleep(0.02)
    delivery.stop(5)
    assert sink.payloads == [b"%d" % number for number in range(200)]
    assert counters.value("stored_spans") == 200


def test_what_is_enough_does_not_wait_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ell_otel.ingest.delivery._GATHER_S", 30.0)
    sink = Sink()
    delivery, log, _ = started(tmp_path, sink, [])
    for _ in range(4):
        log.append(Kind.TRACES, b"x" * (ENOUGH_BYTES // 4))
    until = time.monotonic() + 20
    while len(sink.payloads) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    assert len(sink.payloads) == 4
    delivery.stop(5)


def test_a_line_that_fails_now_so_and_now_so_is_told_once_for_each(tmp_path: Path) -> None:
    sink, said = Sink(), list[str]()
    sink.away, sink.reasons = True, ["connection refused", "connection reset"]
    delivery = Delivery(tmp_path, ["log"], sink, Counters(), said.append)
    Log(tmp_path / "log", limit=0, segment_bytes=1 << 20).append(Kind.TRACES, b"waits")
    for _ in range(6):
        assert not delivery.turn()
    assert len(said) == 2


def test_stopping_delivers_what_was_acknowledged_and_leaves_no_segment(tmp_path: Path) -> None:
    sink = Sink()
    delivery, log, counters = started(tmp_path, sink, [])
    for number in range(50):
        log.append(Kind.TRACES, b"%d" % number)
    log.close()
    delivery.stop(10)
    assert len(sink.payloads) == 50
    assert pending(tmp_path / "log") == []
    assert counters.lag_s() == 0


def test_stopping_does_not_wait_for_a_sink_that_is_away(tmp_path: Path) -> None:
    sink = Sink()
    sink.away = True
    delivery, log, _ = started(tmp_path, sink, [])
    log.append(Kind.TRACES, b"waits")
    began = time.monotonic()
    log.close()
    delivery.stop(10)
    assert time.monotonic() - began < 5
    assert sum(segment.backlog() for segment in pending(tmp_path / "log")) > 0
