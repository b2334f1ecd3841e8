"""Opening the store and speaking to it: one class for chDB in this process and for a ClickHouse over HTTP.

Facts of the engine that shape this module (chDB 4.4, clickhouse-connect 1.12):

* A process can have one chDB directory open at a time, and a directory can be open in one process. ``store.lock`` sees
  to the second; the first is the engine's own limit, and opening another path meanwhile is a ``StoreError``.
* Any number of clients can share that engine. Each has a lock, so every thread gets its own; connecting is not
  thread-safe in the engine, so that is serialised here.
* The engine does not survive ``fork``: a child that queries hangs for ever. A store used in a child raises instead.
* A parameter ``{name:Type}`` is bound by the engine. Maps cannot be bound; strings, numbers, times, arrays can.
* Importing chdb takes half a second and connecting another half, so both happen here and only when a store is opened.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from ell_otel.config import Settings, find_directory, make_directory
from ell_otel.errors import ConfigError, InstrumentationError, StoreError, StoreLockedError
from ell_otel.store.explain import explain, hide_password
from ell_otel.store.lock import STORE_NAME, Lock, LockInfo, holder, read_lock
from ell_otel.store.memory import engine_limit

__all__ = ["LockInfo", "Store", "open_store", "read_lock"]

READER: Final = "reader"
TOKEN_NAME: Final = "token"  # noqa: S105 - the name of the file
_NO_PARAMETERS: Final[Mapping[str, object]] = {}
_POLL_S: Final = 0.05
_CONNECT_TIMEOUT_S: Final = 5

# For merges: chDB's own default is sized for a server. A short one does not wait for a long one.
_CHDB_OPTIONS: Final = {
    "background_pool_size": 1,
    "background_merges_mutations_scheduling_policy": "shortest_task_first",
}

# Compiling a query to machine code takes 200 ms, at its third run; ours take 20 to 50 without. And by default a query
# gets a thread for each gigabyte that is free, which with our limit is one.
ASKING: Final = {
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    "max_threads_min_free_memory_per_thread": 128 << 20,
}
"""Settings for whoever asks chDB, through a handle of their own."""

# In our tables rows may be left out before their copies are (FINAL), by the filter and by an index, since copies are
# equal in every column.
_CHDB_SETTINGS: Final = {
    **ASKING,
    "optimize_move_to_prewhere_if_final": 1,
    "use_skip_indexes_if_final_exact_mode": 0,
}

# Held while any client or handle of the engine is made in this process, whoever makes it.
connecting: Final = threading.Lock()


def open_store(settings: Settings, *, purpose: str, wait_s: float = 5.0) -> Store:
    """The store in force: the DSN of the settings when given, else chDB in the ``.ell`` folder.

    The folder is made when absent. When ``ell-otel serve`` holds it, the store is reached through that server and
    is not ``local``. When another process holds it, this waits up to ``wait_s`` seconds and then raises
    is not ``local``. When another process holds it, this waits up to ``wait_s`` seconds and then raises
    ``StoreLockedError``, which names that process. A DSN that is none is a ``ConfigError``, a missing package an
    ``InstrumentationError`` with the pip line, any other failure a ``StoreError`` with the remedy. ``purpose`` is what
    others will read about us.
    """
    dsn = settings.store
    try:
        urlsplit(dsn)
    except ValueError as error:
        raise ConfigError(f"{dsn!r} is no store: {error}. Write http://…, https://… or chdb:///absolute/path") from None
    if dsn.startswith(("http://", "https://")):
        return _over_http(hide_password(dsn), _address(dsn))
    if dsn and not (dsn.startswith("chdb:///") and Path(urlsplit(dsn).path).name):
        raise ConfigError(f"{hide_password(dsn)} is no store: write http://…, https://… or chdb:///absolute/path")
    path = Path(unquote(urlsplit(dsn).path)) if dsn else find_directory(settings) / STORE_NAME
    _make_parent(path, own=not dsn)
    return _open_local(path, settings, purpose, time.monotonic() + wait_s)


class Store:
    """An open store. A context manager; usable from several threads. One per process for chDB.

    ``local`` is True when this process holds the chDB directory, and so may drain the spool and migrate.
    ``name`` is for messages; it holds no password.
    """

    def __init__(self, name: str, connection: Mapping[str, object], lock: Lock | None = None) -> None:
        self.name = name
        self.local = lock is not None
        self._connection = connection
        self._lock = lock
        self._pid = os.getpid()
        self._closed = False
        self._thread = threading.local()
        self._clients: weakref.WeakSet[Any] = weakref.WeakSet()
        self._columns: dict[str, frozenset[str]] = {}

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] = _NO_PARAMETERS,
        settings: Mapping[str, object] = _NO_PARAMETERS,
    ) -> list[dict[str, object]]:
        """The rows of a SELECT, each a dict by column; times are aware. Parameters are bound as ``{name:Type}``."""
        try:
            result = self._client().query(sql, parameters=dict(parameters), settings=dict(settings))
        except Exception as error:
            raise self._explained(error) from error
        names = result.column_names
        return [dict(zip(names, row, strict=True)) for row in result.result_rows]

    def command(self, sql: str, parameters: Mapping[str, object] = _NO_PARAMETERS) -> None:
        """Run a statement that returns nothing."""
        try:
            self._client().command(sql, parameters=dict(parameters))
        except Exception as error:
            raise self._explained(error) from error

    def insert(
        self,
        table: str,
        columns: Sequence[str],
        types: Sequence[str],
        data: Sequence[Sequence[object]],
        settings: Mapping[str, object] = _NO_PARAMETERS,
    ) -> None:
        """Insert rows given column by column, in one block: all of them are stored when this returns, or none."""
        try:
            self._client().insert(
                table,
                data,
                column_names=columns,
                column_type_names=types,
                column_oriented=True,
                settings=dict(settings),
            )
        except Exception as error:
            raise self._explained(error) from error

    def columns(self, table: str) -> frozenset[str]:
        """The column names of a table; empty when there is no such table. Remembered once the table exists."""
        if table not in self._columns:
            sql = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
            names = frozenset(str(row["name"]) for row in self.query(sql, {"table": table}))
            if not names:
                return names
            self._columns[table] = names
        return self._columns[table]

    def announce(self, *, clickhouse_port: int) -> None:
        """Publish the port of the ClickHouse interface this process serves, for those who find the store locked."""
        if self._lock is None:
            raise StoreError(f"{self.name} is not held by this process, so there is nothing to announce")
        self._lock.announce(clickhouse_port)

    @property
    def closed(self) -> bool:
        """Whether it can be asked nothing more."""
        return self._closed

    def close(self) -> None:
        """Close every client and give the directory back. A second close does nothing."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        for client in list(self._clients):
            client.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _client(self) -> Any:
        if self._pid != os.getpid():
            raise StoreError(f"{self.name} was opened before a fork; open a store in the new process")
        if self._closed:
            raise StoreError(f"{self.name} has been closed")
        client = getattr(self._thread, "client", None)
        if client is None:
            client = self._thread.client = self._connect()
            self._clients.add(client)
        return client

    def _connect(self) -> Any:
        library = _import_clickhouse_connect()
        # Over HTTP no lock: the server that answers may be in this process, and need it.
        with connecting if self.local else nullcontext():
            try:
                return library.get_client(tz_mode="aware", **self._connection)
            except ImportError as error:
                if getattr(error.__cause__, "name", None) != "chdb":
                    raise
                raise InstrumentationError("chdb is not installed: pip install 'ell-otel[local]'") from None

    def _explained(self, error: Exception) -> Exception:
        return explain(error, self.name)


def _open_local(path: Path, settings: Settings, purpose: str, deadline: float) -> Store:
    while True:
        try:
            lock = Lock.acquire(path, purpose)
        except OSError as error:
            raise explain(error, str(path)) from error
        if lock is not None:
            return _with_chdb(path, lock)
        info = holder(path)
        served = info is not None and info.clickhouse_port != 0
        try:
            if info is not None and served:
                return _through_server(path, settings, info)
        except StoreError as error:
            # A server that has just died, or just begun: its lock goes, or its port answers, in a moment.
            if not error.retryable or time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline and info is not None:
            raise _locked(path, info)
        time.sleep(_POLL_S)


def _with_chdb(path: Path, lock: Lock) -> Store:
    options = {**_CHDB_OPTIONS, "max_server_memory_usage": engine_limit()}
    engine = {"interface": "chdb", "path": str(path), "chdb_options": options, "settings": _CHDB_SETTINGS}
    return _checked(Store(str(path), engine, lock))


def _through_server(path: Path, settings: Settings, info: LockInfo) -> Store:
    token = settings.token
    if not token:
        try:
            token = path.with_name(TOKEN_NAME).read_text(encoding="ascii").strip()
        except OSError as error:
            raise StoreError(
                f"process {info.pid} ({info.purpose}) holds {path}, and its read token cannot be read from "
                f"{path.with_name(TOKEN_NAME)} ({error.strerror}): set ELL_OTEL_TOKEN"
            ) from error
    address = {"host": "127.0.0.1", "port": info.clickhouse_port, "username": READER, "password": token}
    return _over_http(f"http://127.0.0.1:{info.clickhouse_port}", {"interface": "http", **address})


def _over_http(name: str, address: Mapping[str, object]) -> Store:
    return _checked(Store(name, {"connect_timeout": _CONNECT_TIMEOUT_S, "autogenerate_session_id": False, **address}))


def _checked(store: Store) -> Store:
    """Connect now, so that whoever opens a store learns here whether it is there."""
    try:
        store._client()
    except (InstrumentationError, ImportError):
        store.close()
        raise
    except Exception as error:
        store.close()
        raise explain(error, store.name) from error
    return store


def _address(dsn: str) -> dict[str, str]:
    parts = urlsplit(dsn)
    # The library reads everything from a DSN except its scheme: without this, https would go out as plain http.
    address = {"dsn": dsn, "interface": parts.scheme}
    return address if parts.path.strip("/") else {**address, "database": "default"}


def _make_parent(path: Path, *, own: bool) -> None:
    try:
        if own:
            make_directory(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, str(path.parent)) from error


def _locked(path: Path, info: LockInfo) -> StoreLockedError:
    if not info.pid:
        return StoreLockedError(f"{path} is held by a process that is just starting: try again")
    return StoreLockedError(
        f"{path} is held by process {info.pid} ({info.purpose}). Wait for it to end, or stop it with "
        f"`kill {info.pid}`; to share a store between processes run `ell-otel serve`"
    )


def _import_clickhouse_connect() -> Any:
    try:
        import clickhouse_connect  # here: the core installs without it, and it is slow to import
    except ModuleNotFoundError as error:
        if error.name not in {"clickhouse_connect", "chdb"}:
            raise
        raise InstrumentationError("clickhouse-connect is not installed: pip install 'ell-otel[local]'") from None
    # What it has to say comes with the error; without a handler of its own the library says it on stderr besides.
    logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
    return clickhouse_connect
