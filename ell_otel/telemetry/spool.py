"""Writing the spool: the segments of this process (their format and contract: ``segments``)."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ell_otel.errors import ExportError
from ell_otel.telemetry.budget import UNLIMITED, Budget
from ell_otel.telemetry.segments import SUFFIX, Kind, encode_frame

FSYNC_INTERVAL_S: Final = 0.2
MAX_WAIT_BEFORE_FORK_S: Final = 1.0


class SegmentWriter:
    """Appends frames to this process's own segments in a spool folder. Safe to use from several threads and over fork.

    A forked child begins a segment of its own. After a failed write or fsync the segment is closed and never used
    again; the failed append raises ``ExportError`` and the next one tries a new segment. When the folder was deleted
    under it, a new one is begun and ``on_vanished`` called: what the old one held is gone with it. What happens when
    the folder is full is up to ``budget``. With the ``durability`` "caller", whoever appends calls ``sync``.
    """

    def __init__(
        self,
        spool: Path,
        *,
        segment_bytes: int,
        durability: str = "group",
        budget: Budget = UNLIMITED,
        on_vanished: Callable[[], None] = lambda: None,
    ) -> None:
        self.spool = spool
        self._on_vanished = on_vanished
        self._budget = budget
        self._segment_bytes = budget.segment_bytes(segment_bytes)
        self._durability = durability
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # reentrant: a span may end in a signal handler that interrupts an append
        self._fd = -1
        self._syncing: set[int] = set()  # copies of it, while they are being synced
        self._inode = (0, 0)
        self._entry_synced = False
        self._size = 0
        self._dirty = False
        self._prefix = os.urandom(8)
        self._count = 0
        self._fsync_thread: threading.Thread | None = None
        self._forking = threading.Event()

    def append(self, kind: Kind, payload: bytes) -> None:
        """Accept one record. Raises ``ExportError`` with the reason when it could not be written; then nothing was."""
        with self._lock:
            self._count += 1
            frame = encode_frame(kind, self._prefix + self._count.to_bytes(8, "little"), payload)
            self._check_still_ours()
            if not self._budget.grants(len(frame)):
                self._budget.make_room(self.spool, len(frame), give_up=self.close)
            if self._fd < 0 or self._size >= self._segment_bytes:
                self._begin()
            self._write(frame)
            self._size += len(frame)
            self._dirty = True
            if self._durability == "strict":
                self.sync()
            elif self._durability == "group":
                self._ensure_fsync_thread()

    def sync(self) -> None:
        """Make everything accepted so far survive a power cut. Others may append meanwhile: a disk takes its time."""
        with self._lock:
            self._check_still_ours()
            if self._fd < 0 or not (self._dirty or self._syncing):
                return  # while another syncs, syncing too is how to wait for it: a lock could be our own thread's
            self._dirty = False
            segment, new, empty = self._inode, not self._entry_synced, not self._size
            fd = os.dup(self._fd)
            self._syncing.add(fd)
        try:
            os.fsync(fd)
            if new:  # the file's name must survive as well, once
                _sync_folder(self.spool)
            if not empty:
                _check_that_the_disk_goes_on(fd)
        except OSError as error:
            self._synced(segment, fd, well=False)
            raise ExportError(_explain(self.spool, error)) from error
        self._synced(segment, fd, well=True)

    def _synced(self, segment: tuple[int, int], fd: int, *, well: bool) -> None:
        with self._lock:
            self._syncing.discard(fd)
            _close(fd, segment)
            if segment == self._inode and well:
                self._entry_synced = True
            elif segment == self._inode:
                self._seal()  # its frames, those that came during the sync too, stay readable

    def sync_or_end(self, *, last: bool = False) -> bool:
        """For the fsync thread: sync; False when it is to end. The next append starts another.

        The lock is not held during the sync: whoever appends does not wait for the disk.
        """
        with suppress(ExportError):  # the segment has been given up, and the next append begins another
            self.sync()
        with self._lock:
            if last or self._fd < 0:
                self._fsync_thread = None
            return self._fsync_thread is not None

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
            with suppress(OSError):
                os.unlink(hidden)
            raise ExportError(_explain(self.spool, error)) from error
        status = os.fstat(fd)
        self._fd, self._inode, self._size = fd, (status.st_dev, status.st_ino), 0
        self._entry_synced = False

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

    def _seal(self) -> None:
        if self._fd >= 0:
            _close(self._fd, self._inode)
        self._fd = -1

    def _ensure_fsync_thread(self) -> None:
        if self._fsync_thread is None:
            self._forking = threading.Event()
            arguments = (weakref.ref(self), self._forking)
            self._fsync_thread = threading.Thread(
                target=_sync_regularly, args=arguments, name="ell-otel-fsync", daemon=True
            )
            try:
                self._fsync_thread.start()
            except RuntimeError:  # the interpreter is ending and starts no more threads
                self._fsync_thread = None
                self.sync()

    def _before_fork(self) -> None:
        # A process without threads of its own shall have none of ours when it forks: Python warns of forking with some.
        thread = self._fsync_thread
        if thread is not None and thread.is_alive():
            self._forking.set()
            thread.join(MAX_WAIT_BEFORE_FORK_S)

    def _after_fork_in_child(self) -> None:
        # The descriptor is shared with the parent, whose segment it stays. Closing ours leaves the parent's lock.
        for fd in {self._fd, *self._syncing} - {-1}:
            os.close(fd)
        self._reset()


_writers: weakref.WeakSet[SegmentWriter] = weakref.WeakSet()


def _sync_regularly(reference: weakref.ref[SegmentWriter], forking: threading.Event) -> None:
    while True:
        last = forking.wait(FSYNC_INTERVAL_S)
        writer = reference()
        if writer is None or not writer.sync_or_end(last=last):
            return
        del writer


def _before_fork() -> None:
    for writer in list(_writers):
        writer._before_fork()


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer._after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


def _close(fd: int, file: tuple[int, int]) -> None:
    """Close a descriptor, unless the host has closed it and perhaps used its number again for a file of its own."""
    with suppress(OSError):
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) == file:
            os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_that_the_disk_goes_on(fd: int) -> None:
    """Raise ``OSError`` when the file system gave up during the fsync that has just succeeded. Takes 4 us.

    Of ext4 (Linux 6.18) an fsync that is under way when the journal is given up may succeed without its data: 11 of 260
    disks that were failed while we wrote had lost what was synced, none of 600 with this. To be granted room for the
    first byte, which the file has, takes the journal and so fails with it. Who cannot grant room has no say.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, 1)
        except OSError as error:
            if error.errno in {errno.EROFS, errno.EIO}:
                raise


def _explain(spool: Path, error: OSError) -> str:
    return (
        f"cannot write to the spool {spool}: {error.strerror or error}. Make room or give write permission there, "
        "or name another folder with ELL_OTEL_DIR"
    )
