"""The spool: append-only files of framed records, the one format for everything we hold on disk before the store.

``docs/segments.md`` specifies it for other implementations. A segment is a file of frames and nothing else; a frame
is ::

    offset  size  field
    0       4     magic   45 4c 53 01  ("ELS", format 1)
    4       4     length  of the payload, unsigned, little endian
    8       1     kind    1 traces, 2 logs: a serialised OTLP Export…ServiceRequest
    9       7     reserved: zero
    16      16    id      unique per frame: 8 random bytes per writer, 8 bytes counting up
    32      4     CRC32C  of bytes 4 to 31 and the payload
    36            payload

Contract. A record is **accepted** when ``append`` returns: it has been handed to the operating system in one write and
survives the death of this process. It survives a power cut once it is fsync'd: within 200 ms (``durability="group"``)
or before ``append`` returns (``"strict"``). A frame is removed only after ``acknowledge``. One process writes a
segment, holding an flock on it for as long as it does; so a reader knows that a segment it can lock will not grow, and
may remove it when all of it is acknowledged. One process takes frames out at a time, under the flock on the folder
(``taking``). Damage never stops a reader: it goes on at the next magic, and counts.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import google_crc32c

MAGIC: Final = b"ELS\x01"
SPOOL_NAME: Final = "spool"
"""The folder of segments inside the ``.ell`` folder."""
SUFFIX: Final = ".seg"
READ_BYTES: Final = 4 << 20
_NEW: Final = ".new"  # a file that is not yet a segment
_MARK: Final = ".ack"
_NEW_MARK: Final = ".ack-new"
_ABANDONED_S: Final = 60.0

_HEADER: Final = struct.Struct("<4sIB7s16sI")
_RESERVED: Final = bytes(7)
_CRC_START: Final = 4
_CRC_END: Final = 32


class Kind(IntEnum):
    """What a frame's payload is."""

    TRACES = 1
    LOGS = 2


_KINDS: Final = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Frame:
    """One record. ``end`` is the offset in its segment just behind it."""

    kind: Kind
    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive frames of a segment, and the runs of bytes between them that are no valid frame, as (start, end)."""

    frames: tuple[Frame, ...]
    stretches: tuple[tuple[int, int], ...]
    end: int

    @property
    def damaged(self) -> int:
        """How many such runs there are."""
        return len(self.stretches)


def encode_frame(kind: Kind, frame_id: bytes, payload: bytes) -> bytes:
    """The bytes of one frame, header and payload."""
    header = _HEADER.pack(MAGIC, len(payload), kind, _RESERVED, frame_id, 0)
    crc = google_crc32c.extend(google_crc32c.value(header[_CRC_START:_CRC_END]), payload)
    return b"".join((header[:_CRC_END], crc.to_bytes(4, "little"), payload))


def pending(spool: Path) -> list[Segment]:
    """The segments of a spool folder, oldest first. An absent folder has none."""
    if not spool.is_dir():
        return []
    return [Segment(path) for path in sorted(spool.glob(f"*{SUFFIX}"))]


@contextmanager
def taking(spool: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the right to take frames out of a spool folder: an flock on the folder itself, one holder at a time.

    True when it is held; False when another holds it and ``wait`` is False, and where there is no such folder.
    """
    try:
        fd = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)  # which gives the lock back


def clear_away(spool: Path) -> None:
    """Remove what a kill leaves beside the segments: files that became none, marks without one. For whoever takes."""
    for path in spool.iterdir():
        orphan = path.suffix == _MARK and not path.with_suffix(SUFFIX).exists()
        if orphan or path.suffix == _NEW_MARK or (path.suffix == _NEW and _abandoned(path)):
            path.unlink(missing_ok=True)


def _abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_S and Segment(path).sealed()
    except FileNotFoundError:  # it has become a segment
        return False


class Segment:
    """One segment. ``acknowledge`` and ``remove`` are for whoever holds ``taking`` of its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = path.with_suffix(_MARK)

    @property
    def acknowledged(self) -> int:
        """The offset up to which everything has been handed on. A damaged mark counts as 0: frames may come twice."""
        try:
            return int(self._mark.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def backlog(self) -> int:
        """How many bytes of it have not been acknowledged; 0 when it has gone meanwhile."""
        try:
            return max(0, self.path.stat().st_size - self.acknowledged)
        except FileNotFoundError:
            return 0

    def read(self, max_bytes: int = READ_BYTES, *, start: int | None = None) -> Batch:
        """The next frames from ``start`` on, or behind the acknowledged ones: about ``max_bytes``, at least one if any.

        An incomplete frame at the end is left for later while its writer lives, and is damage when it does not.
        """
        final = self.sealed()  # asked before reading: what is read afterwards is all there will ever be
        start = self.acknowledged if start is None else start
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(max_bytes)
            rest = os.fstat(file.fileno()).st_size - start - len(data)
            batch = _parse(data, start, final and rest <= 0)
            if batch.end == start and rest > 0:  # one large frame, or a long stretch of damage: look at all there is
                batch = _parse(data + file.read(), start, final)
        return batch

    def batches(self, start: int | None = None) -> Iterator[Batch]:
        """All there is from ``start`` on, or behind the acknowledged frames, without acknowledging any of it."""
        position = self.acknowledged if start is None else start
        while (batch := self.read(start=position)).end > position:
            yield batch
            position = batch.end

    def acknowledge(self, end: int) -> None:
        """Everything up to ``end`` has been taken over by the next hop. Removes the segment once its writer is done."""
        if self.sealed() and end >= self.path.stat().st_size:
            self.remove()
        elif end > self.acknowledged:
            fresh = self._mark.with_suffix(_NEW_MARK)
            fresh.write_text(str(end), encoding="ascii")
            os.replace(fresh, self._mark)

    def remove(self) -> None:
        """Delete it, acknowledged or not."""
        self.path.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)

    def sealed(self) -> bool:
        """Whether its writer is done with it, or dead."""
        with self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True  # closing the file gives the lock back


def _parse(data: bytes, start: int, final: bool) -> Batch:
    frames: list[Frame] = []
    stretches: list[tuple[int, int]] = []
    position = 0
    while position < len(data):
        frame = _frame_at(data, position, start)
        if frame is not None:
            frames.append(frame)
            position = frame.end - start
            continue
        following = _next_valid(data, position + 1, start)
        if following is None and not final:
            break  # the rest may be a frame that is still being written, or cut off by the read
        resumed = len(data) if following is None else following
        stretches.append((start + position, start + resumed))
        position = resumed
    return Batch(tuple(frames), tuple(stretches), start + position)


def _frame_at(data: bytes, position: int, start: int) -> Frame | None:
    body = position + _HEADER.size
    if body > len(data) or data[position : position + 4] != MAGIC:
        return None
    _, length, kind, reserved, _, crc = _HEADER.unpack_from(data, position)
    if body + length > len(data) or kind not in _KINDS or reserved != _RESERVED:
        return None
    payload = data[body : body + length]
    header_crc = google_crc32c.value(data[position + _CRC_START : position + _CRC_END])
    if google_crc32c.extend(header_crc, payload) != crc:
        return None
    return Frame(Kind(kind), payload, start + body + length)


def _next_valid(data: bytes, position: int, start: int) -> int | None:
    while (position := data.find(MAGIC, position)) >= 0:
        if _frame_at(data, position, start) is not None:
            return position
        position += 1
    return None
