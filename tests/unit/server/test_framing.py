"""ClickHouse's compressed frames: read as they come, refused when they lie."""

from __future__ import annotations

import struct
from collections.abc import Callable

import lz4.block
import pytest
from clickhouse_cityhash import cityhash

from ell_otel.errors import DecodeError
from ell_otel.server.framing import FRAME_BYTES, Unframer, framed, zstd

TEXT = b"one two three " * 200_000

# As ClickHouse's own tools write it: echo -n 'xxxxxxxx…' through LZ4 by clickhouse-go.
METHODS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0x02, bytes),
    "lz4": (0x82, lambda data: bytes(lz4.block.compress(data, store_size=False))),
    "zstd": (0x90, lambda data: bytes(zstd().compress(data))),
}


def frame(method: int, packed: bytes, holds: int) -> bytes:
    rest = struct.pack("<BII", method, 9 + len(packed), holds) + packed
    value = cityhash.CityHash128(rest)
    return struct.pack("<QQ", value >> 64, value & (1 << 64) - 1) + rest


def unframe(data: bytes, chunk: int = 1 << 16) -> bytes:
    unframer = Unframer()
    found = [piece for at in range(0, len(data), chunk) for piece in unframer.pieces(data[at : at + chunk])]
    unframer.finish()
    return b"".join(found)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunk", [1, 13, 1 << 20])
def test_frames_of_each_method_are_read_in_whatever_pieces_they_come(method: str, chunk: int) -> None:
    code, pack = METHODS[method]
    texts = [b"a", TEXT[:5000], b"z" * 100]
    assert unframe(b"".join(frame(code, pack(text), len(text)) for text in texts), chunk) == b"".join(texts)


def test_what_is_framed_is_read_again() -> None:
    assert unframe(framed(TEXT)) == TEXT
    assert len(framed(TEXT)) < len(TEXT) / 50
    assert framed(b"") == b""


def test_the_checksum_is_the_one_that_clickhouse_writes() -> None:
    # A frame of `SELECT 1 FORMAT TabSeparated` with compress=1, method NONE in place of LZ4, as a server sends it.
    assert framed(b"1\n") == frame(0x82, b"\x201\n", 2)


@pytest.mark.parametrize("at", [0, 15, 16, 17, 21, 25, 40])
def test_a_frame_with_any_byte_changed_is_refused(at: int) -> None:
    damaged = bytearray(framed(TEXT[:1000]))
    damaged[at] ^= 0x55
    with pytest.raises(DecodeError):
        unframe(bytes(damaged))


def test_a_frame_that_is_cut_is_refused() -> None:
    with pytest.raises(DecodeError, match="midst"):
        unframe(framed(TEXT)[:-1])


@pytest.mark.parametrize("holds", [FRAME_BYTES + 1, 0xFFFFFFFF])
def test_a_frame_that_claims_more_than_the_limit_is_refused_before_any_is_made(holds: int) -> None:
    with pytest.raises(DecodeError, match="at most"):
        unframe(frame(0x82, b"x", holds))


def test_a_frame_larger_than_the_limit_is_refused_before_it_has_come() -> None:
    with pytest.raises(DecodeError, match="at most"):
        list(Unframer().pieces(bytes(16) + struct.pack("<BII", 0x02, FRAME_BYTES + 1, 10)))


@pytest.mark.parametrize("method", ["lz4", "zstd"])
def test_a_bomb_yields_no_more_than_its_frame_says(method: str) -> None:
    code, pack = METHODS[method]
    with pytest.raises(DecodeError):
        unframe(frame(code, pack(bytes(64 << 20)), 1000))


def test_a_method_that_is_not_read_is_named() -> None:
    with pytest.raises(DecodeError, match="0x91"):
        unframe(frame(0x91, b"x", 1))
