"""The spool: append-only files of framed records, the one format for everything we hold on disk before the store.

A segment is a file of frames and nothing else; a frame is ::

    offset  size  field
    0       4     magic   45 4c 53 01  ("ELS", format 1)
    4       4     length  of the payload, unsigned, little endian
    8       1     kind    1 traces, 2 logs: a serialised OTLP Export…ServiceRequest
    9       7     zero
    16      16    id      unique per frame: 8 random bytes per writer, 8 bytes counting up
    32      4     CRC32C  of bytes 4 to 31 and the payload
    36            payload

Contract. A record is **accepted** when ``append`` returns: it has been handed to the operating system in one write and
survives the death of this process. It survives a power cut once it is fsync'd: within 200 ms (``durability="group"``)
or before ``append`` returns (``"strict"``). A frame is removed only after ``acknowledge``. One process writes a
segment, holding an flock on it for as long as it does; so a reader knows that a segment it can lock will not grow, and
may remove it when all of it is acknowledged. Damage never stops a reader: it goes on at the next magic, and counts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import google_crc32c

from ell_otel.errors import ExportError

MAGIC: Final = b"ELS\x01"
SPOOL_NAME: Final = "spool"
"""The folder of segments inside the ``.ell`` folder."""
SUFFIX: Final = ".seg"
FSYNC_INTERVAL_S: Final = 0.2
READ_BYTES: Final = 4 << 20

_HEADER: Final = struct.Struct("<4sIB7x16sI")
_CRC_START: Final = 4
_CRC_END: Final = 32


class Kind(IntEnum):
    """What a frame's payload is."""

    TRACES = 1
    LOGS = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One record. ``end`` is the offset in its segment just behind it."""

    kind: Kind
    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive frames of a segment; ``damaged`` counts runs of bytes between them that are no valid frame."""

    frames: tuple[Frame, ...]
    damaged: int
    end: int


def encode_frame(kind: Kind, frame_id: bytes, payload: bytes) -> bytes:
    """The bytes of one frame, header and payload."""
    header = _HEADER.pack(MAGIC, len(payload), kind, frame_id, 0)
    crc = google_crc32c.extend(google_crc32c.value(header[_CRC_START:_CRC_END]), payload)
    return b"".join((header[:_CRC_END], crc.to_bytes(4, "little"), payload))


class SegmentWriter:
    """Appends frames to this process's own segments in a spool folder. Safe to use from several threads and over fork.

    A forked child begins a segment of its own. After a failed write or fsync the segment is closed and never used
    again; the failed append raises ``ExportError`` and the next one tries a new segment. When the folder was deleted
    under it, a new one is begun and ``on_vanished`` called: what the old one held is gone with it.
    """

    def __init__(
        self,
        spool: Path,
        *,
        segment_bytes: int,
        durability: str = "group",
        on_vanished: Callable[[], None] = lambda: None,
    ) -> None:
        self.spool = spool
        self._on_vanished = on_vanished
        self._segment_bytes = segment_bytes
        self._strict = durability == "strict"
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # reentrant: a span may end in a signal handler that interrupts an append
        self._fd = -1
        self._inode = (0, 0)
        self._size = 0
        self._dirty = False
        self._prefix = os.urandom(8)
        self._count = 0
        self._fsync_thread: threading.Thread | None = None

    def append(self, kind: Kind, payload: bytes) -> None:
        """Accept one record. Raises ``ExportError`` with the reason when it could not be written; then nothing was."""
        with self._lock:
            self._check_still_ours()
            if self._fd < 0 or self._size >= self._segment_bytes:
                self._begin()
            self._count += 1
            frame = encode_frame(kind, self._prefix + self._count.to_bytes(8, "little"), payload)
            self._write(frame)
            self._size += len(frame)
            if self._strict:
                self._fsync()
            else:
                self._dirty = True
                self._ensure_fsync_thread()

    def sync(self) -> None:
        """Make everything accepted so far survive a power cut."""
        with self._lock:
            if self._dirty and self._fd >= 0:
                self._dirty = False
                self._fsync()

    def sync_or_end(self) -> bool:
        """For the fsync thread: sync; False when there is nothing more to watch. The next append starts another."""
        with self._lock:
            try:
                self._check_still_ours()
                self.sync()
            except ExportError:
                self._dirty = False  # the segment is sealed; its frames stay readable
            if self._fd < 0:
                self._fsync_thread = None
            return self._fd >= 0

    def close(self) -> None:
        """Sync and give up the segment, so that a reader may remove it. A later append begins another."""
        with self._lock:
            if self._fd >= 0:
                self.sync()
            self._seal()

    def _begin(self) -> None:
        self.close()
        name = f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(3).hex()}"
        hidden = self.spool / f"{name}.new"
        try:
            self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ExportError(_explain(self.spool, error)) from error
        try:
            # Locked before it is visible: a reader takes an unlocked segment for one whose writer has gone.
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.rename(hidden, self.spool / f"{name}{SUFFIX}")
        except OSError as error:
            os.close(fd)
            raise ExportError(_explain(self.spool, error)) from error
        status = os.fstat(fd)
        self._fd, self._inode, self._size = fd, (status.st_dev, status.st_ino), 0

    def _check_still_ours(self) -> None:
        """Give up a descriptor that the host has closed and perhaps used again, and a file that was deleted."""
        if self._fd < 0:
            return
        try:
            status = os.fstat(self._fd)
        except OSError:
            self._fd = -1
            return
        if (status.st_dev, status.st_ino) != self._inode:
            self._fd = -1  # not ours any more, and so not ours to close
        elif status.st_nlink == 0:
            self._seal()
            self._on_vanished()

    def _write(self, frame: bytes) -> None:
        try:
            written = os.write(self._fd, frame)
            if written != len(frame):  # a full disk: take the torn frame back, so that the segment stays whole
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, "only part of a record fitted")
        except OSError as error:
            self._seal()
            raise ExportError(_explain(self.spool, error)) from error

    def _fsync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._seal()
            raise ExportError(_explain(self.spool, error)) from error

    def _seal(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _ensure_fsync_thread(self) -> None:
        if self._fsync_thread is None:
            self._fsync_thread = threading.Thread(
                target=_sync_regularly, args=(weakref.ref(self),), name="ell-otel-fsync", daemon=True
            )
            try:
                self._fsync_thread.start()
            except RuntimeError:  # the interpreter is ending and starts no more threads
                self._fsync_thread = None
                self.sync()

    def _after_fork_in_child(self) -> None:
        # The descriptor is shared with the parent, whose segment it stays. Closing ours leaves the parent's lock.
        if self._fd >= 0:
            os.close(self._fd)
        self._reset()


_writers: weakref.WeakSet[SegmentWriter] = weakref.WeakSet()


def _sync_regularly(reference: weakref.ref[SegmentWriter]) -> None:
    while True:
        time.sleep(FSYNC_INTERVAL_S)
        writer = reference()
        if writer is None or not writer.sync_or_end():
            return
        del writer


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _explain(spool: Path, error: OSError) -> str:
    return (
        f"cannot write to the spool {spool}: {error.strerror or error}. Make room or give write permission there, "
        "or name another folder with ELL_OTEL_DIR"
    )


# -- reading ----------------------------------------------------------------------------------------------------------


def pending(spool: Path) -> list[Segment]:
    """The segments of a spool folder, oldest first. An absent folder has none."""
    if not spool.is_dir():
        return []
    return [Segment(path) for path in sorted(spool.glob(f"*{SUFFIX}"))]


class Segment:
    """One segment, read by whoever drains the spool: one process at a time, which the store's lock sees to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = path.with_suffix(".ack")

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

    def read(self, max_bytes: int = READ_BYTES) -> Batch:
        """The next frames behind the acknowledged ones: whole frames, about ``max_bytes`` of them, at least one if any.

        An incomplete frame at the end is left for later while its writer lives, and is damage when it does not.
        """
        final = self._writer_gone()  # asked before reading: what is read afterwards is all there will ever be
        start = self.acknowledged
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(max_bytes)
            rest = os.fstat(file.fileno()).st_size - start - len(data)
            batch = _parse(data, start, final and rest <= 0)
            if batch.end == start and rest > 0:  # one large frame, or a long stretch of damage: look at all there is
                batch = _parse(data + file.read(), start, final)
        return batch

    def acknowledge(self, end: int) -> None:
        """Everything up to ``end`` has been taken over by the next hop. Removes the segment once its writer is done."""
        if self._writer_gone() and end >= self.path.stat().st_size:
            self.path.unlink(missing_ok=True)
            self._mark.unlink(missing_ok=True)
        elif end > self.acknowledged:
            fresh = self._mark.with_suffix(".ack-new")
            fresh.write_text(str(end), encoding="ascii")
            os.replace(fresh, self._mark)

    def _writer_gone(self) -> bool:
        with self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True  # closing the file gives the lock back


def _parse(data: bytes, start: int, final: bool) -> Batch:
    frames: list[Frame] = []
    damaged = 0
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
        damaged += 1
        position = len(data) if following is None else following
    return Batch(tuple(frames), damaged, start + position)


def _frame_at(data: bytes, position: int, start: int) -> Frame | None:
    body = position + _HEADER.size
    if body > len(data) or data[position : position + 4] != MAGIC:
        return None
    _, length, kind, _, crc = _HEADER.unpack_from(data, position)
    if body + length > len(data):
        return None
    payload = data[body : body + length]
    header_crc = google_crc32c.value(data[position + _CRC_START : position + _CRC_END])
    if google_crc32c.extend(header_crc, payload) != crc or kind not in Kind.__members__.values():
        return None
    return Frame(Kind(kind), payload, start + body + length)


def _next_valid(data: bytes, position: int, start: int) -> int | None:
    while (position := data.find(MAGIC, position)) >= 0:
        if _frame_at(data, position, start) is not None:
            return position
        position += 1
    return None
