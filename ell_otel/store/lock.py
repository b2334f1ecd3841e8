"""Who may open a chDB directory: one process at a time, as chDB itself demands.

chDB refuses a second opener with an empty message, so we ask first, with a lock of our own that can name the holder:
an flock on a file beside the directory (``<.ell>/store`` is guarded by ``<.ell>/store.lock``). The kernel gives the
flock back when its holder dies, however it dies; what the file says is then stale and overwritten by the next holder.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

STORE_NAME: Final = "store"


@dataclass(frozen=True, slots=True)
class LockInfo:
    """The process that holds a store. ``clickhouse_port`` is 0 unless it answers ClickHouse's HTTP interface there."""

    pid: int
    purpose: str
    clickhouse_port: int
    started: float  # seconds since the epoch


def read_lock(directory: Path) -> LockInfo | None:
    """Who holds the store of this ``.ell`` folder now, or None when nobody does."""
    return holder(directory / STORE_NAME)


def holder(store: Path) -> LockInfo | None:
    """Who holds the chDB directory ``store`` now, or None when nobody does.

    A holder that has not yet written who it is comes back with pid 0.
    """
    try:
        fd = os.open(lock_path(store), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two that only look do not take each other for a holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _parse(os.pread(fd, 4096, 0))
    finally:
        os.close(fd)


def lock_path(store: Path) -> Path:
    """The lock file that guards a chDB directory."""
    return store.with_name(f"{store.name}.lock")


class Lock:
    """An flock held by this process. A forked child gives its copy up at once, so it never outlives the parent."""

    def __init__(self, fd: int, info: LockInfo) -> None:
        self.info = info
        self._fd = fd
        self._write()
        _held.add(self)

    @classmethod
    def acquire(cls, store: Path, purpose: str) -> Lock | None:
        """Take the lock of a chDB directory, or return None when another holds it. Raises ``OSError``."""
        fd = os.open(lock_path(store), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        try:
            return cls(fd, LockInfo(os.getpid(), purpose, 0, time.time()))
        except OSError:
            os.close(fd)
            raise

    def announce(self, clickhouse_port: int) -> None:
        """Tell others where this process answers queries for them."""
        self.info = LockInfo(self.info.pid, self.info.purpose, clickhouse_port, self.info.started)
        self._write()

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes lock two files of one name."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            self._drop()

    def _write(self) -> None:
        content = json.dumps(asdict(self.info)).encode()
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))

    def _drop(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _parse(content: bytes) -> LockInfo:
    try:
        info = LockInfo(**json.loads(content))
        os.kill(info.pid, 0)
    except PermissionError:
        return info  # alive, and another user's
    except (ValueError, TypeError, OSError):
        return LockInfo(0, "", 0, 0.0)  # the words of a holder that died; the new one is about to write its own
    return info


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock._drop()


os.register_at_fork(after_in_child=_after_fork_in_child)
