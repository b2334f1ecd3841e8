"""Reading a body: decompressed, and never more of it than the limit."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from starlette.requests import Request

from ell_otel.errors import DecodeError
from ell_otel.web.body import TooLargeError, UnsupportedMediaError, read_body

TEXT = b"one two three " * 500


def read(body: bytes, encoding: str = "", limit: int = 1 << 20, chunk: int = 1000, length: int | None = None) -> bytes:
    """What ``read_body`` makes of a body that arrives in chunks."""
    pieces = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]

    async def receive() -> Any:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    headers += [(b"content-length", str(length).encode())] if length is not None else []
    return asyncio.run(read_body(Request({"type": "http", "headers": headers}, receive), limit))


def zstd(data: bytes) -> bytes:
    return bytes(pytest.importorskip("backports.zstd").compress(data))


def lz4(data: bytes) -> bytes:
    return bytes(pytest.importorskip("lz4.frame").compress(data))


PACK: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd, "lz4": lz4}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_what_was_packed_comes_out_in_whatever_pieces_it_arrives(encoding: str, chunk: int) -> None:
    assert read(PACK[encoding](TEXT), encoding, chunk=chunk) == TEXT


def test_a_plain_body_comes_out_as_it_is() -> None:
    assert read(TEXT) == read(TEXT, "identity") == TEXT
    assert read(b"", "gzip") == b""


def test_a_gzip_file_of_two_members_is_both_of_them() -> None:
    assert read(gzip.compress(b"a") + gzip.compress(b"b"), "gzip") == b"ab"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_of_many_empty_members_is_refused_after_the_first_hundred(encoding: str) -> None:
    empty = PACK[encoding](b"")
    assert read(empty * 99 + PACK[encoding](b"a"), encoding) == b"a"
    with pytest.raises(DecodeError, match="101 members"):
        read(empty * 101, encoding)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
def test_a_bomb_is_refused_before_it_has_unfolded(encoding: str) -> None:
    bomb = PACK[encoding](bytes(256 << 20))

    def refused() -> None:
        with pytest.raises(TooLargeError):
            read(bomb, encoding, limit=8 << 20, chunk=65536)

    tracemalloc.start()
    refused()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    began = time.thread_time()
    refused()
    took = time.thread_time() - began
    read(bomb, encoding, limit=256 << 20, chunk=65536)
    assert took < (time.thread_time() - began - took) / 2


def test_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert len(read(gzip.compress(bytes(1000)), "gzip", limit=1000)) == 1000
    with pytest.raises(TooLargeError):
        read(gzip.compress(bytes(1001)), "gzip", limit=1000)
    with pytest.raises(TooLargeError):
        read(bytes(1001), limit=1000)


def test_a_declared_length_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(TooLargeError):
        read(b"", limit=1000, length=1001)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
def test_damaged_and_cut_bodies_are_refused(encoding: str) -> None:
    packed = PACK[encoding](TEXT)
    with pytest.raises(DecodeError):
        read(packed[: len(packed) // 2], encoding)
    with pytest.raises(DecodeError):
        read(b"\x00garbage" + packed, encoding)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "nonsense"])
def test_an_encoding_that_is_not_read_is_named(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaError, match=encoding):
        read(TEXT, encoding)
