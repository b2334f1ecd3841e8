"""One ASGI application on one port, on a thread and an event loop of its own.

The port is bound before the thread starts, so that a port in use is a ``ConfigError`` for whoever starts us, with the
holder's name when ``/proc`` tells it, and never a line in a log that nobody reads.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import uvicorn

from ell_otel.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_START_S: Final = 10.0
_CONNECTIONS: Final = 256
_WAITING: Final = 512  # connections that the system holds until they are accepted
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_SAY_AGAIN_S: Final = 60.0
_LISTENING: Final = "0A"  # the state column of /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Tls:
    """Files (PEM) of a certificate and its key, and, for mutual TLS, of who must have signed a client's; else empty."""

    cert: str
    key: str
    client_ca: str = ""

    def read(self, which: Literal["cert", "key", "client_ca"]) -> bytes:
        """The bytes of one of the files. Raises ``ConfigError``."""
        path = Path(getattr(self, which))
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(f"--tls-{which.replace('_', '-')} {path} cannot be read: {error.strerror}") from error

    def check(self) -> None:
        """Raise the ``ConfigError`` that serving with these would."""
        for which in ("cert", "key"):
            self.read(which)
        if self.client_ca:
            self.read("client_ca")
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.cert, self.key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"--tls-cert {self.cert} and --tls-key {self.key} cannot be served: {error}") from error

    def for_uvicorn(self) -> dict[str, Any]:
        made: dict[str, Any] = {"ssl_certfile": self.cert, "ssl_keyfile": self.key}
        if self.client_ca:
            made |= {"ssl_ca_certs": self.client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return made


class HttpListener:
    """Serves ``app`` on ``host:port`` between ``start()`` and ``stop()``.

    ``name`` is what people are told is listening; ``flag`` is the command-line option that sets the port, for the
    message when it is taken. ``port`` is the one asked for until ``start()`` has bound, then the one in force.
    ``stopped`` is called when the last answer has been given.
    """

    def __init__(
        self,
        name: str,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        flag: str,
        tls: Tls | None = None,
        stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self._flag = flag
        self._stopped = stopped
        self._config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="error",  # our own mistakes, not those of whoever sends us noise
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            backlog=_WAITING,
            **(tls.for_uvicorn() if tls else {}),
        )
        self._server = uvicorn.Server(self._config)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and serve. Raises ``ConfigError`` when the address cannot be had."""
        bound = _bind(self.host, self.port, self._flag)
        self.port = bound.getsockname()[1]
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(bound)), name=f"ell-otel {self.name}", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ConfigError(f"{self.name} did not start on {self.host}:{self.port}")
            time.sleep(0.005)

    async def _serve(self, bound: socket.socket) -> None:
        asyncio.get_running_loop().set_exception_handler(_Exhaustion(self.name))
        await self._server.serve(sockets=[bound])

    def stop(self, deadline_s: float) -> None:
        """Accept nothing more; let what is being answered finish, at most ``deadline_s`` seconds."""
        if self._thread is None:
            return
        self._config.timeout_graceful_shutdown = max(1, int(deadline_s))
        self._server.should_exit = True
        self._thread.join(deadline_s + 1.0)
        self._thread = None
        self._stopped()


class _Listening(socket.socket):
    """A listening socket that is asked for a connection once, and not again at once, when no descriptor is left.

    asyncio (3.11 to 3.13) asks as often as connections may wait, and sets a timer for another such round each time:
    after seconds that is all of a core.
    """

    _again = 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        if time.monotonic() < self._again:
            raise BlockingIOError(errno.EAGAIN, "no descriptor was left a moment ago")
        try:
            return super().accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._again = time.monotonic() + 0.5  # asyncio comes again after a second
            raise


class _Exhaustion:
    """An event loop's exception handler: no descriptor left for a connection is one line a minute, and no traceback."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = -_SAY_AGAIN_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _EXHAUSTED:
            loop.default_exception_handler(context)
        elif time.monotonic() - self._said >= _SAY_AGAIN_S:
            self._said = time.monotonic()
            logging.getLogger(__name__).warning(
                "%s: no connection can be accepted for now, they wait (%s); see `ulimit -n`", self._name, error.strerror
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a port bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_address(host: str, port: int, flag: str) -> None:
    """Raise the ``ConfigError`` that binding here would: for servers that bind for themselves and say less."""
    _bind(host, port, flag).close()


def _bind(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = _Listening(family, socket.SOCK_STREAM)
    # Lets a restart have the port while old connections linger in TIME_WAIT; it does not share a port in use.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen(_WAITING)
    except OSError as error:
        listening.close()
        raise _address_error(error, host, port, flag) from error
    except OverflowError as error:
        listening.close()
        raise ConfigError(f"{flag} {port} is not a port: it takes 0 to 65535") from error
    return listening


def _address_error(error: OSError, host: str, port: int, flag: str) -> ConfigError:
    if error.errno != errno.EADDRINUSE:
        return ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}; see --host and {flag}")
    holder = _holder(port)
    by = f" by {holder}" if holder else ""
    return ConfigError(f"port {port} is in use{by}; choose another with `{flag} PORT`, or `{flag} 0` for any free port")


def _holder(port: int) -> str:
    """``process 123 (python app.py)``, or empty when it cannot be found out (other users' processes, no /proc)."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) in sockets for link in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {process.name} ({command[:120]})"
        except OSError:  # it ended meanwhile, or it is not ours to look at
            continue
    return ""


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
