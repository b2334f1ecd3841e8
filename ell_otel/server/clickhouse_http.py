"""ClickHouse's HTTP interface in front of the chDB store, so that its clients work on a laptop as on a cluster.

A request is SQL in the body, in ``query=``, or both (then the body is the data of an INSERT); parameters are
``param_name=``; everything in the query string that this interface does not use itself is a setting. An answer is the
result in the format asked for, and an error is ``Code: N. DB::Exception: …`` with a status that is not 200.
Not spoken yet: ClickHouse's own block compression (``compress=1``, ``decompress=1``), sessions, multipart forms,
results streamed while the query runs.
"""

from __future__ import annotations

import gzip
import json
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ell_otel.errors import DecodeError
from ell_otel.server.engine import Engine, EngineError, Limits, Result, Statement
from ell_otel.server.security import User, authenticate, basic
from ell_otel.web.body import TooLargeError, read_body
from ell_otel.web.gate import Gate
from ell_otel.web.listener import HttpListener

if TYPE_CHECKING:
    from starlette.requests import Request

NAME: Final = "ClickHouse HTTP"
_BODY_BYTES: Final = 64 << 20
_QUERIES_AT_ONCE: Final = 8
_GZIP_FROM: Final = 1024
_PARAMETER: Final = "param_"
_DEFAULT_FORMAT: Final = "TabSeparated"
_QUERY_ID: Final = re.compile(r"[\w.:\-]{1,128}", re.ASCII)

# Of the query string: used here, or of no meaning before one engine in this process. The rest are settings.
_OURS: Final = frozenset(
    {"query", "database", "default_format", "user", "password", "query_id", "session_id", "session_timeout"}
    | {
        "session_check",
        "quota_key",
        "role",
        "client_protocol_version",
        "wait_end_of_query",
        "buffer_size",
        "stacktrace",
    }
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression", "compress"}
    | {"decompress", "add_http_cors_header", "cancel_http_readonly_queries_on_client_close", "http_write_exception"}
)

# ClickHouse's codes -> status, where it is not 500. Never 429 or 503: clients would send the same again.
_STATUS: Final = {516: 401, 164: 403, 497: 403, 60: 404, 81: 404, 48: 501, 307: 413} | dict.fromkeys(
    (6, 27, 36, 42, 43, 46, 47, 53, 62, 73, 115, 158, 396, 457), 400
)


def listener(
    store_path: str, users: Mapping[str, User], *, host: str, port: int, limits: Limits | None = None
) -> HttpListener:
    """The interface on ``host:port``. ``store_path`` is the chDB directory, open in this process."""
    front = _Front(Engine(store_path, limits), users)
    routes = [
        Route("/ping", lambda _: PlainTextResponse("Ok.\n"), methods=["GET"]),
        Route("/", front.answer, methods=["GET", "POST"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Gate, host=host)])
    return HttpListener(NAME, app, host=host, port=port, flag="--clickhouse-port")


class _Front:
    def __init__(self, engine: Engine, users: Mapping[str, User]) -> None:
        engine.open()
        self._engine = engine
        self._users = users
        self._limiter = anyio.CapacityLimiter(_QUERIES_AT_ONCE)

    async def answer(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id", "")
        query_id = query_id if _QUERY_ID.fullmatch(query_id) else str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Server-Display-Name": "ell-otel",
        }
        try:
            user = self._authenticated(request)
            statement = await _statement(request)
            if not statement.text.strip():
                return PlainTextResponse("Ok.\n", headers=headers)
            result = await anyio.to_thread.run_sync(self._engine.run, statement, user.role, limiter=self._limiter)
        except EngineError as error:
            return self._error(error.code, str(error), headers)
        except TooLargeError as error:
            return self._error(307, str(error), headers)
        except DecodeError as error:
            return self._error(27, str(error), headers)
        return _ok(request, result, headers)

    def _authenticated(self, request: Request) -> User:
        name, password = _credentials(request)
        user = authenticate(self._users, name, password)
        if user is None:
            raise EngineError(
                516,
                f"{name[:80]}: Authentication failed: password is incorrect, or there is no user with such name. "
                "The user is `reader`, the password ELL_OTEL_TOKEN or the token in the .ell folder. "
                "(AUTHENTICATION_FAILED)",
            )
        return user

    def _error(self, code: int, message: str, headers: dict[str, str]) -> Response:
        status = _STATUS.get(code, 500)
        headers["X-ClickHouse-Exception-Code"] = str(code)
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ell-otel"'
        version = "" if "(version " in message else f" (version {self._engine.version})"
        return PlainTextResponse(f"Code: {code}. DB::Exception: {message}{version}\n", status, headers)


def _credentials(request: Request) -> tuple[str, str]:
    if "x-clickhouse-user" in request.headers or "x-clickhouse-key" in request.headers:
        return request.headers.get("x-clickhouse-user", ""), request.headers.get("x-clickhouse-key", "")
    if found := basic(request.headers.get("authorization")):
        return found
    return request.query_params.get("user", "default"), request.query_params.get("password", "")


async def _statement(request: Request) -> Statement:
    query = request.query_params
    if "1" in {query.get("compress"), query.get("decompress")}:
        raise EngineError(48, "ClickHouse's block compression is not spoken here; use gzip. (NOT_IMPLEMENTED)")
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise EngineError(48, "multipart forms are not read here; use the query string. (NOT_IMPLEMENTED)")
    body = await read_body(request, _BODY_BYTES)
    named = query.get("query", "").encode()
    others = {name: value for name, value in query.items() if name not in _OURS}
    return Statement(
        b"\n".join(part for part in (named, body) if part),
        query.get("default_format") or request.headers.get("x-clickhouse-format") or _DEFAULT_FORMAT,
        {name.removeprefix(_PARAMETER): value for name, value in others.items() if name.startswith(_PARAMETER)},
        {name: value for name, value in others.items() if not name.startswith(_PARAMETER)},
        query.get("database") or request.headers.get("x-clickhouse-database") or "",
        writes=request.method == "POST",
    )


def _ok(request: Request, result: Result, headers: dict[str, str]) -> Response:
    headers["X-ClickHouse-Summary"] = json.dumps(
        {
            "read_rows": str(result.read_rows),
            "read_bytes": str(result.read_bytes),
            "written_rows": str(result.written_rows),
            "elapsed_ns": str(result.elapsed_ns),
        }
    )
    if result.format:
        headers["X-ClickHouse-Format"] = result.format
    body = result.body
    if request.query_params.get("enable_http_compression") == "1" and len(body) >= _GZIP_FROM and _takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=1)
    media = "application/json" if result.format.startswith("JSON") else "text/plain; charset=UTF-8"
    return Response(body, headers=headers, media_type=media)


def _takes_gzip(request: Request) -> bool:
    accepted = request.headers.get("accept-encoding", "").lower()
    return any(part.strip().partition(";")[0] == "gzip" for part in accepted.split(","))
