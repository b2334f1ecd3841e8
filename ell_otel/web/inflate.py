"""Undoing a ``Content-Encoding``, piece by piece, within a limit that holds while it is undone.

A megabyte of gzip can stand for a gigabyte. So a decompressor is never asked for more than a piece, nor for more than
what is left of the limit plus one byte, and that one byte is the refusal; the rest is never produced.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from ell_otel.errors import DecodeError

PIECE_BYTES: Final = 1 << 20
"""The most that is decompressed at a time."""
_MEMBERS: Final = 100
"""Most gzip members or zstd frames without contents: beginning one costs 0.1 ms, however little is in it."""
_MEMBER_BYTES: Final = 64 << 10  # so much contents pays for one more
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_ZSTD_WINDOW_LOG: Final = 23  # 8 MiB, which every decoder must support; more is memory on a stranger's word


class TooLargeError(DecodeError):
    """The body, as sent or decompressed, is larger than this server takes."""


class UnsupportedMediaError(DecodeError):
    """A content type or a content encoding that this server does not read."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class Inflater:
    """Chunks of a body in, decompressed pieces out, until the limit.

    ``encoding`` is gzip, deflate, zstd, lz4, identity or empty; another is an ``UnsupportedMediaError``.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = encoding.strip().lower()
        self._limit = limit
        self._size = 0
        self._stream = None if self._encoding in {"", "identity"} else _decompressor(self._encoding)
        self._begun = False
        self._members = 1

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What the chunk holds. Raises ``TooLargeError`` beyond the limit, ``DecodeError`` for damaged data."""
        if not chunk:
            return
        if self._stream is None:
            yield self._counted(chunk)
            return
        self._begun = True
        while True:
            if self._stream.eof:  # another gzip member or zstd frame follows
                if not chunk:
                    return
                self._stream = self._next_member()
            if piece := self._decompressed(self._stream, chunk):
                yield self._counted(piece)
            if self._stream.eof:
                chunk = self._stream.unused_data or b""
            elif self._stream.needs_input:
                return
            else:
                chunk = b""

    def finish(self) -> None:
        """Raise ``DecodeError`` when the body ended in the midst of its compressed data."""
        if self._stream is not None and self._begun and not self._stream.eof:
            raise DecodeError(f"the {self._encoding} body ends too early")

    def _next_member(self) -> _Decompressor:
        self._members += 1
        if self._members > _MEMBERS + self._size // _MEMBER_BYTES:
            raise DecodeError(f"the {self._encoding} body has {self._members} members and little in them; send one")
        return _decompressor(self._encoding)

    def _decompressed(self, stream: _Decompressor, chunk: bytes) -> bytes:
        try:
            return stream.decompress(chunk, min(PIECE_BYTES, self._limit - self._size + 1))
        except Exception as error:  # zlib.error and ZstdError have no common base
            raise DecodeError(f"the body is not {self._encoding}: {error}") from error

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > self._limit:
            raise TooLargeError(too_large(self._limit))
        return data


def too_large(limit: int) -> str:
    """What the sender of a request that is too large is told."""
    return f"the request is larger than {limit} bytes; send smaller batches, or raise ELL_OTEL_REQUEST_BYTES"


class _Zlib:
    """zlib's decompressor with the face of the others: what it could not take yet is kept inside."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(_GZIP_OR_ZLIB)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, max_length)


def _decompressor(encoding: str) -> _Decompressor:
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return _Zlib()
    if (maker := {"zstd": _zstd, "lz4": _lz4}.get(encoding)) and (made := maker()) is not None:
        return made
    raise UnsupportedMediaError(f"Content-Encoding {encoding[:40]!r} is not read here; use gzip, or none")


def _zstd() -> _Decompressor | None:
    """From the standard library (3.14) or its backport, which comes with clickhouse-connect."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        made: _Decompressor = module.ZstdDecompressor(options=options)
        return made
    return None


def _lz4() -> _Decompressor | None:
    """ClickHouse's clients compress inserts with it; it comes with clickhouse-connect."""
    try:
        module = importlib.import_module("lz4.frame")
    except ImportError:
        return None
    made: _Decompressor = module.LZ4FrameDecompressor()
    return made
