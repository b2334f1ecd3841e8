"""From the threads that end spans to a collector: a queue bounded in bytes, and one thread that sends from it.

``put`` never waits and never does I/O. The thread gathers records into requests of 2 to 3 MiB, since servers count
bytes (gRPC's limit is 4 MiB) and not records. A request that is too large, or that holds something the server cannot
take, is halved until the culprit is alone: it is put aside, or sent without its contents where its size was the reason,
and everything else arrives. While nobody listens, the same request is tried again after growing pauses and the queue
fills; beyond its bound records are dropped. Every drop is counted and told.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from opentelemetry import context as otel_context

from ell_otel.errors import ExportError
from ell_otel.telemetry.guard import guarded, tell
from ell_otel.telemetry.transport import SMALL, Answer, Transport, Verdict

T = TypeVar("T")

AIM_BYTES: Final = 5 << 19
MAX_BYTES: Final = 3 << 20
MAX_RECORDS: Final = 8192
LINGER_S: Final = 1.0
"""How long the first record of a request waits for others."""

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
MAX_INVALID: Final = 64
"""Requests that a server may call invalid before the search for the culprit ends: perhaps it takes nothing at all."""

Done = SimpleQueue[bool]
"""Somebody who waits for all records before; told True when they are sent, False when an attempt failed."""


@dataclass(frozen=True, slots=True)
class Signal(Generic[T]):
    """What a sender has to know of the records it sends."""

    name: str  # in the plural, for people
    encode: Callable[[Sequence[T]], bytes]
    weigh: Callable[[T], int]  # bytes it takes in memory, about
    lighter: Callable[[T], T | None]  # the same without what makes it large; None where there is no such thing
    aside: Callable[[bytes], Path | None]  # keeps a request that is refused for what it holds; where
    lost: Callable[[Sequence[T], int, ExportError], None]  # of these records so many
    taken: Callable[[], None]


class Sender(Generic[T]):
    """Sends records of one signal in the background. Its thread begins with the first record."""

    def __init__(self, signal: Signal[T], transport: Transport, queue_bytes: int, exit_s: float) -> None:
        self._signal = signal
        self._transport = transport
        self._queue_bytes = queue_bytes
        self._exit_s = exit_s
        self._aim = AIM_BYTES
        self._reset()
        _senders.add(self)

    def _reset(self) -> None:
        # All of it may be used by a signal handler that interrupts its use: SimpleQueue and RLock are made for that.
        self._lock = threading.RLock()
        self._queue: SimpleQueue[tuple[T, int] | Done] = SimpleQueue()
        self._wakes: SimpleQueue[Done | None] = SimpleQueue()
        self._asking: Done | None = None
        self._bytes = 0
        self._pending = 0
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None

    def put(self, record: T) -> None:
        """Take ``record`` on for sending; when the queue is full it is lost and counted."""
        size = self._signal.weigh(record)
        with self._lock:
            if self._deadline is not None:
                tell(f"late {self._signal.name}", f"{self._signal.name} that end after the exit handlers are lost")
                return
            fits = self._bytes + size <= self._queue_bytes
            if fits:
                self._bytes += size
                self._pending += 1
                self._queue.put((record, size))
                self._ensure_thread()
        if not fits:
            remedy = "Look after the collector, or give more room with ELL_OTEL_QUEUE_BYTES"
            self._lose([record], f"the queue of {self._signal.name} is full. {remedy}")

    def flush(self, timeout_s: float) -> bool:
        """Send what was put so far, now. False as soon as an attempt has failed, or at the timeout."""
        if self._pending == 0:
            return True
        with self._lock:
            self._ensure_thread()
            if self._thread is None:
                return False
        done: Done = SimpleQueue()
        self._queue.put(done)
        self._wakes.put(done)
        try:
            return done.get(timeout=timeout_s)
        except Empty:
            return False

    def close(self) -> Done | None:
        """Take no more. What is queued is still sent, until the exit deadline; pass what this returns to ``join``."""
        with self._lock:
            if self._pending:
                self._ensure_thread()
            closed, self._deadline = self._deadline, time.monotonic() + self._exit_s
            if closed is not None or self._thread is None:
                return None
        done: Done = SimpleQueue()
        self._queue.put(done)
        self._wakes.put(None)
        return done

    def join(self, done: Done) -> None:
        """Wait for the end that ``close`` began, until the deadline. What is left then is lost, and told."""
        with contextlib.suppress(Empty):
            done.get(timeout=max(0.0, (self._deadline or 0.0) - time.monotonic()))
        if self._pending:
            left = f"{self._pending} {self._signal.name}"
            tell(
                f"exit {self._signal.name}", f"{self._transport.to} did not take the last {left} in time; they are lost"
            )

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"ell-otel-{self._signal.name}", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                if "shutdown" not in str(error):  # a limit on threads: what is queued waits for the next record
                    self._thread = None
                    return
                self._deadline = time.monotonic() + self._exit_s
                self._queue.put(SimpleQueue())
                self._run()
            else:
                _end_with_process()

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # Where the host instruments gRPC or requests, our sending must not make spans to be sent.
        otel_context.attach(otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True))
        while True:
            items, done = self._gather()
            if items and not self._delivered([record for record, _ in items]):
                self._give_up(done)
                return
            with self._lock:
                self._bytes -= sum(size for _, size in items)
                self._pending -= len(items)
            if done is not None:
                done.put(True)
                if self._deadline is not None and self._queue.empty():
                    return
            del items

    def _gather(self) -> tuple[list[tuple[T, int]], Done | None]:
        """The records of the next request, and who waits for them."""
        items: list[tuple[T, int]] = []
        size = 0
        until: float | None = None
        while size < self._aim and len(items) < MAX_RECORDS:
            try:
                item = self._queue.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except Empty:
                break
            if isinstance(item, SimpleQueue):
                return items, item
            items.append(item)
            size += item[1]
            until = until or time.monotonic() + LINGER_S
        return items, None

    def _delivered(self, records: list[T]) -> bool:
        """As ``_deliver``; what is lost to a fault of ours is counted, and ends neither the thread nor the program."""
        with guarded(f"sending {self._signal.name}"):
            return self._deliver(records)
        self._lose(records, f"sending {len(records)} {self._signal.name} failed")
        return True

    def _give_up(self, done: Done | None) -> None:
        """At the exit deadline: tell those who wait."""
        while True:
            if done is not None:
                done.put(False)
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            done = item if isinstance(item, SimpleQueue) else None

    def _deliver(self, records: list[T]) -> bool:
        """Send ``records`` in as many requests as it takes. False when the exit deadline came before an answer."""
        waiting, invalid = [records], 0
        while waiting:
            part = waiting.pop()
            answer, size = self._send(part)
            if answer is None:
                return False
            invalid += answer.verdict is Verdict.INVALID
            if answer.verdict is Verdict.TAKEN:
                self._note_taken(part, answer)
                continue
            smaller = self._smaller(part, answer, size) if invalid <= MAX_INVALID else []
            if not smaller:
                self._refused(part, answer)
            waiting += smaller
        return True

    def _smaller(self, part: list[T], answer: Answer, size: int) -> list[list[T]]:
        """What to send in place of a request that was not taken, the first last; nothing where it is to be lost."""
        if answer.verdict in {Verdict.TOO_LARGE, Verdict.INVALID} and len(part) > 1:
            middle = len(part) // 2
            return [part[middle:], part[:middle]]
        lighter = self._signal.lighter(part[0]) if answer.verdict is Verdict.TOO_LARGE else None
        if lighter is None:
            return []
        tell("contents", f"{self._transport.to} takes no {size} bytes at once: a span was sent without its contents")
        return [[lighter]]

    def _send(self, part: Sequence[T]) -> tuple[Answer | None, int]:
        """One request until it is answered; its answer, or None at the exit deadline, and its size."""
        try:
            payload = self._signal.encode(part)
        except Exception as error:  # a value that no check foresaw: halving finds it
            return Answer(Verdict.INVALID, f"it cannot be encoded: {error!r}", unsent=True), 0
        if len(payload) > MAX_BYTES and len(part) > 1:
            return Answer(Verdict.TOO_LARGE), len(payload)
        attempt = 0
        while True:
            answer = self._transport.send(payload, self._time_left(self._transport.timeout_s))
            if answer.verdict is not Verdict.LATER:
                break
            tell(
                f"waiting {self._signal.name}",
                f"{self._transport.to} takes no {self._signal.name} now ({answer.reason}); trying again",
            )
            if self._asking is not None:
                self._asking.put(False)
                self._asking = None
            if answer.late and len(part) > 1 and len(payload) > SMALL:  # for a slow line it is too much at once
                answer = Answer(Verdict.TOO_LARGE, answer.reason)
                break
            pause = min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
            attempt = min(attempt + 1, 10)
            if not self._pause(pause if answer.wait_s is None else answer.wait_s, demanded=answer.wait_s is not None):
                return None, len(payload)
        if answer.verdict is Verdict.TOO_LARGE and len(part) > 1:
            self._aim = max(len(payload) // 2, 1 << 16)  # and so the next requests need no halving
        return answer, len(payload)

    def _pause(self, seconds: float, *, demanded: bool) -> bool:
        """Wait before the next attempt; shorter when somebody asks for it, unless the server demanded the wait.
        False when the exit deadline comes before it is over."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._deadline is not None and until > self._deadline:
                return False
            try:
                asking = self._wakes.get(timeout=left)
            except Empty:
                break
            if not demanded:
                self._asking = asking
                break
            if asking is not None:
                asking.put(False)
        return True

    def _time_left(self, most: float) -> float:
        if self._deadline is None:
            return most
        return min(most, max(0.05, self._deadline - time.monotonic()))

    def _note_taken(self, part: Sequence[T], answer: Answer) -> None:
        if answer.rejected > 0:
            count = min(answer.rejected, len(part))
            self._lose(part, f"{self._transport.to} rejected {count} {self._signal.name}: {answer.reason}", count)
        elif answer.reason:
            tell("partial success", f"{self._transport.to} says: {answer.reason}")
        self._signal.taken()

    def _refused(self, part: Sequence[T], answer: Answer) -> None:
        where = None
        if answer.verdict is not Verdict.REFUSED and not answer.unsent:
            where = self._signal.aside(self._signal.encode(part))
        kept = f". They are kept in {where}" if where else ""
        self._lose(part, f"{self._transport.to} refused {len(part)} {self._signal.name}: {answer.reason}{kept}")

    def _lose(self, records: Sequence[T], reason: str, count: int | None = None) -> None:
        self._signal.lost(records, len(records) if count is None else count, ExportError(reason))

    def _after_fork_in_child(self) -> None:
        # What is queued is the parent's to send, and so are its connections.
        self._transport.forget()
        self._reset()


_senders: weakref.WeakSet[Sender[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for sender in list(_senders):
        sender._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _end_with_process() -> None:
    """A process of ``multiprocessing`` or of celery's pool ends with ``os._exit``, without ``atexit``: send before."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _finish, exitpriority=0)
    celery = sys.modules.get("celery.signals")
    if celery is not None:
        with guarded("preparing for the end of a worker"):
            celery.worker_process_shutdown.connect(_finish, weak=False)


def _finish(**_: object) -> None:
    """Send what all senders have queued, within one exit deadline for all of them."""
    closing = [(sender, sender.close()) for sender in list(_senders)]
    for sender, done in closing:
        if done is not None:
            sender.join(done)
