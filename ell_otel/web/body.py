"""A request body, decompressed, within a limit that holds while it is read.

A megabyte of gzip can stand for a gigabyte. So each decompressor is asked for no more than what is left of the limit
plus one byte, and that one byte is the refusal; the rest is never produced.
"""

from __future__ import annotations

import asyncio
import importlib
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from starlette.requests import ClientDisconnect

from ell_otel.errors import DecodeError

if TYPE_CHECKING:
    from starlette.requests import Request

BODY_S: float = 30.0
"""Longest time a body may take to come: each that is waited for holds one of the server's connections."""
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_ZSTD_WINDOW_LOG: Final = 23  # 8 MiB, which every decoder must support; more is memory on a stranger's word


class TooLargeError(DecodeError):
    """The body, as sent or decompressed, is larger than this server takes."""


class UnsupportedMediaError(DecodeError):
    """A content type or a content encoding that this server does not read."""


class SlowBodyError(DecodeError):
    """The body did not come within the time that a connection may be held for one."""


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, decompressed as ``Content-Encoding`` says (gzip, deflate; zstd and lz4 where they can be had).

    Raises ``TooLargeError`` as soon as more than ``limit`` bytes have come or would come, ``SlowBodyError`` when it has
    not all come in time, ``UnsupportedMediaError`` for another encoding, ``DecodeError`` for damaged data.
    """
    if _declared_length(request) > limit:
        raise TooLargeError(_too_large(limit))
    inflate = Inflater(request.headers.get("content-encoding", "identity"), limit)
    received = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                received += len(chunk)
                if received > limit:
                    raise TooLargeError(_too_large(limit))
                inflate.feed(chunk)
    except ClientDisconnect as error:
        raise DecodeError("the body ends too early: its sender has gone") from error
    except TimeoutError as error:
        raise SlowBodyError(f"the body has not come within {BODY_S:.0f} s; send smaller batches") from error
    return inflate.finish()


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class Inflater:
    """Gathers chunks, decompressed, until the limit."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = encoding.strip().lower()
        self._limit = limit
        self._size = 0
        self._parts: list[bytes] = []
        self._stream = None if self._encoding in {"", "identity"} else _decompressor(self._encoding)

    def feed(self, chunk: bytes) -> None:
        if self._stream is None:
            self._keep(chunk)
            return
        while chunk:
            if self._stream.eof:  # another gzip member or zstd frame follows
                self._stream = _decompressor(self._encoding)
            try:
                self._keep(self._stream.decompress(chunk, self._limit - self._size + 1))
            except TooLargeError:
                raise
            except Exception as error:  # zlib.error and ZstdError have no common base
                raise DecodeError(f"the body is not {self._encoding}: {error}") from error
            chunk = (self._stream.unused_data or b"") if self._stream.eof else b""

    def finish(self) -> bytes:
        if self._stream is not None and self._parts and not self._stream.eof:
            raise DecodeError(f"the {self._encoding} body ends too early")
        return b"".join(self._parts)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise TooLargeError(_too_large(self._limit))
        self._parts.append(data)


def _decompressor(encoding: str) -> _Decompressor:
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return zlib.decompressobj(_GZIP_OR_ZLIB)
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


def _declared_length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


def _too_large(limit: int) -> str:
    return f"the request is larger than {limit} bytes; send smaller batches, or raise ELL_OTEL_REQUEST_BYTES"
