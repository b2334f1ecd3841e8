"""From the spool into the store: what programs on this machine have written since someone last looked.

Order of things: read frames, decode, insert (durable), acknowledge. A death between insert and acknowledge makes the
same rows come again, which the store collapses; it can lose nothing. A frame that is no OTLP can never be inserted, so
it is put aside in ``<.ell>/quarantine/`` and does not hold up the rest. One process drains at a time (``taking``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ell_otel.errors import DecodeError, StoreError
from ell_otel.ingest import decode
from ell_otel.ingest.repair import QUARANTINE_NAME, put_aside
from ell_otel.store.client import Store
from ell_otel.store.writer import Rows, write
from ell_otel.telemetry.segments import SPOOL_NAME, Frame, Kind, Segment, pending, taking

# An insert costs about the same for one row as for a thousand, and every script run leaves a segment of its own; so
# rows are gathered over segments up to this many.
_ROWS_PER_INSERT: Final = 5_000

_DECODE: Final = {Kind.TRACES: decode.traces, Kind.LOGS: decode.logs}


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
            parts.append(f"put {len(self.quarantined)} frames that are no OTLP aside in {self.quarantined[0].parent}")
        return "; ".join(parts)


def drain(directory: Path, store: Store, *, progress: Callable[[int, int], None] | None = None) -> Drained:
    """Move everything in the spool of this ``.ell`` folder into the store.

    ``progress`` is told (bytes taken over, bytes there were at the start) after every insert. Raises ``StoreError``
    when an insert fails; what was not acknowledged then stays in the spool.
    """
    work = _Work(directory, store, progress)
    with taking(directory / SPOOL_NAME):
        segments = pending(directory / SPOOL_NAME)
        work.total = sum(segment.backlog() for segment in segments)
        for segment in segments:
            while work.take(segment):
                work.flush()  # a segment is read on only from where it was acknowledged
        work.flush()
    return Drained(work.spans, work.records, work.damaged, tuple(work.quarantined))


@dataclass(slots=True)
class _Work:
    """Rows gathered but not inserted, and the segments to acknowledge once they are."""

    directory: Path
    store: Store
    progress: Callable[[int, int], None] | None
    total: int = 0
    done: int = 0
    spans: int = 0
    records: int = 0
    damaged: int = 0
    quarantined: list[Path] = field(default_factory=list)
    rows: Rows = field(default_factory=Rows)
    taken: list[tuple[Segment, int]] = field(default_factory=list)

    def take(self, segment: Segment) -> bool:
        """Gather the segment's next frames. True when there are more behind them."""
        start = segment.acknowledged
        batch = segment.read()
        self.taken.append((segment, batch.end))
        self.damaged += batch.damaged
        self.done += batch.end - start
        for frame in batch.frames:
            self._decode(segment, frame)
        if self.rows.spans + self.rows.records >= _ROWS_PER_INSERT:
            self.flush()
        return start < batch.end < segment.path.stat().st_size if segment.path.exists() else False

    def flush(self) -> None:
        write(self.store, self.rows)
        self.spans += self.rows.spans
        self.records += self.rows.records
        self.rows = Rows()
        for segment, end in self.taken:
            segment.acknowledge(end)
        self.taken.clear()
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)

    def _decode(self, segment: Segment, frame: Frame) -> None:
        try:
            self.rows.extend(_DECODE[frame.kind](frame.payload))
        except DecodeError:
            self.quarantined.append(_quarantine(self.directory, segment, frame))


def _quarantine(directory: Path, segment: Segment, frame: Frame) -> Path:
    name = f"{segment.path.stem}-{frame.end}.{frame.kind.name.lower()}"  # its place: a second try writes the same file
    try:
        return put_aside(directory, name, frame.payload)
    except OSError as error:
        raise StoreError(
            f"cannot put a frame that is no OTLP aside in {directory / QUARANTINE_NAME}: {error.strerror}; make room "
            "or give write permission there"
        ) from error
