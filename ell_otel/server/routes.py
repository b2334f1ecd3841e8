"""The paths of the REST API, static ones before those with a name in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ell_otel.errors import ConfigError
from ell_otel.store import queries
from ell_otel.store.client import Store
from ell_otel.store.queries import InvocationFilter

if TYPE_CHECKING:
    from starlette.requests import Request

_PAGE: Final = 100
_PAGE_MOST: Final = 1000
_STATUS: Final = re.compile(r"ok|error")
_CURSOR: Final = re.compile(r"\d{1,19}\.[0-9a-f]{0,16}")
_TEXTS: Final = ("program", "version", "status", "model", "text")


def routes(metrics: Callable[[], str]) -> list[Route]:
    """Every route. The application's ``state.store`` is what they read."""
    return [
        Route("/healthz", lambda _: PlainTextResponse("ok\n")),
        Route("/metrics", lambda _: PlainTextResponse(metrics())),
        Route("/api/programs", _programs),
        Route("/api/invocations", _invocations),
        Route("/api/programs/{name}/versions", _versions),
        Route("/api/versions/{reference}", _version),
        Route("/api/invocations/{id}", _invocation),
    ]


async def _programs(request: Request) -> Response:
    return await _answer(queries.programs, _store(request))


async def _versions(request: Request) -> Response:
    return await _answer(queries.versions, _store(request), request.path_params["name"])


async def _version(request: Request) -> Response:
    return await _answer(queries.find_version, _store(request), request.path_params["reference"])


async def _invocation(request: Request) -> Response:
    return await _answer(queries.find_invocation, _store(request), request.path_params["id"])


async def _invocations(request: Request) -> Response:
    """``?program= version= status= model= text= since= min_ms= limit= before=``, newest first."""
    query = request.query_params
    texts = {name: query[name] for name in _TEXTS if query.get(name)}
    _check(query, "status", _STATUS, "ok or error")
    _check(query, "before", _CURSOR, "the cursor of the last invocation of the page before")
    wanted = InvocationFilter(**texts, since=_time(query.get("since", "")), min_ms=_number(query, "min_ms", 0.0))
    limit = min(max(1, int(_number(query, "limit", _PAGE))), _PAGE_MOST)
    return await _answer(queries.invocations, _store(request), wanted, limit, query.get("before", ""))


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _answer(query: Callable[..., Any], *arguments: object) -> Response:
    found = await run_in_threadpool(query, *arguments)
    return JSONResponse({"data": _plain([asdict(row) for row in found] if isinstance(found, list) else asdict(found))})


def _plain(value: Any) -> Any:
    """What JSON has a word for: times in ISO 8601; not-a-number becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN is not itself


def _check(query: Any, name: str, form: re.Pattern[str], takes: str) -> None:
    text = query.get(name, "")
    if text and not form.fullmatch(text):
        raise ConfigError(f"{name}={text[:40]!r} cannot be used: it takes {takes}")


def _number(query: Any, name: str, default: float) -> float:
    text = query.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e15:
        raise ConfigError(f"{name}={text[:40]!r} cannot be used: it takes a number, 0 or more")
    return number


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"since={text[:40]!r} cannot be used: it takes a time such as 2026-11-21T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
