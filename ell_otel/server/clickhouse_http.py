"""ClickHouse's HTTP interface in front of the chDB store, so that its clients work on a laptop as on a cluster.

Four kinds of statement, told apart by the engine's own lexer: an INSERT that carries its data is read by a grammar of
ours and streamed into the table; SET and USE are kept in the session; the greeting of clickhouse-go is answered by
hand; everything else is a question, permitted or not by ``statements.refusal`` and the engine's own ``readonly``.
What a request says is read in ``asked``, and what goes back is made in ``answer``.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from anyio import from_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ell_otel.errors import DecodeError
from ell_otel.server import asked as requests
from ell_otel.server.answer import MOST_HELD_BYTES, Answer, Headers
from ell_otel.server.asked import Asked
from ell_otel.server.engine import Engine, EngineError, Query, Told
from ell_otel.server.hello import greeting
from ell_otel.server.insertion import Insertion, insertion
from ell_otel.server.packing import packer
from ell_otel.server.rights import CLOSED_INPUTS, CONTRACT_TABLES, Limits, may_set
from ell_otel.server.security import Role, User, authenticate
from ell_otel.server.sessions import Session, Sessions
from ell_otel.server.statements import Token, set_settings, used_database
from ell_otel.web.body import TooLargeError
from ell_otel.web.gate import Gate
from ell_otel.web.listener import HttpListener

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

NAME: Final = "ClickHouse HTTP"
_QUERIES_AT_ONCE: Final = 8
_INSERTS_AT_ONCE: Final = 4
_HEADS: Final = (4 << 10, 64 << 10)  # an INSERT's statement ends within the first of these, or the second
_SQL_BYTES: Final = 256 << 10


def listener(
    store_path: str, users: Mapping[str, User], *, host: str, port: int, limits: Limits | None = None
) -> HttpListener:
    """The interface on ``host:port``. ``store_path`` is the chDB directory, open in this process."""
    front = _Front(Engine(store_path, limits), users)
    routes = [
        Route("/ping", lambda _: PlainTextResponse("Ok.\n"), methods=["GET"]),
        Route("/", front.respond, methods=["GET", "POST"]),
    ]
    logging.getLogger("uvicorn.error").addFilter(_is_a_mistake)
    app = Starlette(routes=routes, middleware=[Middleware(Gate, host=host)])
    return HttpListener(NAME, app, host=host, port=port, flag="--clickhouse-port", stopped=front.close)


def _is_a_mistake(record: logging.LogRecord) -> bool:
    """Not an answer that is broken off on purpose, since its query failed midway."""
    return "without completing response" not in str(record.msg)


class _Front:
    def __init__(self, engine: Engine, users: Mapping[str, User]) -> None:
        engine.open()
        self._engine = engine
        self._users = users
        self._sessions = Sessions()
        self._queries = anyio.CapacityLimiter(_QUERIES_AT_ONCE)
        self._inserts = anyio.CapacityLimiter(_INSERTS_AT_ONCE)

    def close(self) -> None:
        self._engine.close()

    async def respond(self, request: Request) -> ASGIApp:
        headers = Headers(requests.query_id(request), self._engine.timezone, self._engine.version)
        try:
            name, role = self._authenticated(request)
            return await self._in_session(await requests.read(request, headers.query_id), name, role, headers)
        except EngineError as error:
            return headers.error(error)
        except TooLargeError as error:
            return headers.error(EngineError(307, str(error)))
        except DecodeError as error:
            return headers.error(EngineError(27, str(error)))

    async def _in_session(self, asked: Asked, name: str, role: Role, headers: Headers) -> ASGIApp:
        """Leave the session behind the answer, which may be still to be made when this returns."""
        with ExitStack() as leaving:
            session = leaving.enter_context(
                self._sessions.entered(
                    name,
                    asked.values.get("session_id", ""),
                    asked.values.get("session_timeout", ""),
                    must_exist=asked.says("session_check"),
                )
            )
            answer = await self._answered(asked, session, role, headers)
            if isinstance(answer, Answer):
                answer.after = leaving.pop_all().close
        return answer

    async def _answered(self, asked: Asked, session: Session, role: Role, headers: Headers) -> ASGIApp:
        body = requests.body(asked)
        head, found = await self._head(asked, body)
        if found is None:
            return await self._queried(await _whole(head, body), asked, session, role, headers)
        self._permit_insert(found, asked, role)
        data = _pulled(head[found.data_at :].lstrip(b" \t\r;").removeprefix(b"\n"), body)
        settings = self._engine.insert_settings({**session.settings, **asked.settings, **found.settings}, role)
        insert = partial(self._engine.insert, found, settings, asked.database or session.database, data)
        return headers.done(await anyio.to_thread.run_sync(insert, limiter=self._inserts))

    async def _head(self, asked: Asked, body: AsyncIterator[bytes]) -> tuple[bytes, Insertion | None]:
        """What had to be read of the statement to tell, and the INSERT that it begins with, if it does."""
        head = asked.sql + b"\n" if asked.sql else b""
        ended = False
        for size in (len(head), *_HEADS):
            while len(head) < size and not ended:
                piece = await anext(body, None)
                ended = piece is None
                head += piece or b""
            seen = head[:size]
            if b"insert" in seen.lower():
                found = insertion(await anyio.to_thread.run_sync(self._engine.head_tokens, seen))
                if found and (ended or found.data_at < len(seen)):  # else the format's name may go on
                    return head, found
            elif seen.strip():
                break
        return head, None

    def _permit_insert(self, into: Insertion, asked: Asked, role: Role) -> None:
        if asked.request.method != "POST":
            raise EngineError(164, "what a GET asks for is read-only. (READONLY)")
        if role is Role.OWNER:
            return
        if role is not Role.INGEST:
            raise EngineError(497, "a reader may not INSERT; the user `ingest` may. (ACCESS_DENIED)")
        if into.table not in CONTRACT_TABLES:
            raise EngineError(497, f"one may INSERT into {', '.join(sorted(CONTRACT_TABLES))} only. (ACCESS_DENIED)")
        if into.format.lower() in CLOSED_INPUTS:
            raise EngineError(497, f"the input format {into.format} is closed. (ACCESS_DENIED)")

    async def _queried(self, sql: bytes, asked: Asked, session: Session, role: Role, headers: Headers) -> ASGIApp:
        try:
            text = sql.decode()
        except UnicodeDecodeError:
            raise EngineError(62, "the query is not UTF-8. (SYNTAX_ERROR)") from None
        if not text.strip():
            return PlainTextResponse("Ok.\n", headers=headers.common())
        tokens = await anyio.to_thread.run_sync(self._engine.tokens, text)
        if _keep(session, tokens, asked, role):
            return headers.done(Told())
        query = Query(
            text,
            tokens,
            asked.default_format,
            str(uuid.uuid4()),
            asked.parameters,
            {**session.settings, **asked.settings},
            asked.database or session.database,
            writes=asked.request.method == "POST",
        )
        self._engine.permit(query, role)
        packed = packer(frames=asked.says("compress"), encodings=asked.encodings)
        protocol = asked.number("client_protocol_version", 1 << 20)
        if hello := greeting(tokens, protocol, self._engine.version, self._engine.timezone):
            return Response(packed.pack(hello) + packed.finish(), headers=headers.of(query, packed, Told()))
        held = MOST_HELD_BYTES if asked.says("wait_end_of_query") else asked.number("buffer_size", MOST_HELD_BYTES)
        return Answer(self._engine, query, role, headers, packed, limiter=self._queries, held=held)

    def _authenticated(self, request: Request) -> tuple[str, Role]:
        name, password = requests.credentials(request)
        user = authenticate(self._users, name, password)
        if user is None:
            raise EngineError(
                516,
                f"{name[:80]}: Authentication failed: password is incorrect, or there is no user with such name. "
                "The users are `reader` and `ingest`; where their passwords are, `ell-otel doctor` says. "
                "(AUTHENTICATION_FAILED)",
            )
        return name, user.role


def _keep(session: Session, tokens: Sequence[Token], asked: Asked, role: Role) -> bool:
    """Whether this was SET or USE, which then holds for the session's later requests."""
    if database := used_database(tokens):
        if not asked.values.get("session_id"):
            raise EngineError(36, "USE has no effect without a session_id; say database=. (BAD_ARGUMENTS)")
        session.database = database
        return True
    changes = set_settings(tokens)
    for name in changes or ():
        if role is not Role.OWNER and not may_set(name, inserts=role is Role.INGEST):
            raise EngineError(164, f"the setting {name[:80]} is not this user's to choose. (READONLY)")
    session.settings.update(changes or {})
    return changes is not None


async def _whole(head: bytes, rest: AsyncIterator[bytes]) -> bytes:
    async for piece in rest:
        head += piece
        if len(head) > _SQL_BYTES:
            break
    if len(head) > _SQL_BYTES:
        raise EngineError(62, f"a query may be {_SQL_BYTES} bytes long. (SYNTAX_ERROR)")
    return head


def _pulled(first: bytes, rest: AsyncIterator[bytes]) -> Iterator[bytes]:
    """For a thread: the pieces that come on the event loop."""
    if first:
        yield first
    while (piece := from_thread.run(_next, rest)) is not None:
        yield piece


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
