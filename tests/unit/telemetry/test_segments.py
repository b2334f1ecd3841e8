"""The spool's files: what was accepted is read back, whatever happened to the writer or the bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ell_otel.errors import ExportError
from ell_otel.telemetry.segments import Kind, Segment, encode_frame, pending
from ell_otel.telemetry.spool import SegmentWriter

BIG = 1 << 30


def write(spool: Path, *payloads: bytes, segment_bytes: int = BIG) -> None:
    writer = SegmentWriter(spool, segment_bytes=segment_bytes)
    for payload in payloads:
        writer.append(Kind.TRACES, payload)
    writer.close()


def drain(spool: Path, max_bytes: int = 1 << 20) -> tuple[list[bytes], int]:
    """All payloads in order, acknowledging each batch; and how many damaged places were met."""
    payloads, damaged = [], 0
    for segment in pending(spool):
        while segment.path.exists():
            batch = segment.read(max_bytes)
            payloads += [frame.payload for frame in batch.frames]
            damaged += batch.damaged
            before = segment.acknowledged
            segment.acknowledge(batch.end)
            if segment.path.exists() and segment.acknowledged == before:
                break
    return payloads, damaged


def test_what_was_appended_is_read_back_in_order_and_then_gone(tmp_path: Path) -> None:
    write(tmp_path, b"one", b"", b"three")
    assert drain(tmp_path) == ([b"one", b"", b"three"], 0)
    assert list(tmp_path.iterdir()) == []


def test_kinds_are_kept(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, segment_bytes=BIG)
    writer.append(Kind.LOGS, b"event")
    writer.append(Kind.TRACES, b"span")
    writer.close()
    assert [frame.kind for frame in pending(tmp_path)[0].read().frames] == [Kind.LOGS, Kind.TRACES]


def test_a_segment_is_closed_at_its_size_and_the_next_begun(tmp_path: Path) -> None:
    write(tmp_path, *(b"x" * 100 for _ in range(10)), segment_bytes=300)
    assert len(pending(tmp_path)) == 4
    assert len(drain(tmp_path)[0]) == 10


def test_a_frame_is_read_while_its_writer_lives_and_its_segment_stays(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, segment_bytes=BIG)
    writer.append(Kind.TRACES, b"one")
    (segment,) = pending(tmp_path)
    batch = segment.read()
    segment.acknowledge(batch.end)
    assert segment.path.exists()
    writer.append(Kind.TRACES, b"two")
    assert [frame.payload for frame in segment.read().frames] == [b"two"]
    writer.close()
    assert drain(tmp_path) == ([b"two"], 0)


def test_without_acknowledgement_a_frame_comes_again(tmp_path: Path) -> None:
    write(tmp_path, b"one")
    assert pending(tmp_path)[0].read() == pending(tmp_path)[0].read()


def test_a_frame_larger_than_a_read_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, b"small", b"y" * 50_000, b"after")
    payloads, damaged = drain(tmp_path, max_bytes=1000)
    assert [len(payload) for payload in payloads] == [5, 50_000, 5]
    assert damaged == 0


def test_every_truncation_of_the_last_frame_keeps_the_frames_before_it(tmp_path: Path) -> None:
    write(tmp_path / "whole", b"first", b"second", b"the last one")
    whole = pending(tmp_path / "whole")[0].path.read_bytes()
    last = len(encode_frame(Kind.TRACES, bytes(16), b"the last one"))
    for cut in range(1, last):
        spool = tmp_path / f"cut{cut}"
        spool.mkdir()
        (spool / "1.seg").write_bytes(whole[:-cut])
        assert drain(spool) == ([b"first", b"second"], 1), cut


@given(data=st.data())
def test_one_flipped_bit_costs_at_most_its_own_frame(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    payloads = [f"payload {number}".encode() * 3 for number in range(4)]
    frames = [encode_frame(Kind.TRACES, bytes(16), payload) for payload in payloads]
    whole = bytearray(b"".join(frames))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    hit = position // len(frames[0])
    spool = tmp_path_factory.mktemp("spool")
    (spool / "1.seg").write_bytes(whole)
    survivors, damaged = drain(spool)
    assert survivors == [payload for index, payload in enumerate(payloads) if index != hit]
    assert damaged == 1


@given(rubbish=st.binary(max_size=200), payload=st.binary(max_size=200))
def test_rubbish_before_a_frame_never_hides_it(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes, payload: bytes
) -> None:
    spool = tmp_path_factory.mktemp("spool")
    (spool / "1.seg").write_bytes(rubbish + encode_frame(Kind.TRACES, bytes(16), payload))
    assert drain(spool)[0] == [payload]


def test_a_long_stretch_of_damage_does_not_stop_a_reader(tmp_path: Path) -> None:
    (tmp_path / "1.seg").write_bytes(bytes(100_000) + encode_frame(Kind.LOGS, bytes(16), b"after"))
    assert drain(tmp_path, max_bytes=1000) == ([b"after"], 1)


def test_a_process_that_is_killed_right_after_an_append_has_lost_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from ell_otel.telemetry.segments import Kind\nfrom ell_otel.telemetry.spool import SegmentWriter\n"
        "writer = SegmentWriter(Path(sys.argv[1]), segment_bytes=1 << 30)\n"
        "for number in range(100): writer.append(Kind.TRACES, b'%d' % number)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert drain(tmp_path) == ([b"%d" % number for number in range(100)], 0)


def test_a_forked_child_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, segment_bytes=BIG)
    writer.append(Kind.TRACES, b"parent before")
    child = os.fork()
    if child == 0:
        writer.append(Kind.TRACES, b"child")
        os._exit(0)
    os.waitpid(child, 0)
    writer.append(Kind.TRACES, b"parent after")
    assert len(pending(tmp_path)) == 2
    writer.close()
    payloads, damaged = drain(tmp_path)
    assert sorted(payloads) == [b"child", b"parent after", b"parent before"]
    assert damaged == 0


def test_a_folder_that_cannot_be_written_is_said_with_the_remedy_and_recovers(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.write_text("a file where the folder should be")
    writer = SegmentWriter(spool, segment_bytes=BIG)
    with pytest.raises(ExportError, match="ELL_OTEL_DIR"):
        writer.append(Kind.TRACES, b"lost")
    spool.unlink()
    writer.append(Kind.TRACES, b"kept")
    writer.close()
    assert drain(spool) == ([b"kept"], 0)


def test_strict_durability_syncs_before_append_returns(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "import os; synced = []; real = os.fsync\n"
        "os.fsync = lambda fd: (synced.append(fd), real(fd))\n"
        "from ell_otel.telemetry.segments import Kind\nfrom ell_otel.telemetry.spool import SegmentWriter\n"
        "writer = SegmentWriter(Path(sys.argv[1]), segment_bytes=1 << 30, durability=sys.argv[2])\n"
        "for _ in range(3): writer.append(Kind.TRACES, b'x')\n"
        "print(len(synced))\n"
    )
    count = [
        subprocess.run([sys.executable, "-c", script, str(tmp_path), mode], capture_output=True, text=True, check=True)
        for mode in ("strict", "group")
    ]
    assert [int(done.stdout) for done in count] == [4, 0]  # three records and, once, the folder's entry


def test_group_durability_syncs_within_the_interval(tmp_path: Path) -> None:
    script = (
        "import sys, time, os; from pathlib import Path\n"
        "synced = []; real = os.fsync\n"
        "os.fsync = lambda fd: (synced.append(fd), real(fd))\n"
        "from ell_otel.telemetry.segments import Kind\nfrom ell_otel.telemetry.spool import FSYNC_INTERVAL_S, SegmentWriter\n"
        "writer = SegmentWriter(Path(sys.argv[1]), segment_bytes=1 << 30)\n"
        "for _ in range(3): writer.append(Kind.TRACES, b'x')\n"
        "for _ in range(10): len(synced) >= 2 or time.sleep(FSYNC_INTERVAL_S)\n"  # a loaded machine may be late
        "time.sleep(FSYNC_INTERVAL_S * 3)\n"
        "print(len(synced))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 2  # the records together, and the folder's entry


def test_a_damaged_mark_means_frames_come_again_not_that_they_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, b"one")
    (segment,) = pending(tmp_path)
    segment.path.with_suffix(".ack").write_text("garbage")
    assert [frame.payload for frame in Segment(segment.path).read().frames] == [b"one"]


@given(
    order=st.lists(st.one_of(st.integers(0, 5), st.just(None)), max_size=12),
    copies=st.integers(1, 2),
)
def test_duplicated_reordered_and_zeroed_segments_give_every_frame_that_is_whole(
    tmp_path_factory: pytest.TempPathFactory, order: list[int | None], copies: int
) -> None:
    payloads = [b"payload %d" % number for number in range(6)]
    frames = [encode_frame(Kind.TRACES, bytes(16), payload) for payload in payloads]
    pieces = [bytes(len(frames[0])) if number is None else frames[number] for number in order]
    spool = tmp_path_factory.mktemp("spool")
    for copy in range(copies):
        (spool / f"{copy}.seg").write_bytes(b"".join(pieces))
    survivors, damaged = drain(spool)
    assert survivors == [payloads[number] for number in order if number is not None] * copies
    zeroed = "".join("0" if number is None else "1" for number in order).split("1")
    assert damaged == copies * sum(1 for run in zeroed if run)


def test_a_frame_of_another_format_byte_order_or_kind_is_damage_and_not_misread(tmp_path: Path) -> None:
    frame = encode_frame(Kind.TRACES, bytes(16), b"payload")
    later_format = frame[:3] + b"\x02" + frame[4:]
    other_order = frame[:4] + frame[4:8][::-1] + frame[8:]
    (tmp_path / "1.seg").write_bytes(later_format + frame + other_order + frame)
    assert drain(tmp_path) == ([b"payload"] * 2, 2)
