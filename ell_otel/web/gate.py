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

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})


class Gate:
    """ASGI middleware: 421 for a ``Host`` that is not ours, 403 for a request that a foreign page made.

    ``host`` is the address that the port is bound to. A wildcard address has no name of its own, so there any ``Host``
    passes: such a port never opens without a token, which a rebound page does not have.
    """

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._names = None if host in _WILDCARDS else _LOOPBACK_NAMES | {host.strip("[]").lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if refusal := self._refusal(Headers(scope=scope)):
            status, message = refusal
            await PlainTextResponse(f"{message}\n", status)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._ours(f"//{host}"):
            return 421, f"Host {host[:200]!r} is not a name of this server; use 127.0.0.1, or bind it with --host"
        origin = headers.get("origin")
        if origin is not None and not self._ours(origin):
            return 403, f"Origin {origin[:200]!r} may not use this server: only pages served from this machine may"
        if headers.get("sec-fetch-site", "none") == "cross-site":
            return 403, "Sec-Fetch-Site: cross-site: a page of another site may not use this server"
        return None

    def _ours(self, url: str) -> bool:
        """Whether the URL's host, whatever its port, is one of our names."""
        try:
            name = (urlsplit(url).hostname or "").rstrip(".").lower()
        except ValueError:
            return False
        if self._names is None:
            return True
        return name in self._names or (is_loopback(name) and "localhost" in self._names)


def same_secret(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much of ``given`` is right."""
    return secrets.compare_digest(given.encode(), expected.encode())


def bearer(authorization: str | None) -> str:
    """The token of an ``Authorization: Bearer …`` header; empty when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
