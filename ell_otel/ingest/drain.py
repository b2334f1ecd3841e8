"""From a folder of segments to a sink: what programs have appended, and what the server has accepted.

Order of things: read frames, hand them to the sink, which makes them durable, acknowledge. A death between the last two
makes the same frames come again, which every sink bears; it can lose nothing. What the sink can never take is put aside
in ``<.ell>/quarantine/`` and does not hold up the rest. One process drains a folder at a time (``taking``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ell_otel.errors import StoreError
from ell_otel.ingest.repair import QUARANTINE_NAME, put_aside
from ell_otel.ingest.sink import Sink
from ell_otel.telemetry.segments import SPOOL_NAME, Frame, Segment, clear_away, pending, taking

# A delivery costs about the same for one span as for a thousand, and every script run leaves a segment of its own; so
# frames are gathered over segments up to these. Large parts are few, and merged less often; what bounds the size is
# memory, of which a delivery takes several times its bytes.
_FRAMES_PER_DELIVERY: Final = 5_000
_BYTES_PER_DELIVERY: Final = 32 << 20


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
    work = _Work(directory, sink, progress)
    with taking(directory / folder) as held:
        if held:
            clear_away(directory / folder)
        segments = pending(directory / folder)
        work.total = sum(segment.backlog() for segment in segments)
        for segment in segments:
            while not ending() and work.take(segment):
                pass
        work.deliver()
    return Drained(work.spans, work.records, work.damaged, tuple(work.quarantined))


@dataclass(slots=True)
class _Work:
    """Frames gathered but not delivered, and how far each segment may be acknowledged once they are."""

    directory: Path
    sink: Sink
    progress: Callable[[int, int], None] | None
    total: int = 0
    done: int = 0
    spans: int = 0
    records: int = 0
    damaged: int = 0
    quarantined: list[Path] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    bytes: int = 0
    ends: dict[Path, tuple[Segment, int]] = field(default_factory=dict)

    def take(self, segment: Segment) -> bool:
        """Gather the segment's next frames. True when there may be more behind them."""
        _, start = self.ends.get(segment.path, (segment, segment.acknowledged))
        batch = segment.read(start=start)
        self.ends[segment.path] = (segment, batch.end)
        self.damaged += batch.damaged
        self.done += batch.end - start
        self.frames += batch.frames
        self.bytes += batch.end - start
        if len(self.frames) >= _FRAMES_PER_DELIVERY or self.bytes >= _BYTES_PER_DELIVERY:
            self.deliver()
        return batch.end > start and segment.path.exists()  # delivered to its end, it has been removed

    def deliver(self) -> None:
        taken = self.sink.put(self.frames)
        for kind, content in taken.aside:
            self.quarantined.append(_quarantine(self.directory, kind, content))
        self.spans += taken.spans
        self.records += taken.records
        for segment, end in self.ends.values():
            segment.acknowledge(end)
        self.frames, self.bytes, self.ends = [], 0, {}
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
