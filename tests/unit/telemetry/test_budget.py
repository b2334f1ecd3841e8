"""A spool folder stays within its budget, and what gave way is counted exactly and said in the data."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ell_otel import config
from ell_otel.errors import ExportError
from ell_otel.telemetry import budget, providers
from ell_otel.telemetry.budget import Budget
from ell_otel.telemetry.segments import Kind, pending, taking
from ell_otel.telemetry.spool import SegmentWriter
from ell_otel.testing import recorded

LIMIT = 40_000
PAYLOAD = bytes(1000)


def fill(spool: Path, policy: str, count: int = 100) -> tuple[SegmentWriter, int, list[int]]:
    """Append ``count`` records; the writer, how many were refused, and the numbers that were reported as dropped."""
    dropped: list[int] = []
    limit = Budget(LIMIT, policy, lambda lost, _: dropped.append(lost))
    writer = SegmentWriter(spool, segment_bytes=1 << 20, budget=limit)
    refused = 0
    for _ in range(count):
        try:
            writer.append(Kind.TRACES, PAYLOAD)
        except ExportError:
            refused += 1
    return writer, refused, dropped


def kept(spool: Path) -> int:
    return sum(len(batch.frames) for segment in pending(spool) for batch in segment.batches())


def size(spool: Path) -> int:
    return sum(path.stat().st_size for path in spool.iterdir())


def drain(spool: Path) -> None:
    with taking(spool):
        for segment in pending(spool):
            # Also where nothing is new: it may have been sealed since it was read to its end, and only now be removed.
            segment.acknowledge(segment.read(max_bytes=1 << 30).end)


def test_drop_new_keeps_what_was_accepted_and_refuses_the_rest(tmp_path: Path) -> None:
    _, refused, dropped = fill(tmp_path, "drop_new")
    assert size(tmp_path) <= LIMIT
    assert kept(tmp_path) + refused == 100
    assert (refused > 0, dropped) == (True, [])


def test_a_refusal_names_the_remedy(tmp_path: Path) -> None:
    writer, _, _ = fill(tmp_path, "drop_new")
    with pytest.raises(ExportError, match="spool flush.*ELL_OTEL_SPOOL_BYTES"):
        writer.append(Kind.TRACES, PAYLOAD)


def test_drop_old_accepts_everything_and_counts_what_it_removed(tmp_path: Path) -> None:
    _, refused, dropped = fill(tmp_path, "drop_old")
    assert size(tmp_path) <= LIMIT
    assert refused == 0
    assert kept(tmp_path) + sum(dropped) == 100
    assert sum(dropped) > 0


def test_drop_old_removes_nothing_that_another_writes_or_is_taking_over(tmp_path: Path) -> None:
    other = SegmentWriter(tmp_path, segment_bytes=1 << 20)
    for _ in range(38):
        other.append(Kind.TRACES, PAYLOAD)
    _, refused, dropped = fill(tmp_path, "drop_old", count=10)
    assert kept(tmp_path) == 38 + 10 - refused - sum(dropped)
    assert len(next(iter(pending(tmp_path)[0].batches())).frames) == 38
    other.close()
    with taking(tmp_path):
        _, refused, dropped = fill(tmp_path, "drop_old", count=10)
    assert (refused > 0, dropped) == (True, [])


def test_block_waits_for_a_reader_and_loses_nothing(tmp_path: Path) -> None:
    done = threading.Event()

    def reader() -> None:
        while not done.wait(0.02):
            drain(tmp_path)

    thread = threading.Thread(target=reader)
    thread.start()
    writer, refused, _ = fill(tmp_path, "block")
    writer.close()
    done.set()
    thread.join()
    assert refused == 0


def test_room_comes_back_when_the_spool_was_taken_over(tmp_path: Path) -> None:
    writer, refused, _ = fill(tmp_path, "drop_new")
    assert refused
    drain(tmp_path)  # the writer closed its own segment when it was refused, so that nothing stays behind
    assert size(tmp_path) == 0
    again = SegmentWriter(tmp_path, segment_bytes=1 << 20, budget=Budget(LIMIT))
    again.append(Kind.TRACES, PAYLOAD)
    assert kept(tmp_path) == 1
    del writer


def test_without_a_limit_nothing_is_refused(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, segment_bytes=1 << 20, budget=Budget(0))
    for _ in range(100):
        writer.append(Kind.TRACES, PAYLOAD)
    assert kept(tmp_path) == 100


@pytest.mark.parametrize("policy", ["drop_new", "drop_old"])
def test_a_full_spools_loss_is_counted_exactly_in_the_data(folder: Path, policy: str) -> None:
    pipeline = providers.configure(config.resolve(dir=str(folder), spool_bytes=60_000, spool_policy=policy))
    for _ in range(100):
        pipeline.tracer.start_span("work", attributes={"text": "x" * 2000}).end()
    taken_over = 0
    if policy == "drop_new":  # somebody makes room: the next record brings the news
        taken_over = len(recorded(folder).spans)
        drain(folder / "spool")
        time.sleep(2 * budget._REFUSING_S)
    pipeline.tracer.start_span("work").end()
    pipeline.shutdown()
    recording = recorded(folder)
    losses = [event.attributes for event in recording.events if event.name == "ell.loss"]
    assert losses
    # A loss event that is removed itself passes on what it counted, and so the sum is the truth at any time.
    assert taken_over + len(recording.spans) + sum(each["ell.loss.count"] for each in losses) == 101
    assert all(each["ell.loss.since"] < datetime.now(UTC).isoformat() for each in losses)
