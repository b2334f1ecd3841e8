"""Many requests, one insert: the group commit between the receivers and the store.

::

    submit ──▶ [ waiting, bounded by bytes ] ──▶ gather ──▶ one insert ──▶ every request's future
                      │ full                        │ 25 ms, or enough rows or bytes
                      ▼                             ▼ refused by the store
                OverloadedError                halves, until the bad request stands alone

A request is acknowledged when its future resolves, and that is after the insert that holds its rows has been fsync'd:
there is no log of our own in between. While one insert runs, the next batch gathers, so the load sets the batch size.
An insert that is tried again may store rows twice; they collapse at merge and count once. Nothing here uses the
engine's insert-deduplication tokens, which can lose a batch that was acknowledged.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from ell_otel.errors import DecodeError, EllOtelError, OverloadedError, StoreError
from ell_otel.ingest.counters import Counters
from ell_otel.store.writer import Rows

GATHER_S: Final = 0.025
BATCH_ROWS: Final = 10_000
BATCH_BYTES: Final = 16 << 20
QUEUE_BYTES: Final = 64 << 20


@dataclass(eq=False, slots=True)
class _Request:
    rows: Rows
    size: int
    arrived: float
    stored: Future[None] = field(default_factory=Future)


class Batcher:
    """Gathers the rows of concurrent requests and writes them together, on one thread.

    ``write`` makes rows durable before it returns, or raises. The limits are seconds, rows and bytes.
    """

    def __init__(
        self,
        write: Callable[[Rows], None],
        counters: Counters,
        *,
        gather_s: float = GATHER_S,
        batch_rows: int = BATCH_ROWS,
        batch_bytes: int = BATCH_BYTES,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._write = write
        self._counters = counters
        self._gather_s = gather_s
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self._queue_bytes = queue_bytes
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._rows = 0  # of what is waiting
        self._bytes = 0  # of what is waiting and of what is being written
        self._closing = False
        self._oldest: float | None = None  # arrival of the oldest request not yet answered
        counters.lag_s = self.lag_s
        self._thread = threading.Thread(target=self._run, name="ell-otel batcher", daemon=True)
        self._thread.start()

    def submit(self, rows: Rows, size: int = 0) -> Future[None]:
        """A future that resolves when the rows are durable. ``size``, in bytes, is what they take of the bound.

        Raises ``OverloadedError`` at once when the bound is reached or the server is stopping.
        """
        request = _Request(rows, size, time.monotonic())
        with self._changed:
            if self._closing:
                raise OverloadedError("this server is stopping; send again to the next one")
            if self._bytes and self._bytes + size > self._queue_bytes:
                raise OverloadedError(f"{self._bytes >> 20} MiB are waiting to be stored; send again later")
            self._waiting.append(request)
            self._rows += rows.spans + rows.records
            self._bytes += size
            self._oldest = self._oldest or request.arrived
            self._changed.notify()
        return request.stored

    def close(self, timeout_s: float) -> None:
        """Accept nothing more, write what was accepted, and end. After ``timeout_s`` seconds the rest is refused."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            for request in self._waiting:
                request.stored.set_exception(OverloadedError("this server stopped before it had stored the request"))
            self._waiting.clear()

    def lag_s(self) -> float:
        """Age in seconds of the oldest request that has not been answered; 0 when none waits."""
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    def _run(self) -> None:
        while batch := self._gather():
            self._answer(batch, self._store(batch))
            with self._changed:
                self._bytes -= sum(request.size for request in batch)
                self._oldest = self._waiting[0].arrived if self._waiting else None

    def _gather(self) -> list[_Request]:
        """The next batch; empty when closed and nothing waits."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return []
            until = self._waiting[0].arrived + self._gather_s
            while not self._closing and not self._enough() and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._take()

    def _enough(self) -> bool:
        return self._rows >= self._batch_rows or sum(request.size for request in self._waiting) >= self._batch_bytes

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        rows = size = 0
        while self._waiting and (not batch or (rows < self._batch_rows and size < self._batch_bytes)):
            request = self._waiting.popleft()
            batch.append(request)
            rows += request.rows.spans + request.rows.records
            size += request.size
        self._rows -= rows
        return batch

    def _store(self, batch: Sequence[_Request]) -> dict[_Request, EllOtelError]:
        """Write the batch; what could not be stored, each with why."""
        try:
            self._write(_together(batch))
        except Exception as error:
            reason = error if isinstance(error, EllOtelError) else StoreError(f"the rows were not written: {error!r}")
            if len(batch) == 1 or reason.retryable:
                return dict.fromkeys(batch, reason)
        else:
            return {}
        middle = len(batch) // 2
        return self._store(batch[:middle]) | self._store(batch[middle:])

    def _answer(self, batch: Sequence[_Request], failed: dict[_Request, EllOtelError]) -> None:
        # When the neighbours got through, the store is well and the rows are not: sending them again will not help.
        poisoned = len(failed) < len(batch)
        for request in batch:
            error = failed.get(request)
            if error is None:
                self._counters.add("stored_spans", request.rows.spans)
                self._counters.add("stored_records", request.rows.records)
                request.stored.set_result(None)
            elif poisoned and not error.retryable:
                request.stored.set_exception(DecodeError(f"the store refuses these rows: {error}"))
            else:
                request.stored.set_exception(error)


def _together(batch: Sequence[_Request]) -> Rows:
    if len(batch) == 1:
        return batch[0].rows
    rows = Rows()
    for request in batch:
        rows.extend(request.rows)
    return rows
