"""Looking at a spool folder, and taking the damage out of it.

A damaged segment is drained like any other: readers step over what is no frame. Repairing is for keeping the evidence,
and for implementations that do not step over it: the damaged bytes go to ``<.ell>/quarantine/``, the frames stay.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ell_otel.errors import ExportError
from ell_otel.telemetry.segments import SPOOL_NAME, Segment, pending, taking

QUARANTINE_NAME: Final = "quarantine"


@dataclass(frozen=True, slots=True)
class Look:
    """A segment: its size and what of it waits to be taken over, in bytes, its waiting frames, and its damage."""

    segment: str
    bytes: int
    waiting: int
    frames: int
    damaged: int
    writing: bool


def look(directory: Path, folder: str = SPOOL_NAME) -> list[Look]:
    """The segments of this ``.ell`` folder's spool, or of another folder beside it, oldest first."""
    return [seen for segment in pending(directory / folder) if (seen := _look(segment)) is not None]


def _look(segment: Segment) -> Look | None:
    try:
        batches = list(segment.batches())
        size, writing = segment.path.stat().st_size, not segment.sealed()
    except FileNotFoundError:  # taken over meanwhile
        return None
    frames, damaged = sum(len(batch.frames) for batch in batches), sum(batch.damaged for batch in batches)
    name = "/".join(segment.path.parts[-2 if segment.path.parent.name != SPOOL_NAME else -1 :])
    return Look(name, size, segment.backlog(), frames, damaged, writing)


@dataclass(frozen=True, slots=True)
class Repaired:
    """A segment that was rewritten: the frames it keeps, and the files that hold what was damaged."""

    segment: str
    frames: int
    aside: tuple[Path, ...]


def repair(directory: Path) -> list[Repaired]:
    """Rewrite every damaged segment that nobody writes any more. Raises ``ExportError`` when that cannot be done."""
    spool = directory / SPOOL_NAME
    try:
        with taking(spool):
            done = [_repair(segment, directory) for segment in pending(spool) if segment.sealed()]
    except OSError as error:
        raise ExportError(f"cannot repair {spool}: {error}. Make room or give write permission there") from error
    return [each for each in done if each is not None]


def _repair(segment: Segment, directory: Path) -> Repaired | None:
    batches = list(segment.batches())
    stretches = [stretch for batch in batches for stretch in batch.stretches]
    if not stretches:
        return None
    data = segment.path.read_bytes()
    aside = tuple(
        put_aside(directory, f"{segment.path.stem}-{start}.damaged", data[start:end]) for start, end in stretches
    )
    # What lies before the mark stays where it is, damaged or not: so the mark holds whenever we die.
    kept, position = [], 0
    for start, end in stretches:
        kept.append(data[position:start])
        position = end
    fresh = segment.path.with_suffix(".new")
    _write(fresh, b"".join((*kept, data[position:])))
    os.replace(fresh, segment.path)
    return Repaired(segment.path.name, sum(len(batch.frames) for batch in batches), aside)


def put_aside(directory: Path, name: str, content: bytes) -> Path:
    """Keep what cannot be delivered in ``<.ell>/quarantine/``, synced. The same name again is the same file."""
    path = directory / QUARANTINE_NAME / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _write(path, content)
    return path


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
