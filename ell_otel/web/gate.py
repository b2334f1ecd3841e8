"""Keeps web pages away from ports on loopback.

A browser on this machine can reach our ports, so a page anywhere can try: by name (DNS rebinding: its own name made to
point at 127.0.0.1) or directly (a cross-site request whose answer it cannot read, but whose effect would stay). Both
carry headers that the page cannot forge: ``Host`` for the first, ``Sec-Fetch-Site`` and ``Origin`` for the second.
Programs that are not browsers send neither of the last two and pass.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from ell_otel.web.listener import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - recognised here, bound nowhere


class Gate:
    """ASGI middleware: 421 for a ``Host`` that is not ours, 403 for a request that a foreign page made.

    ``host`` is the address that the port is bound to. A wildcard address has no name of its own, so there any ``Host``
    passes: such a port never opens without a token, which a rebound page does not have.
    """

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._names = None if host in _WILDCARDS else frozenset({host.strip("[]").lower()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if refusal := self._refusal(Headers(scope=scope)):
            status, message = refusal
            await PlainTextResponse(f"{message}\n", status)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _hostname(f"//{host}")
        if not name or not (self._names is None or name in self._names or is_loopback(name)):
            return 421, f"Host {host[:200]!r} is not a name of this server; use 127.0.0.1, or bind it with --host"
        if origin is not None and not _trusted(_hostname(origin), name):
            return 403, f"Origin {origin[:200]!r} may not use this server: only pages served from this machine may"
        if headers.get("sec-fetch-site", "none") == "cross-site":
            return 403, "Sec-Fetch-Site: cross-site: a page of another site may not use this server"
        return None


def _trusted(origin: str, host: str) -> bool:
    """A page of the host that it asks, or of any program on this machine, whatever the port."""
    return origin == host or is_loopback(origin)


def _hostname(url: str) -> str:
    """The URL's host without its port; empty when it has none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def same_secret(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much of ``given`` is right."""
    return secrets.compare_digest(given.encode(), expected.encode())


def bearer(authorization: str | None) -> str:
    """The token of an ``Authorization: Bearer …`` header; empty when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
