"""A request body, decompressed, within a limit that holds while it is read: whole, or in pieces as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from ell_otel.errors import DecodeError
from ell_otel.web.inflate import Inflater, TooLargeError, UnsupportedMediaError, too_large

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["SlowBodyError", "TooLargeError", "UnsupportedMediaError", "body_pieces", "read_body"]

BODY_S: float = 30.0
"""Longest time a body may take to come: each that is waited for holds one of the server's connections."""


class SlowBodyError(DecodeError):
    """The body did not come within the time that a connection may be held for one."""


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, decompressed as ``Content-Encoding`` says (gzip, deflate; zstd and lz4 where they can be had).

    Raises ``TooLargeError`` as soon as more than ``limit`` bytes have come or would come, ``SlowBodyError`` when it has
    not all come in time, ``UnsupportedMediaError`` for another encoding, ``DecodeError`` for damaged data.
    """
    return b"".join([piece async for piece in body_pieces(request, limit, BODY_S)])


async def body_pieces(request: Request, limit: int, within_s: float) -> AsyncIterator[bytes]:
    """The same in pieces, for a body that is not to be held in memory. ``within_s`` is the time it may take to come,
    the time that its reader takes not counted."""
    if _declared_length(request) > limit:
        raise TooLargeError(too_large(limit))
    inflater = Inflater(request.headers.get("content-encoding", "identity"), limit)
    chunks = request.stream()
    received, waited = 0, 0.0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            async with asyncio.timeout(within_s - waited):
                chunk = await anext(chunks, None)
        except ClientDisconnect as error:
            raise DecodeError("the body ends too early: its sender has gone") from error
        except TimeoutError as error:
            raise SlowBodyError(f"the body has not come within {within_s:.0f} s; send smaller batches") from error
        if chunk is None:
            break
        waited += loop.time() - began
        received += len(chunk)
        if received > limit:
            raise TooLargeError(too_large(limit))
        for piece in inflater.pieces(chunk):
            yield piece
    inflater.finish()


def _declared_length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0
