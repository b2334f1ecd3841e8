"""What the server has accepted and the sink has not: its log, in the spool's own format.

A request is acknowledged when its frame is fsync'd, and one fsync serves every request that has come by then. So the
answer takes as long as the disk and not as long as the store, an outage of the store is none of the senders', and the
size of an insert does not depend on how many of them there are. Where the store is ours the log is the spool itself:
what programs append and what the server accepts take one way from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ell_otel.errors import ExportError, OverloadedError, SpoolFullError, StoreError
from ell_otel.telemetry.budget import Budget
from ell_otel.telemetry.segments import Kind
from ell_otel.telemetry.spool import SegmentWriter

LOG_NAME: Final = "log"
"""The folder inside the ``.ell`` folder where the log is kept apart from the spool: for a sink elsewhere."""


class Log:
    """Appends requests durably, from many threads. ``limit`` bytes bound its folder; 0: any number.

    ``on_append`` is told the size of each, so that delivery need not look at the clock.
    """

    def __init__(
        self, folder: Path, *, limit: int, segment_bytes: int, on_append: Callable[[int], None] = lambda _: None
    ) -> None:
        self.folder = folder
        self._writer = SegmentWriter(folder, segment_bytes=segment_bytes, durability="caller", budget=Budget(limit))
        self._on_append = on_append
        self._appending = threading.Lock()
        self._syncing = threading.Lock()
        self._appended = 0  # these three number the requests: given to the system, durable, and lost before they were
        self._synced = 0
        self._failed = 0
        self._closed = False

    def append(self, kind: Kind, payload: bytes) -> None:
        """Make a request durable. Raises ``OverloadedError`` when the log is full, ``StoreError`` when it cannot."""
        try:
            ticket = self._write(kind, payload)
            self._sync(ticket)
        except SpoolFullError as error:
            raise OverloadedError(f"the store is behind: {error}") from error
        except ExportError as error:
            raise StoreError(f"the request could not be made durable: {error}") from error
        self._on_append(len(payload))

    def close(self) -> None:
        """Accept nothing more, and give up the segment, so that delivery may remove it."""
        with self._appending:
            self._closed = True
            try:
                self._writer.close()
            except ExportError:
                self._failed = self._appended

    def _write(self, kind: Kind, payload: bytes) -> int:
        with self._appending:
            if self._closed:
                raise OverloadedError("this server is stopping; send again to the next one")
            try:
                self._writer.append(kind, payload)
            except SpoolFullError:
                raise  # which synced what came before
            except ExportError:
                self._failed = self._appended  # with the segment go those in it that were not yet synced
                raise
            self._appended += 1
            return self._appended

    def _sync(self, ticket: int) -> None:
        with self._syncing:
            if ticket <= self._synced:
                return  # another's fsync came after our write
            with self._appending:
                through, failed = self._appended, self._failed
            if ticket <= failed:
                raise ExportError("a write or fsync of the log failed; the request was not kept")
            try:
                self._writer.sync()
            except ExportError:
                with self._appending:
                    self._failed = self._appended  # with the segment go those that were written meanwhile
                raise
            with self._appending:
                failed = self._failed
            if ticket <= failed:  # another's write failed meanwhile, and the segment was given up before its sync
                raise ExportError("a write or fsync of the log failed; the request was not kept")
            self._synced = through


class Clock:
    """How long the oldest thing that is not delivered has waited."""

    def __init__(self) -> None:
        self._arrived: float | None = None
        self._taken: float | None = None

    def arrive(self) -> None:
        """Something has come that waits from now on."""
        if self._arrived is None:
            self._arrived = time.monotonic()

    def take(self) -> None:
        """All that has come is being delivered."""
        if self._taken is None:
            self._taken, self._arrived = self._arrived, None

    def deliver(self) -> None:
        """What was taken has been delivered."""
        self._taken = None

    def lag_s(self) -> float:
        """Seconds; 0 when nothing waits."""
        oldest = self._taken if self._taken is not None else self._arrived
        return 0.0 if oldest is None else time.monotonic() - oldest
