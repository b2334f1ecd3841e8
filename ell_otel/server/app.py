"""The REST API: read-only JSON over the store's queries, for a bearer of the read token.

``{"data": …}`` on success; ``{"error": …}`` otherwise, with what to do about it. ``/healthz`` and ``/metrics`` ask for
no token and hold nothing of anyone's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response

from ell_otel.errors import ConfigError, EllOtelError, NotFoundError, StoreError
from ell_otel.server.routes import routes
from ell_otel.store.client import Store
from ell_otel.web.gate import Gate, bearer, same_secret
from ell_otel.web.listener import HttpListener

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

NAME: Final = "REST API"
OPEN_PATHS: Final = frozenset({"/healthz", "/metrics"})
_STATUS: Final = ((NotFoundError, 404), (ConfigError, 400), (StoreError, 503))


def listener(store: Store, token: str, *, host: str, port: int, metrics: Callable[[], str] = str) -> HttpListener:
    """The API on ``host:port``. ``metrics`` gives the text of ``/metrics``, in Prometheus' format."""
    return HttpListener(
        NAME, application(store, token, host=host, metrics=metrics), host=host, port=port, flag="--port"
    )


def application(store: Store, token: str, *, host: str, metrics: Callable[[], str] = str) -> Starlette:
    """The API as an ASGI application."""
    app = Starlette(
        routes=routes(metrics),
        middleware=[Middleware(Gate, host=host), Middleware(_TokenCheck, token=token)],
        exception_handlers={EllOtelError: _error, HTTPException: _http_error},
    )
    app.state.store = store
    return app


class _TokenCheck:
    """ASGI middleware: 401 for all but the open paths, unless the request bears the token."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        given = bearer(headers.get(b"authorization", b"").decode("latin-1"))
        if scope["path"] in OPEN_PATHS or same_secret(given, self._token):
            await self._app(scope, receive, send)
            return
        told = "send `Authorization: Bearer <token>`: ELL_OTEL_TOKEN, or the token file in the .ell folder"
        answer = JSONResponse({"error": told}, 401, {"www-authenticate": "Bearer"})
        await answer(scope, receive, send)


def _error(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return JSONResponse({"error": str(error)}, status)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
