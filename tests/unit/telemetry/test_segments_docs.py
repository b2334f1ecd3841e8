"""docs/segments.md is enough: a decoder written from the page alone reads its example, and what our writer wrote."""

from __future__ import annotations

import re
from pathlib import Path

from ell_otel.telemetry.segments import Frame, Kind, Segment, pending
from ell_otel.telemetry.spool import SegmentWriter

PAGE = Path(__file__).parents[3] / "docs" / "segments.md"
POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def decode(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """(kind, id, payload) of each frame of an undamaged segment."""
    frames = []
    while data:
        assert data[:4] == b"ELS\x01"
        length = int.from_bytes(data[4:8], "little")
        assert data[9:16] == bytes(7)
        payload = data[36 : 36 + length]
        assert int.from_bytes(data[32:36], "little") == crc32c(data[4:32] + payload)
        frames.append((data[8], data[16:32], payload))
        data = data[36 + length :]
    return frames


def example() -> bytes:
    (block,) = re.findall(r"```text\n(45 4c 53 01[0-9a-f ]+)\n```", PAGE.read_text(encoding="utf-8"))
    return bytes.fromhex(block)


def test_the_pages_example_is_what_the_page_says() -> None:
    assert decode(example()) == [(2, bytes(range(1, 9)) + (1).to_bytes(8, "little"), b"hello")]


def test_our_reader_reads_the_pages_example(tmp_path: Path) -> None:
    path = tmp_path / "1.seg"
    path.write_bytes(example())
    batch = Segment(path).read()
    assert (batch.frames, batch.damaged) == ((Frame(Kind.LOGS, b"hello", len(example())),), 0)


def test_a_decoder_made_from_the_page_reads_what_our_writer_wrote(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, segment_bytes=1 << 20)
    writer.append(Kind.TRACES, b"one")
    writer.append(Kind.LOGS, b"")
    writer.close()
    first, second = decode(pending(tmp_path)[0].path.read_bytes())
    assert (first[0], first[2], second[0], second[2]) == (1, b"one", 2, b"")
    assert first[1][:8] == second[1][:8]
    assert first[1] != second[1]
