"""The life of ``ell-otel serve``: what starts, in which order, and how it ends.

::

    start   store ─▶ migrate ─▶ drain what was left ─▶ log ─▶ receivers ─▶ fronts ─▶ announce ─▶ delivery
    stop    receivers ─▶ log ─▶ fronts ─▶ delivery (of what was accepted, as far as time allows) ─▶ store

Whatever starts and stops is a ``Component``:

* ``start()`` returns when the component works, or raises a ``ConfigError`` that names the remedy; after an error it
  holds nothing and ``stop`` is not called.
* ``port`` is the one in force once ``start()`` has returned; ``name`` is what people are told is listening on it.
* ``stop(deadline_s)`` accepts nothing more, finishes what it has, and returns within about ``deadline_s`` seconds,
  finished or not. It raises nothing. It is called once.

The receivers are ours. The fronts (ClickHouse's HTTP interface, the REST API) belong to ``server``, which this package
does not know; whoever composes the two gives ``fronts``, a function from the open store to components.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, Protocol

from ell_otel.config import Settings, find_directory, make_directory
from ell_otel.errors import ConfigError, StoreLockedError
from ell_otel.ingest.counters import Counters
from ell_otel.ingest.delivery import Delivery
from ell_otel.ingest.forward import OtlpSink
from ell_otel.ingest.log import LOG_NAME, Log
from ell_otel.ingest.receivers import GrpcReceiver, Intake, http_receiver
from ell_otel.ingest.sink import Sink, StoreSink
from ell_otel.store.client import Store, open_store, read_lock
from ell_otel.store.merging import let_others_go_first
from ell_otel.store.migrate import migrate
from ell_otel.telemetry.segments import SPOOL_NAME
from ell_otel.web.listener import Tls, is_loopback

PURPOSE: Final = "ell-otel serve"
CLICKHOUSE: Final = "ClickHouse HTTP"  # the name of the component whose port is announced in the lock file
STOP_S: Final = 10.0
# The kernel may hand a signal to any thread, and Python runs its handler in the main one, which a wait without an end
# would never wake. So the wait ends, this often (seconds).
NOTICE_S: Final = 0.5


class Component(Protocol):
    """Something that listens. The contract is in this module's docstring."""

    @property
    def name(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    def start(self) -> None: ...
    def stop(self, deadline_s: float) -> None: ...


Fronts = Callable[[Store, Counters], Sequence[Component]]


def _no_fronts(store: Store, counters: Counters) -> Sequence[Component]:
    return ()


class Service:
    """The embedded collector and the fronts given to it.

    ``narrate`` is told, in sentences, what a person would want to know; nothing is printed here. ``stop_s`` is the
    time in seconds that stopping may take in all.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        fronts: Fronts = _no_fronts,
        narrate: Callable[[str], None] = lambda _: None,
        stop_s: float = STOP_S,
    ) -> None:
        self.counters = Counters()
        self.components: list[Component] = []
        self._settings = settings
        self._directory = find_directory(settings)
        self._fronts = fronts
        self._narrate = narrate
        self._stop_s = stop_s
        # Of what wakes a thread, the one thing that a signal's handler may use: an Event it finds locked by the very
        # wait that it interrupts.
        self._ending: SimpleQueue[None] = SimpleQueue()
        self._store: Store | None = None
        self._log: Log | None = None
        self._delivery: Delivery | None = None

    @property
    def where(self) -> str:
        """The name of the store or collector that is written to; empty when not started."""
        if self._settings.forward and self._delivery is not None:
            return self._settings.forward
        return self._store.name if self._store is not None else ""

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Start, tell ``ready``, serve until SIGINT, SIGTERM or ``end()``, stop. Raises what ``start`` raises."""
        with self._signals():
            self.start()
            try:
                ready()
                self._wait()
            finally:
                self._narrate("stopping: writing what was accepted")
                self.stop()

    def _wait(self) -> None:
        while True:
            with suppress(Empty):
                return self._ending.get(timeout=NOTICE_S)

    def end(self) -> None:
        """Make ``run`` return, from any thread."""
        self._ending.put(None)

    def start(self) -> None:
        """Start everything, in order; when a part cannot, stop those before it and raise its error."""
        _refuse_open_door(self._settings)
        try:
            self._start_parts()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything within the deadline. What was acknowledged is in the log, whatever happens here."""
        until = time.monotonic() + self._stop_s
        receivers, fronts = self.components[:2], self.components[2:]
        self.components = []
        for receiver in receivers:
            receiver.stop(_left(until) / 2)
        if self._log is not None:
            self._log.close()
        for front in fronts:
            front.stop(_left(until) / 2)
        if self._delivery is not None:
            self._delivery.stop(_left(until))
        if self._store is not None:
            self._store.close()
        self._log = self._delivery = self._store = None

    def _start_parts(self) -> None:
        settings, tls = self._settings, _tls(self._settings)
        sink, folders = self._open_sink()
        _make(self._directory)  # where the store is elsewhere, nobody has made it yet
        delivery = self._delivery = Delivery(self._directory, folders, sink, self.counters, self._narrate)
        delivery.turn()
        self._log = Log(
            self._directory / folders[-1],
            limit=settings.spool_bytes,
            segment_bytes=settings.segment_bytes,
            on_append=delivery.wake,
        )
        intake = Intake(self._log, self.counters, limit=settings.request_bytes, token=settings.ingest_token)
        self._listen(GrpcReceiver(intake, host=settings.host, port=settings.grpc_port, tls=tls))
        self._listen(http_receiver(intake, host=settings.host, port=settings.http_port, tls=tls))
        for front in self._fronts(self._store, self.counters) if self._store is not None else ():
            self._listen(front)
        delivery.start()

    def _open_sink(self) -> tuple[Sink, list[str]]:
        """Where to deliver, and from which folders; the last is the log. Apart from the spool where the store is not
        ours, for a command without --store would drain the spool into the one beside it."""
        if self._settings.forward:
            return OtlpSink(self._settings.forward, self._settings.forward_headers), [SPOOL_NAME, LOG_NAME]
        store = self._store = _open(self._settings, self._directory)
        if store.local:
            migrate(store, self._settings)
            let_others_go_first()
        return StoreSink(store), [SPOOL_NAME] if store.local else [SPOOL_NAME, LOG_NAME]

    def _listen(self, component: Component) -> None:
        component.start()
        self.components.append(component)
        self._narrate(f"{component.name} on {component.host}:{component.port}")
        if component.name == CLICKHOUSE and self._store is not None and self._store.local:
            self._store.announce(clickhouse_port=component.port)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end ``run``; a second one, while stopping, has the effect it had before us."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers; ``end()`` ends us
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def end(number: int, frame: FrameType | None) -> None:
            for each, handler in before.items():
                signal.signal(each, handler)
            self._ending.put(None)

        for number in before:
            signal.signal(number, end)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _refuse_open_door(settings: Settings) -> None:
    if not is_loopback(settings.host) and not settings.ingest_token:
        raise ConfigError(
            f"--host {settings.host} lets other machines send, so it needs a token: set ELL_OTEL_INGEST_TOKEN "
            "(senders: OTEL_EXPORTER_OTLP_HEADERS='Authorization=Bearer%20…'), or leave --host out"
        )


def _make(directory: Path) -> None:
    try:
        make_directory(directory)
    except OSError as error:
        raise ConfigError(
            f"cannot use {directory}: {error.strerror}. Give write permission there, or name another folder with --dir"
        ) from error


def _tls(settings: Settings) -> Tls | None:
    if not (settings.tls_cert or settings.tls_key or settings.tls_client_ca):
        return None
    if not (settings.tls_cert and settings.tls_key):
        raise ConfigError("TLS takes both --tls-cert and --tls-key (or ELL_OTEL_TLS_CERT and ELL_OTEL_TLS_KEY)")
    tls = Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    tls.check()
    return tls


def _open(settings: Settings, directory: Path) -> Store:
    store = open_store(settings, purpose=PURPOSE)
    if store.local or settings.store.startswith(("http://", "https://")):
        return store
    # Another server holds the store, and we have just been connected to it as a reader.
    store.close()
    holder = read_lock(directory)
    pid = f"process {holder.pid} ({holder.purpose})" if holder else "another process"
    remedy = f"stop it with `kill {holder.pid}`, or" if holder else "stop it, or"
    raise StoreLockedError(f"{pid} serves {directory} already: {remedy} send to it; another store is --dir DIR")


def _left(until: float) -> float:
    return max(0.1, until - time.monotonic())
