"""Merging is the engine's housekeeping: nobody waits for it, and under a load it would take half of a laptop.

So it has a low priority, and while spans come faster than they are inserted it waits until they no longer do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ell_otel import semconv
from ell_otel.errors import StoreError
from ell_otel.store.client import Store

_TASKS: Final = Path("/proc/self/task")
_NAME: Final = "MergeMutate"
_NICER: Final = 10  # where others have work, it gets a tenth of what each of them does
_NICEST: Final = 19


def let_others_go_first() -> None:
    """Lower the priority of the engine's threads that merge, in this process. They are there once a table is.

    The engine has a setting for that, ``os_threads_nice_value_merge_mutate``, which it obeys only where a process may
    also raise a priority again, as root may (chDB 26.9). Lowering one's own is anybody's right. Only on Linux has each
    thread a priority of its own; elsewhere this does nothing.
    """
    for task in _TASKS.glob("*"):
        with suppress(OSError):  # it has ended meanwhile
            if (task / "comm").read_text().strip() == _NAME:
                nice = os.getpriority(os.PRIO_PROCESS, int(task.name))
                os.setpriority(os.PRIO_PROCESS, int(task.name), min(nice + _NICER, _NICEST))


_TABLES: Final = (semconv.TABLE_TRACES, semconv.TABLE_SPANS)
"""Each span becomes a row of both; the others are small."""
_MERGING: Final = "SELECT count() AS merges FROM system.merges"
_INSERTS: Final = 32  # of 32 MB: a gigabyte. Every part is read by a query that does not say when
_QUIET_S: Final = 1.0


class Merging:
    """Merging waits when one insert is begun beside another, until there has been none for a second.

    Only where nothing is being merged: to have it wait ends what is under way without a result, so merges that take
    longer than the pauses between two bursts would never be done. And for 32 inserts at most: of a load that does not
    end all parts but those of its beginning are merged while it lasts. A process that dies meanwhile leaves nothing
    behind: it is the process that waits, not the store.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._waits = False
        self._inserts = 0  # that it has waited for, in this burst
        self._timer: threading.Timer | None = None

    @contextmanager
    def insert(self, store: Store) -> Iterator[None]:
        """Around an insert into the store of this process."""
        with self._lock:
            self._begin(store)
        try:
            yield
        finally:
            with self._lock:
                self._end(store)

    def _begin(self, store: Store) -> None:
        self._under_way += 1
        if self._timer is not None:
            self._timer.cancel()
        if self._waits:
            self._inserts += 1
            if self._inserts >= _INSERTS:
                self._go_on(store)
        elif self._under_way > 1 and not self._inserts:
            with suppress(StoreError):  # it is only not as fast
                if store.query(_MERGING) == [{"merges": 0}]:
                    self._waits = True
                    _tell(store, "STOP")

    def _end(self, store: Store) -> None:
        self._under_way -= 1
        if not self._under_way and (self._waits or self._inserts):
            self._await_quiet(store)

    def _await_quiet(self, store: Store) -> None:
        self._timer = threading.Timer(_QUIET_S, self._after_a_pause, (store,))
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:  # no thread can be had
            self._end_of_burst(store)

    def _after_a_pause(self, store: Store) -> None:
        with self._lock:
            if not self._under_way:
                self._end_of_burst(store)
                if self._waits and not store.closed:  # it could not be told: again, for nothing else may come
                    self._await_quiet(store)

    def _end_of_burst(self, store: Store) -> None:
        self._inserts = 0
        if self._waits:
            self._go_on(store)

    def _go_on(self, store: Store) -> None:
        with suppress(StoreError):  # tried again: after a pause, and at each insert
            _tell(store, "START")
            self._waits = False


def _tell(store: Store, word: str) -> None:
    for table in _TABLES:
        store.command(f"SYSTEM {word} MERGES {table}")
