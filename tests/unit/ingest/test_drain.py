"""The spool is emptied into the store: nothing lost, nothing in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ell_otel.config import resolve
from ell_otel.errors import StoreError
from ell_otel.ingest.drain import ENOUGH_BYTES, Drained, drain
from ell_otel.ingest.sink import StoreSink, Taken
from ell_otel.store import queries
from ell_otel.store.client import Store, open_store
from ell_otel.store.migrate import migrate
from ell_otel.telemetry.segments import Frame, Kind
from ell_otel.telemetry.spool import SegmentWriter

T0 = 1_760_000_000_000_000_000


def spans(first: int, count: int = 1, text: str = "") -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(first, first + count):
        span = scope.spans.add(
            trace_id=number.to_bytes(16), span_id=number.to_bytes(8), start_time_unix_nano=T0 + number
        )
        for key, value in {
            "gen_ai.operation.name": "invoke_workflow",
            "ell.program.name": "a.b",
            "ell.program.version": "c1:" + "1" * 64,
            "ell.invocation.id": f"{number:032x}",
            "ell.invocation.result": text,
        }.items():
            span.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


def event() -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=T0, event_name="x")
    return request.SerializeToString()


def spool(directory: Path, *frames: tuple[Kind, bytes]) -> Path:
    """A finished segment with these frames; returns its path."""
    before = set((directory / "spool").glob("*.seg"))
    writer = SegmentWriter(directory / "spool", segment_bytes=1 << 30)
    for kind, payload in frames:
        writer.append(kind, payload)
    writer.close()
    (made,) = set((directory / "spool").glob("*.seg")) - before
    return made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / ".ell"


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    with open_store(resolve({}, dir=str(directory)), purpose="test") as opened:
        migrate(opened)
        yield opened


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "spool").iterdir())


def test_everything_in_the_spool_lands_in_the_store_and_leaves_the_spool(directory: Path, store: Store) -> None:
    spool(directory, (Kind.TRACES, spans(1, 2)), (Kind.LOGS, event()))
    spool(directory, (Kind.TRACES, spans(3)))
    told: list[tuple[int, int]] = []
    drained = drain(directory, StoreSink(store), progress=lambda done, total: told.append((done, total)))
    assert drained == Drained(spans=3, records=1, damaged=0, quarantined=())
    assert str(drained) == "took 3 spans and 1 log records from the spool"
    assert left(directory) == []
    assert told
    assert told[-1][0] == told[-1][1] > 0
    assert queries.counts(store).invocations == 3
    assert drain(directory, StoreSink(store)).spans == 0


def test_a_missing_or_empty_spool_is_no_trouble(directory: Path, store: Store) -> None:
    assert drain(directory, StoreSink(store)).spans == 0
    (directory / "spool").mkdir()
    (directory / "spool" / "0-0-0.seg").touch()
    assert drain(directory, StoreSink(store)).spans == 0
    assert left(directory) == []


def test_a_segment_that_is_still_written_is_taken_as_far_as_it_goes(directory: Path, store: Store) -> None:
    writer = SegmentWriter(directory / "spool", segment_bytes=1 << 30)
    for number in range(1, 4):
        writer.append(Kind.TRACES, spans(number))
        assert drain(directory, StoreSink(store)).spans == 1
    writer.close()
    assert drain(directory, StoreSink(store)).spans == 0
    assert left(directory) == []
    assert queries.counts(store).spans == 3


def backlog(directory: Path) -> Path:
    """400 spans in 40 MB: more than one insert takes."""
    return spool(directory, *((Kind.TRACES, spans(first, 10, "ab" * 50_000)) for first in range(1, 401, 10)))


def test_more_than_fits_one_read_and_one_insert_is_taken_in_steps(directory: Path, store: Store) -> None:
    backlog(directory)
    steps: list[int] = []
    assert drain(directory, StoreSink(store), progress=lambda done, _total: steps.append(done)).spans == 400
    assert len(steps) > 1
    assert steps == sorted(steps)
    assert queries.counts(store).invocations == 400
    assert left(directory) == []


def test_a_frame_that_is_no_otlp_is_put_aside_and_does_not_hold_up_the_rest(directory: Path, store: Store) -> None:
    spool(directory, (Kind.TRACES, spans(1)), (Kind.LOGS, b"\xff no otlp"), (Kind.TRACES, spans(2)))
    drained = drain(directory, StoreSink(store))
    (aside,) = drained.quarantined
    assert (drained.spans, aside.read_bytes(), aside.parent) == (2, b"\xff no otlp", directory / "quarantine")
    assert f"put 1 that cannot be stored aside in {aside.parent}" in str(drained)
    assert left(directory) == []


def test_damage_is_skipped_and_counted(directory: Path, store: Store) -> None:
    path = spool(directory, (Kind.TRACES, spans(1)), (Kind.TRACES, spans(2)), (Kind.TRACES, spans(3)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content) + b"torn")
    drained = drain(directory, StoreSink(store))
    assert (drained.spans, drained.damaged) == (2, 2)
    assert "skipped 2 damaged stretches" in str(drained)
    assert left(directory) == []


def test_a_failed_insert_leaves_the_spool_as_it_was(directory: Path, store: Store) -> None:
    path = spool(directory, (Kind.TRACES, spans(1)))
    store.command("RENAME TABLE otel_traces TO elsewhere")
    with pytest.raises(StoreError):
        drain(directory, StoreSink(store))
    assert path.exists()
    store.command("RENAME TABLE elsewhere TO otel_traces")
    assert drain(directory, StoreSink(store)).spans == 1


class Takes:
    """Takes frames, but not those with one of the refused payloads, and none before ``together`` deliveries have come."""

    name = "a sink"

    def __init__(self, *refused: bytes, together: int = 1) -> None:
        self.refused = set(refused)
        self.come = threading.Barrier(together)
        self.taken: list[bytes] = []

    def put(self, frames: Sequence[Frame]) -> Taken:
        if frames:
            self.come.wait(20)
        if self.refused & {frame.payload[:1] for frame in frames}:
            raise StoreError("away")
        self.taken += [frame.payload[:1] for frame in frames]
        return Taken(spans=len(frames))


EIGHTH = (4 << 20) - 36  # the payload of a frame that is the eighth part of a delivery


def two_deliveries(directory: Path) -> Path:
    """Frames of 4 MiB, of which eight are a delivery: eight that begin with an ``a``, and eight with a ``b``."""
    return spool(directory, *((Kind.TRACES, mark * EIGHTH) for mark in (b"a", b"b") for _ in range(8)))


def test_of_a_backlog_two_deliveries_are_under_way_at_once(directory: Path) -> None:
    two_deliveries(directory)
    sink = Takes(together=2)
    assert drain(directory, sink).spans == 16
    assert sorted(sink.taken) == [b"a"] * 8 + [b"b"] * 8
    assert left(directory) == []


class Slow(Takes):
    """Takes those that begin with ``slow`` only once others, that begin with ``others``, have come."""

    def __init__(self, slow: bytes, others: bytes) -> None:
        super().__init__()
        self.slow, self.others = slow, others
        self.others_have_come = threading.Event()

    def put(self, frames: Sequence[Frame]) -> Taken:
        marks = {frame.payload[:1] for frame in frames}
        if self.others in marks:
            self.others_have_come.set()
        assert self.slow not in marks or self.others_have_come.wait(20)
        return super().put(frames)


@pytest.mark.parametrize("slow", [b"a", b"b"])
def test_a_delivery_that_takes_long_does_not_hold_up_those_behind_it(directory: Path, slow: bytes) -> None:
    spool(directory, *((Kind.TRACES, mark * EIGHTH) for mark in (b"a", b"b", b"c") for _ in range(8)))
    assert drain(directory, Slow(slow, others=b"c")).spans == 24
    assert left(directory) == []


def test_what_comes_during_a_delivery_is_delivered_beside_it_when_it_is_enough(directory: Path) -> None:
    class Sends(Slow):
        """While the first is under way, enough comes, and then a little, time and again."""

        def put(self, frames: Sequence[Frame]) -> Taken:
            if frames[0].payload[:1] == b"a":
                spool(directory, (Kind.TRACES, b"b" * 2 * ENOUGH_BYTES))
                for _ in range(40):
                    spool(directory, (Kind.TRACES, b"c"))
                    if self.others_have_come.wait(0.05):
                        break
            return super().put(frames)

    spool(directory, (Kind.TRACES, b"a" * ENOUGH_BYTES))
    sink = Sends(b"a", others=b"b")
    drain(directory, sink)
    assert sink.taken.count(b"c") < 40


@pytest.mark.parametrize("times", [1, 3])
def test_what_is_not_twice_as_much_as_the_delivery_under_way_is_gathered_with_more(
    directory: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(f"{drain.__module__}._LOOK_S", 0.5)  # so that a slow disk is not taken for a pause

    class Sends(Takes):
        """While the first is under way, what would be enough by itself comes, and a little for more than two looks."""

        def put(self, frames: Sequence[Frame]) -> Taken:
            if frames[0].payload[:1] == b"a":
                spool(directory, (Kind.TRACES, b"b" * (2 * times - 1) * ENOUGH_BYTES))
                for _ in range(24):
                    spool(directory, (Kind.TRACES, b"c"))
                    time.sleep(0.05)
            return super().put(frames)

    spool(directory, (Kind.TRACES, b"a" * times * ENOUGH_BYTES))
    sink = Sends()
    drain(directory, sink)
    assert sink.taken == [b"a", b"b"] + [b"c"] * 24


def test_where_no_thread_can_be_had_they_are_delivered_one_after_the_other(directory: Path) -> None:
    two_deliveries(directory)
    sink = Takes()
    before = threading.stack_size(1 << 46)  # more than there is
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=print).start()
        assert drain(directory, sink).spans == 16
    finally:
        threading.stack_size(before)
    assert sink.taken == [b"a"] * 8 + [b"b"] * 8
    assert left(directory) == []


@pytest.mark.parametrize("refused", [b"a", b"b"])
def test_of_two_deliveries_the_second_counts_only_behind_the_first(directory: Path, refused: bytes) -> None:
    path = two_deliveries(directory)
    with pytest.raises(StoreError):
        drain(directory, Takes(refused, together=2))
    again = Takes()
    drain(directory, again)
    assert again.taken == ([b"a"] * 8 if refused == b"a" else []) + [b"b"] * 8
    assert not path.exists()


@pytest.mark.parametrize("size", [1, 100_000], ids=["decoded here", "decoded by the engine"])
def test_what_comes_twice_in_one_delivery_counts_once(directory: Path, store: Store, size: int) -> None:
    payload = spans(1, 50, "x" * size)
    spool(directory, (Kind.TRACES, payload), (Kind.TRACES, payload), (Kind.LOGS, event()), (Kind.LOGS, event()))
    drain(directory, StoreSink(store))
    assert queries.counts(store).invocations == 50
    assert len(queries.invocations(store, limit=1000)) == 50
    store.command("OPTIMIZE TABLE otel_traces FINAL")
    assert queries.counts(store).spans == 50


KILLED = """
import os, signal, sys
from pathlib import Path
from ell_otel.config import resolve
from ell_otel.ingest.drain import drain
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write
def write_and_die(store, rows):
    write(store, rows)
    os.kill(os.getpid(), signal.SIGKILL)
directory = Path(sys.argv[1])
store = open_store(resolve({}, dir=str(directory)), purpose="to be killed")
migrate(store)
drain(directory, StoreSink(store, write_and_die))
"""


@pytest.mark.parametrize("size", [1, 100_000], ids=["decoded here", "decoded by the engine"])
def test_kill_9_between_insert_and_acknowledge_loses_and_doubles_nothing(directory: Path, size: int) -> None:
    spool(directory, (Kind.TRACES, spans(1, 50, "x" * size)), (Kind.LOGS, event()))
    before = left(directory)
    died = subprocess.run([sys.executable, "-c", KILLED, str(directory)], capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert left(directory) == before
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        assert queries.counts(store).invocations == 50
        assert drain(directory, StoreSink(store)).spans == 50
        found = queries.counts(store)
        assert (found.invocations, found.spans) == (50, 100)
        assert len(queries.invocations(store, limit=1000)) == 50
    assert left(directory) == []
    assert os.path.isdir(directory)
