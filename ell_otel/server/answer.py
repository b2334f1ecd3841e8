"""An answer of ClickHouse's HTTP interface: whole when it is small, else in chunks while the query runs.

The query runs in one thread, which hands over packed pieces and waits for each to be taken, so a reader who reads
slowly slows the query and fills no memory. The first pieces are held back: until they are more than a megabyte the
status can still say that it failed. Later an error can only be told within the body, in the frame that ClickHouse uses,
whose tag a header has announced. A reader who goes ends the query.
"""

from __future__ import annotations

import json
import secrets
import string
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
from anyio import from_thread, to_thread
from starlette.responses import PlainTextResponse, Response

from ell_otel.server.engine import Engine, EngineError, Query, Told
from ell_otel.server.packing import Packer
from ell_otel.server.security import Role

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from starlette.types import Receive, Scope, Send

HELD_BYTES: Final = 1 << 20
"""How much of an answer is held back before its headers go out, unless the request asks for more."""
MOST_HELD_BYTES: Final = 32 << 20
_SEND_S: Final = 60.0  # for one piece; a reader who takes none for so long has gone
_KILL_AGAIN_S: Final = 0.5
_FRAME_MESSAGE_BYTES: Final = 15 << 10  # clients look for the frame in the last 16 KiB
_TAG_LENGTH: Final = 16
_TAG: Final = string.ascii_letters + string.digits

# ClickHouse's codes -> status, where it is not 500. Never 429 or 503: clients would send the same again.
_STATUS: Final = {516: 401, 164: 403, 497: 403, 60: 404, 81: 404, 372: 404, 48: 501, 307: 413} | dict.fromkeys(
    (6, 16, 25, 26, 27, 33, 36, 38, 41, 42, 43, 44, 46, 47, 53, 62, 72, 73, 115, 117, 158, 344, 373, 396, 457), 400
)


@dataclass(slots=True)
class Headers:
    """What every answer to one request says of itself."""

    query_id: str
    timezone: str
    version: str
    began: float = field(default_factory=time.perf_counter)

    def common(self) -> dict[str, str]:
        return {
            "X-ClickHouse-Query-Id": self.query_id,
            "X-ClickHouse-Timezone": self.timezone,
            "X-ClickHouse-Server-Display-Name": "ell-otel",
        }

    def summary(self, told: Told) -> dict[str, str]:
        counts = {
            "read_rows": told.read_rows,
            "read_bytes": told.read_bytes,
            "written_rows": told.written_rows,
            "result_rows": told.result_rows,
            "elapsed_ns": int((time.perf_counter() - self.began) * 1e9),
        }
        return {"X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in counts.items()})}

    def error(self, error: EngineError) -> Response:
        """The whole answer to a request that failed before any of its result was sent."""
        status = _STATUS.get(error.code, 500)
        headers = self.common() | {"X-ClickHouse-Exception-Code": str(error.code)}
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ell-otel"'
        return PlainTextResponse(self.told(error), status, headers)

    def told(self, error: EngineError) -> str:
        version = "" if "(version " in str(error) else f" (version {self.version})"
        return f"Code: {error.code}. DB::Exception: {error}{version}\n"

    def of(self, query: Query, packer: Packer, told: Told) -> dict[str, str]:
        """The headers of a result."""
        form = query.format
        headers = self.common() | self.summary(told)
        headers["Content-Type"] = "application/json" if form.startswith("JSON") else "text/plain; charset=UTF-8"
        if form:
            headers["X-ClickHouse-Format"] = form
        if packer.encoding:
            headers["Content-Encoding"] = packer.encoding
        return headers

    def done(self, told: Told) -> Response:
        """The answer to a statement without a result."""
        return PlainTextResponse("", headers=self.common() | self.summary(told))


class Answer:
    """An ASGI application that runs one permitted query and sends what comes of it.

    ``held`` is how much to hold back, when more than the usual. ``after`` is called when all is over.
    """

    def __init__(
        self,
        engine: Engine,
        query: Query,
        role: Role,
        headers: Headers,
        packer: Packer,
        *,
        limiter: anyio.CapacityLimiter,
        held: int = HELD_BYTES,
    ) -> None:
        self._engine, self._query, self._role = engine, query, role
        self._headers, self._packer, self._limiter = headers, packer, limiter
        self._held = min(max(held, HELD_BYTES), MOST_HELD_BYTES)
        self.after: Callable[[], object] = lambda: None
        self._told = Told()
        self._gone = threading.Event()  # nobody waits for the rest
        self._over = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces_in, pieces = anyio.create_memory_object_stream[bytes | EngineError](1)
        try:
            async with anyio.create_task_group() as group, pieces:
                group.start_soon(self._produced, pieces_in)
                group.start_soon(self._watched, receive)
                try:
                    await self._sent(pieces, scope, receive, send)
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._ended(pieces)
                group.cancel_scope.cancel()
        finally:
            self.after()

    async def _produced(self, pieces: MemoryObjectSendStream[bytes | EngineError]) -> None:
        with pieces:
            await to_thread.run_sync(self._produce, pieces, limiter=self._limiter)
            self._over.set()

    def _produce(self, pieces: MemoryObjectSendStream[bytes | EngineError]) -> None:
        """Run the query, in a thread of its own, until it is over, killed, or nobody waits for it any more."""
        if self._gone.is_set():
            return
        made = self._engine.answer(self._query, self._role, self._told)
        try:
            for piece in made:
                if packed := self._packer.pack(piece):
                    from_thread.run(pieces.send, packed)
                if self._gone.is_set():
                    return
        except EngineError as error:
            from_thread.run(pieces.send, error)
        finally:
            made.close()

    async def _watched(self, receive: Receive) -> None:
        """Kill the query when the client goes."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        await self._killed()

    async def _ended(self, pieces: MemoryObjectReceiveStream[bytes | EngineError]) -> None:
        """See the thread off: let go what it still makes, and kill what it runs if there is anything."""
        self._gone.set()
        with anyio.move_on_after(0.05):
            async for _ in pieces:
                pass
        if not self._over.is_set():
            async with anyio.create_task_group() as group:
                group.start_soon(self._killed)
                async for _ in pieces:
                    pass
                group.cancel_scope.cancel()

    async def _killed(self) -> None:
        """Again and again until it is over, for a query that has not begun yet cannot be killed."""
        while not self._over.is_set():
            await to_thread.run_sync(self._engine.kill, self._query.key)
            await anyio.sleep(_KILL_AGAIN_S)

    async def _sent(
        self, pieces: MemoryObjectReceiveStream[bytes | EngineError], scope: Scope, receive: Receive, send: Send
    ) -> None:
        held = bytearray()
        async for piece in pieces:
            if isinstance(piece, EngineError):
                await self._headers.error(piece)(scope, receive, send)
                return
            held += piece
            if len(held) > self._held:
                break
        else:
            await Response(bytes(held + self._packer.finish()), headers=self._about())(scope, receive, send)
            return
        with suppress(TimeoutError):
            await self._streamed(bytes(held), pieces, send)

    async def _streamed(self, first: bytes, pieces: MemoryObjectReceiveStream[bytes | EngineError], send: Send) -> None:
        """Left without its end when the query fails, so that who does not know the frame sees a transfer that broke.

        But not a compressed one: clients lose what is in their decompressor when the transfer breaks.
        """
        tag = "".join(secrets.choice(_TAG) for _ in range(_TAG_LENGTH))
        headers = Response(headers=self._about() | {"X-ClickHouse-Exception-Tag": tag}).raw_headers
        headers = [(name, value) for name, value in headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_body(send, first)
        async for piece in pieces:
            if isinstance(piece, EngineError):
                frame = _exception_frame(tag, self._headers.told(piece))
                packed = self._packer.pack(frame) + self._packer.finish()
                await _send_body(send, packed, more=not self._packer.encoding)
                return
            await _send_body(send, piece)
        await _send_body(send, self._packer.finish(), more=False)

    def _about(self) -> dict[str, str]:
        return self._headers.of(self._query, self._packer, self._told)


async def _send_body(send: Send, data: bytes, *, more: bool = True) -> None:
    with anyio.fail_after(_SEND_S):
        await send({"type": "http.response.body", "body": data, "more_body": more})


def _exception_frame(tag: str, message: str) -> bytes:
    told = message.encode()[-_FRAME_MESSAGE_BYTES:]
    marker = f"__exception__\r\n{tag}\r\n".encode()
    return b"\r\n" + marker + told + f"{len(told)} {tag}\r\n__exception__\r\n".encode()
