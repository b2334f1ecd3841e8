"""Repairing a spool keeps every frame and the damaged bytes, and leaves what is being written alone."""

from __future__ import annotations

from pathlib import Path

from ell_otel.ingest.repair import look, repair
from ell_otel.telemetry.segments import Kind, Segment, encode_frame, pending
from ell_otel.telemetry.spool import SegmentWriter

FRAMES = [encode_frame(Kind.TRACES, bytes([number]) * 16, b"payload %d" % number) for number in range(3)]


def damaged(directory: Path) -> Segment:
    spool = directory / "spool"
    spool.mkdir(parents=True)
    (spool / "1.seg").write_bytes(FRAMES[0] + b"rubbish" + FRAMES[1] + FRAMES[2] + FRAMES[0][:20])
    return pending(spool)[0]


def payloads(segment: Segment) -> list[bytes]:
    return [frame.payload for batch in segment.batches() for frame in batch.frames]


def test_a_repaired_segment_holds_its_frames_and_no_damage(tmp_path: Path) -> None:
    segment = damaged(tmp_path)
    (done,) = repair(tmp_path)
    assert segment.path.read_bytes() == b"".join(FRAMES)
    assert done.frames == 3
    assert [path.read_bytes() for path in done.aside] == [b"rubbish", FRAMES[0][:20]]
    assert repair(tmp_path) == []
    assert [each.damaged for each in look(tmp_path)] == [0]


def test_what_was_acknowledged_before_a_repair_does_not_come_again(tmp_path: Path) -> None:
    segment = damaged(tmp_path)
    segment.acknowledge(len(FRAMES[0]) + len(b"rubbish") + len(FRAMES[1]))
    repair(tmp_path)
    assert payloads(Segment(segment.path)) == [b"payload 2"]


def test_a_segment_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "spool", segment_bytes=1 << 20)
    writer.append(Kind.TRACES, b"one")
    (segment,) = pending(tmp_path / "spool")
    with segment.path.open("ab") as file:
        file.write(b"torn")
    assert repair(tmp_path) == []
    (seen,) = look(tmp_path)
    assert (seen.writing, seen.frames, seen.damaged) == (True, 1, 0)
    writer.close()
    assert [each.frames for each in repair(tmp_path)] == [1]


def test_there_is_nothing_to_see_where_nothing_was_written(tmp_path: Path) -> None:
    assert (look(tmp_path), repair(tmp_path)) == ([], [])
