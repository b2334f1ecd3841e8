"""Compression of an answer as it is made: a ``Content-Encoding`` that the client takes, or ClickHouse's own frames."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

import lz4.frame

from ell_otel.server.framing import framed, zstd

_GZIP: Final = 16 + zlib.MAX_WBITS
_LEVEL: Final = 1  # an answer is packed once and read once: what counts is the time


class Packer(Protocol):
    """Pieces in, packed pieces out, and the end of it. Its ``encoding`` is the header's value, or empty."""

    encoding: str

    def pack(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


def packer(*, frames: bool, encodings: str) -> Packer:
    """As asked: ClickHouse's frames, else the first encoding of an ``Accept-Encoding`` that we have, else none."""
    if frames:
        return _Frames()
    for part in encodings.lower().split(","):
        name, _, quality = part.strip().partition(";")
        if name in _ENCODINGS and quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            return _ENCODINGS[name]()
    return _Plain()


class _Plain:
    encoding = ""

    def pack(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Frames(_Plain):
    def pack(self, data: bytes) -> bytes:
        return framed(data)


class _Gzip:
    encoding = "gzip"
    _bits = _GZIP

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_LEVEL, wbits=self._bits)

    def pack(self, data: bytes) -> bytes:
        return self._stream.compress(data)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Deflate(_Gzip):
    encoding = "deflate"
    _bits = zlib.MAX_WBITS


class _Zstd:
    encoding = "zstd"

    def __init__(self) -> None:
        self._stream = zstd().ZstdCompressor(level=_LEVEL)

    def pack(self, data: bytes) -> bytes:
        packed: bytes = self._stream.compress(data)
        return packed

    def finish(self) -> bytes:
        packed: bytes = self._stream.flush()
        return packed


class _Lz4:
    encoding = "lz4"

    def __init__(self) -> None:
        self._stream = lz4.frame.LZ4FrameCompressor()
        self._begun = bytes(self._stream.begin())

    def pack(self, data: bytes) -> bytes:
        begun, self._begun = self._begun, b""
        return begun + bytes(self._stream.compress(data))

    def finish(self) -> bytes:
        return self.pack(b"") + bytes(self._stream.flush())


_ENCODINGS: Final = {each.encoding: each for each in (_Gzip, _Deflate, _Zstd, _Lz4)}
