"""ClickHouse's own compression of a byte stream, asked for with ``compress=1`` and ``decompress=1``.

The stream is cut into frames: 16 bytes of CityHash128 (version 1.0.2, its halves in this order) over the rest, one byte
that names the method, the frame's size without the checksum, the size of what is in it, and the compressed bytes. Each
frame stands alone, so one that lies about its size costs at most ``FRAME_BYTES``.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from typing import Any, Final

import lz4.block
from clickhouse_cityhash import cityhash

from ell_otel.errors import DecodeError

FRAME_BYTES: Final = 16 << 20
"""The most that a frame may hold, compressed or not. Clients make them of 1 MiB, clickhouse-go of up to 10."""
_CHECKSUM_BYTES: Final = 16
_HEADER: Final = struct.Struct("<BII")
_HEAD_BYTES: Final = _CHECKSUM_BYTES + _HEADER.size
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_WRITTEN_BYTES: Final = 1 << 20


class Unframer:
    """Chunks of a framed stream in, what is in the frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """The contents of each frame that the chunk completes. Raises ``DecodeError`` for damaged ones."""
        self._buffer += chunk
        while len(self._buffer) >= _HEAD_BYTES:
            method, size, holds = _HEADER.unpack_from(self._buffer, _CHECKSUM_BYTES)
            if not _HEADER.size <= size <= FRAME_BYTES or holds > FRAME_BYTES:
                raise DecodeError(f"a compressed frame says it has {size} bytes of {holds}: at most {FRAME_BYTES}")
            if len(self._buffer) < _CHECKSUM_BYTES + size:
                return
            frame = bytes(self._buffer[: _CHECKSUM_BYTES + size])
            del self._buffer[: _CHECKSUM_BYTES + size]
            if _checksum(frame[_CHECKSUM_BYTES:]) != frame[:_CHECKSUM_BYTES]:
                raise DecodeError("a compressed frame does not have the checksum that it says")
            yield _contents(method, frame[_HEAD_BYTES:], holds)

    def finish(self) -> None:
        """Raise ``DecodeError`` when the stream ended in the midst of a frame."""
        if self._buffer:
            raise DecodeError("the body ends in the midst of a compressed frame")


def framed(data: bytes) -> bytes:
    """The data as frames of LZ4, which every client reads."""
    return b"".join(_frame(data[at : at + _WRITTEN_BYTES]) for at in range(0, len(data), _WRITTEN_BYTES))


def _frame(data: bytes) -> bytes:
    packed = bytes(lz4.block.compress(data, store_size=False))
    rest = _HEADER.pack(_LZ4, _HEADER.size + len(packed), len(data)) + packed
    return _checksum(rest) + rest


def _checksum(rest: bytes) -> bytes:
    high_and_low = cityhash.CityHash128(rest)
    return struct.pack("<QQ", high_and_low >> 64, high_and_low & (1 << 64) - 1)


def _contents(method: int, packed: bytes, holds: int) -> bytes:
    if method not in {_NONE, _LZ4, _ZSTD}:
        raise DecodeError(f"a frame is compressed by method 0x{method:02x}; none, LZ4 and ZSTD are read here")
    try:
        found = packed if method == _NONE else _unpacked(method, packed, holds)
    except Exception as error:  # LZ4BlockError and ZstdError have no common base
        raise DecodeError(f"a compressed frame is damaged: {error}") from error
    if len(found) != holds:
        raise DecodeError(f"a compressed frame holds {len(found)} bytes, not the {holds} it says")
    return found


def _unpacked(method: int, packed: bytes, holds: int) -> bytes:
    if method == _LZ4:
        return bytes(lz4.block.decompress(packed, uncompressed_size=holds))
    return bytes(zstd().ZstdDecompressor().decompress(packed, holds + 1))


def zstd() -> Any:
    """The standard library's zstd (3.14), or its backport, which comes with clickhouse-connect."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")
