"""From a folder of segments to a sink: what programs have appended, and what the server has accepted.

Order of things: read frames, hand them to the sink, which makes them durable, acknowledge. A death between the last two
makes the same frames come again, which every sink bears; it can lose nothing. What the sink can never take is put aside
in ``<.ell>/quarantine/`` and does not hold up the rest. One process drains a folder at a time (``taking``).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ell_otel.errors import StoreError
from ell_otel.ingest.repair import QUARANTINE_NAME, put_aside
from ell_otel.ingest.sink import Sink, Taken
from ell_otel.telemetry.segments import SPOOL_NAME, Frame, Segment, clear_away, pending, taking

# A delivery costs about the same for one span as for a thousand, and every script run leaves a segment of its own; so
# frames are gathered over segments up to these. Large parts are few, and merged less often, which takes the engine as
# long as inserting them; what bounds the size is memory, of which a delivery takes several times its bytes, and so many
# may be under way.
_FRAMES_PER_DELIVERY: Final = 8_000
_BYTES_PER_DELIVERY: Final = 32 << 20
_AT_ONCE: Final = 2
ENOUGH_BYTES: Final = 4 << 20
"""What pays to be delivered by itself, while more comes.

Beside another it is twice as much as that one has: what is gathered meanwhile costs nothing, and of larger parts there
are fewer to merge.
"""
_LOOK_S: Final = 0.1  # for what comes while a delivery is under way, so that another can be beside it
_LOOKS: Final = 50  # and no more, for whoever drains wants to hear of it


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did. ``damaged`` counts stretches of the spool that held no valid frame and were skipped."""

    spans: int
    records: int
    damaged: int
    quarantined: tuple[Path, ...]

    def __str__(self) -> str:
        parts = [f"took {self.spans} spans and {self.records} log records from the spool"]
        if self.damaged:
            parts.append(f"skipped {self.damaged} damaged stretch{'es' if self.damaged > 1 else ''} of it")
        if self.quarantined:
            parts.append(f"put {len(self.quarantined)} that cannot be stored aside in {self.quarantined[0].parent}")
        return "; ".join(parts)


def drain(
    directory: Path,
    sink: Sink,
    *,
    folder: str = SPOOL_NAME,
    progress: Callable[[int, int], None] | None = None,
    ending: Callable[[], bool] = lambda: False,
) -> Drained:
    """Move everything in the spool (or another folder of segments) of this ``.ell`` folder into the sink.

    ``progress`` is told (bytes taken over, bytes there were at the start) after every delivery; ``ending`` is asked
    before each whether to leave it at that. Raises ``StoreError`` or ``ExportError`` when a delivery fails; what was
    not acknowledged then stays.
    """
    with taking(directory / folder) as held, ThreadPoolExecutor(_AT_ONCE) as beside:
        work = _Work(directory, sink, progress, beside)
        if held:
            clear_away(directory / folder)
        work.total = sum(segment.backlog() for segment in pending(directory / folder))
        for _ in range(_LOOKS):
            before = work.done
            for segment in pending(directory / folder):
                while not ending() and work.take(segment):
                    pass
            if ending() or work.done == before or not work.go_on():
                break
        work.deliver()
    return Drained(work.spans, work.records, work.damaged, tuple(work.quarantined))


@dataclass(slots=True)
class _Gathered:
    """Frames that are delivered together, and how far each segment may be acknowledged once they are."""

    frames: list[Frame] = field(default_factory=list)
    bytes: int = 0
    ends: dict[Path, tuple[Segment, int]] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return len(self.frames) >= _FRAMES_PER_DELIVERY or self.bytes >= _BYTES_PER_DELIVERY


@dataclass(slots=True)
class _Work:
    """What is gathered and not delivered, and what has come of the rest.

    Of a backlog, two deliveries are under way at once, and the next one is gathered meanwhile: of what one takes, the
    engine does most, in one thread. They may end in any order, and are acknowledged in the order of their frames.
    """

    directory: Path
    sink: Sink
    progress: Callable[[int, int], None] | None
    beside: ThreadPoolExecutor | None
    total: int = 0
    done: int = 0
    spans: int = 0
    records: int = 0
    damaged: int = 0
    quarantined: list[Path] = field(default_factory=list)
    gathered: _Gathered = field(default_factory=_Gathered)
    handed_over: int = 0  # bytes of the last one
    under_way: deque[tuple[_Gathered, Future[Taken]]] = field(default_factory=deque)  # beside us, the oldest first
    read: dict[Path, int] = field(default_factory=dict)  # how far

    def take(self, segment: Segment) -> bool:
        """Gather the segment's next frames. True when there may be more behind them."""
        start = self.read.get(segment.path, segment.acknowledged)
        batch = segment.read(start=start)
        self.read[segment.path] = batch.end
        self.gathered.ends[segment.path] = (segment, batch.end)
        self.damaged += batch.damaged
        self.done += batch.end - start
        self.gathered.frames += batch.frames
        self.gathered.bytes += batch.end - start
        if self.gathered.full:
            self._await_room()
            self._hand_over()
        return batch.end > start and segment.path.exists()  # delivered to its end, it has been removed

    def _hand_over(self) -> None:
        """Have what is gathered delivered beside us; here, when no thread can be had."""
        if self.beside is not None:
            try:
                under_way = self.beside.submit(self.sink.put, self.gathered.frames)
            except RuntimeError:
                self.beside = None  # which would take up what it was given, once it had a thread
            else:
                self.under_way.append((self.gathered, under_way))
                self.handed_over = self.gathered.bytes
                self.gathered = _Gathered()
                return
        self.deliver()

    def _busy(self) -> list[Future[Taken]]:
        return [each for _, each in self.under_way if not each.done()]

    def _await_room(self) -> None:
        """Until one more delivery may be under way."""
        while len(busy := self._busy()) == _AT_ONCE:
            wait(busy, return_when=FIRST_COMPLETED)
        self._settle_done()

    def go_on(self) -> bool:
        """Let a delivery that pays go on beside us. False when there is none: what is gathered is all there was."""
        self._settle_done()
        enough = min(2 * self.handed_over, _BYTES_PER_DELIVERY) if self._busy() else ENOUGH_BYTES
        if self.gathered.bytes >= enough and len(self._busy()) < _AT_ONCE:
            self._hand_over()
        busy = self._busy()
        return bool(busy) and bool(wait(busy, _LOOK_S, FIRST_COMPLETED))

    def deliver(self) -> None:
        """Deliver what is gathered, and wait for what is under way."""
        gathered, self.gathered = self.gathered, _Gathered()
        try:
            taken = self.sink.put(gathered.frames) if gathered.frames else Taken()
        finally:  # the frames before these count as delivered, even if these do not
            while self.under_way:
                self._settle_oldest()
        self._settle(gathered, taken)

    def _settle_done(self) -> None:
        while self.under_way and self.under_way[0][1].done():
            self._settle_oldest()

    def _settle_oldest(self) -> None:
        delivered, under_way = self.under_way.popleft()
        self._settle(delivered, under_way.result())

    def _settle(self, delivered: _Gathered, taken: Taken) -> None:
        for kind, content in taken.aside:
            self.quarantined.append(_quarantine(self.directory, kind, content))
        self.spans += taken.spans
        self.records += taken.records
        for segment, end in delivered.ends.values():
            if segment.path.exists():  # the delivery before this one may have been all there was
                segment.acknowledge(end)
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)


def _quarantine(directory: Path, kind: str, content: bytes) -> Path:
    name = f"{hashlib.sha256(content).hexdigest()[:20]}.{kind}"  # by its content: a second try writes the same file
    try:
        return put_aside(directory, name, content)
    except OSError as error:
        raise StoreError(
            f"cannot put what cannot be stored aside in {directory / QUARANTINE_NAME}: {error.strerror}; make room or "
            "give write permission there"
        ) from error
