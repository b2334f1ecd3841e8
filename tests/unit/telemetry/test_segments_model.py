"""The spool against a model of its contract, on a disk that forgets what was not synced and fails when told to.

The disk is a real folder; between it and the writer stands an ``os`` that keeps, beside each file, what of it has been
synced. A power cut leaves exactly that, and of the rest as much as chance will have: part of it, zeros, or nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ell_otel.errors import ExportError
from ell_otel.telemetry import segments, spool
from ell_otel.telemetry.segments import Kind, pending, taking
from ell_otel.telemetry.spool import SegmentWriter


class File:
    """What a process sees of a file, and what of that a power cut cannot take."""

    def __init__(self) -> None:
        self.content = b""
        self.synced = b""
        self.failed = False


class ForgetfulOs:
    """``os``, as far as the writer uses it. ``fault`` is what happens to the next write or fsync: a name below."""

    def __init__(self) -> None:
        self.open_files: dict[int, File] = {}
        self.names: dict[str, File] = {}
        self.synced_names: dict[str, File] = {}
        self.fault = ""
        self.meanwhile: Callable[[], None] = lambda: None  # happens while a file is being synced

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        if not flags & os.O_DIRECTORY:
            self.open_files[fd] = self.names[path.name] = File()
        return fd

    def dup(self, fd: int) -> int:
        copy = os.dup(fd)
        self.open_files[copy] = self.open_files[fd]
        return copy

    def close(self, fd: int) -> None:
        self.open_files.pop(fd, None)
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)
        self.names[new.name] = self.names.pop(old.name)

    def write(self, fd: int, data: bytes) -> int:
        file = self.open_files[fd]
        assert not file.failed, "a segment was used again after a failed write or fsync"
        fault, self.fault = self.fault, "" if self.fault != "fsync fails" else self.fault
        if fault == "write fails":
            file.failed = True
            raise OSError(errno.EIO, "Input/output error")
        written = os.write(fd, data[: len(data) // 2] if fault == "write is short" else data)
        file.content += data[:written]
        file.failed = fault == "write is short"
        return written

    def ftruncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)
        self.open_files[fd].content = self.open_files[fd].content[:length]

    def fsync(self, fd: int) -> None:
        file = self.open_files.get(fd)
        if file is None:  # the folder
            self.synced_names = dict(self.names)
            return
        assert not file.failed, "a segment was synced again after a failed write or fsync"
        before = file.content
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.fault == "fsync fails":  # and the kernel takes the lost pages for clean
            self.fault, file.failed = "", True
            raise OSError(errno.EIO, "Input/output error")
        file.synced = max(before, file.synced, key=len)

    def cut_power(self, folder: Path, data: st.DataObject) -> None:
        for fd in list(self.open_files):
            self.close(fd)
        for name, file in (self.names | self.synced_names).items():
            (folder / name).unlink(missing_ok=True)
            if name in self.synced_names or data.draw(st.booleans(), "an unsynced name survives"):
                rest = file.content[len(file.synced) :]
                survives = rest[: data.draw(st.integers(0, len(rest)), "unsynced bytes that survive")]
                if file.failed or data.draw(st.booleans(), "as zeros"):
                    survives = bytes(len(survives))
                file.content = file.synced = file.synced + survives
                (folder / name).write_bytes(file.content)
        for mark in folder.glob("*.ack"):
            if data.draw(st.booleans(), "an unsynced mark is lost"):
                mark.unlink()
        self.synced_names = dict(self.names)


def numbers_in(content: bytes) -> set[int]:
    """The numbers of the records in a segment with this content."""
    return {int(frame.payload.split()[0]) for frame in segments._parse(content, 0, True).frames}


class SpoolContract(RuleBasedStateMachine):
    """``accepted`` and ``synced`` are the numbers of the records that must survive a kill, and a power cut."""

    @initialize(strict=st.booleans(), segment_bytes=st.sampled_from([1, 150, 1 << 20]))
    def begin(self, strict: bool, segment_bytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ell-model-"))
        self.disk = ForgetfulOs()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(spool, "os", self.disk)
        self.options = {"segment_bytes": segment_bytes, "durability": "strict" if strict else "group"}
        self.strict = strict
        self.count = 0
        self.accepted: set[int] = set()
        self.synced: set[int] = set()
        self.delivered: set[int] = set()
        self.start()

    def start(self) -> None:
        self.writer = SegmentWriter(self.folder, **cast(Any, self.options))
        self.writer._fsync_thread = threading.current_thread()  # time is the machine's: it syncs by a rule

    @rule(fault=st.sampled_from(["", "", "", "write fails", "write is short", "fsync fails"]), size=st.integers(0, 90))
    def append(self, fault: str, size: int) -> None:
        self.count += 1
        self.disk.fault = fault
        try:
            self.writer.append(Kind.TRACES, b"%d " % self.count + bytes(size))
        except ExportError:
            assert fault
            return
        finally:
            if not self.strict and fault == "fsync fails":
                self.disk.fault = ""
        self.accepted.add(self.count)
        if self.strict:
            self.synced.add(self.count)

    @rule(fails=st.booleans())
    def sync(self, fails: bool) -> None:
        self.disk.fault = "fsync fails" if fails else ""
        unsynced = self.writer._dirty and self.writer._fd >= 0
        try:
            self.writer.sync()
        except ExportError:
            assert fails
            return
        finally:
            self.disk.fault = ""
        if unsynced:
            live = next(iter(self.disk.open_files.values()))
            self.synced |= self.accepted & numbers_in(live.synced)

    @rule(fails=st.booleans(), records=st.integers(1, 3), size=st.integers(0, 90))
    def appends_do_not_wait_for_the_group_sync(self, fails: bool, records: int, size: int) -> None:
        self.disk.fault = ""
        if not self.strict:
            self.append("", 0)  # so that there is something to sync

        def others() -> None:
            fault, self.disk.fault = self.disk.fault, ""
            for _ in range(records):
                self.append("", size)
            self.disk.fault = fault

        def in_another_thread() -> None:
            thread = threading.Thread(target=others)
            thread.start()
            thread.join(20)
            assert not thread.is_alive(), "an append waited for the disk"

        before = set(self.accepted)
        live = list(self.disk.open_files.values())
        self.disk.meanwhile = in_another_thread
        self.disk.fault = "fsync fails" if fails else ""
        self.writer.sync_or_end()
        self.disk.meanwhile, self.disk.fault = (lambda: None), ""
        self.writer._fsync_thread = threading.current_thread()
        self.synced |= {number for file in live for number in before & numbers_in(file.synced)}

    @rule(batches=st.integers(1, 3), max_bytes=st.sampled_from([1, 1 << 20]))
    def deliver(self, batches: int, max_bytes: int) -> None:
        with taking(self.folder) as held:
            for segment in pending(self.folder)[:batches] if held else ():
                batch = segment.read(max_bytes)
                self.delivered |= {int(frame.payload.split()[0]) for frame in batch.frames}
                segment.acknowledge(batch.end)

    @rule()
    def kill(self) -> None:
        for fd in list(self.disk.open_files):
            self.disk.close(fd)
        self.writer._fd = -1
        self.start()

    @rule(data=st.data())
    def cut_power(self, data: st.DataObject) -> None:
        self.disk.cut_power(self.folder, data)
        self.writer._fd = -1
        # What was only accepted may have been lost with the power; what was synced may not.
        self.accepted = set(self.synced)
        self.start()

    @invariant()
    def nothing_is_lost_and_nothing_invented(self) -> None:
        if not hasattr(self, "writer"):
            return
        numbers = [
            int(frame.payload.split()[0])
            for segment in pending(self.folder)
            for batch in segment.batches()
            for frame in batch.frames
        ]
        assert self.accepted <= self.delivered | set(numbers)
        assert max(numbers, default=0) <= self.count
        assert len(numbers) == len(set(numbers))

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.writer._seal()
            self.patch.undo()
            shutil.rmtree(self.folder)


SpoolContract.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestSpoolContract = SpoolContract.TestCase


def test_the_forgetful_disk_forgets() -> None:
    """A model that cannot fail proves nothing: what is not synced is gone after a cut without mercy."""

    class Merciless:
        def draw(self, strategy: Any, label: str) -> Any:
            return 0

    folder, disk = Path(tempfile.mkdtemp()), ForgetfulOs()
    fd = disk.open(folder / "1.seg", os.O_CREAT | os.O_WRONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    disk.write(fd, b"one")
    disk.cut_power(folder, cast(Any, Merciless()))
    assert list(folder.iterdir()) == []
    shutil.rmtree(folder)
