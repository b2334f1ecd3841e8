"""Disks that end, fail or go away under the spool, the server's log and the store. (A full disk: ``test_full_disk``.)"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Disk, ext4, tmpfs
from oracle import Ledger, append, audit, clean
from victims import Senders, Server, strace, write

from ell_otel.telemetry.spool import SegmentWriter
from ell_otel.testing import recorded

DISKS = 10 * int(os.environ.get("FAULT_POINTS", "3"))
"""How many disks give up while they sync: one in twenty or thirty does it at the moment that matters."""

APP = """\
import sys
import ell_otel as ell

@ell.program
def work(text):
    return len(text)

for line in sys.stdin:
    for _ in range(10): work(line.strip())
    print("worked", flush=True)
"""


class App:
    """An application that calls its program ten times for each line it is given, and says so."""

    def __init__(self, folder: Path, script: Path) -> None:
        script.write_text(APP)
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env=os.environ | {"ELL_OTEL_DIR": str(folder)},
            cwd=script.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def work(self, name: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "worked\n"

    def end(self) -> str:
        _, told = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        return told


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with ext4(tmp_path, 16) as made:
        yield made


def exactly(folder: Path, calls: int) -> tuple[int, int]:
    """The spans of ``calls`` records that are in the spool, and how many are said to be lost; all are one or the other."""
    recording = recorded(folder)
    lost = sum(event.attributes["ell.loss.count"] for event in recording.events if event.name == "ell.loss")
    assert len(recording.spans) + lost == calls
    return len(recording.spans), lost


def test_a_spool_that_turns_read_only_costs_counted_telemetry_until_it_is_mended(disk: Disk, tmp_path: Path) -> None:
    app = App(disk.mount / ".ell", tmp_path / "app.py")
    app.work("before")
    time.sleep(2)  # ten intervals, synced by now: this disk forgets what was not
    disk.fail()
    app.work("while it is read-only")
    disk.mend()
    app.work("after")
    told = app.end()
    spans, lost = exactly(disk.mount / ".ell", 30)
    assert spans >= 20
    assert lost > 0
    assert told.count("cannot write to the spool") == 1


def test_a_spool_without_inodes_costs_counted_telemetry_until_there_are_some(tmp_path: Path) -> None:
    with ext4(tmp_path, 16, "-N", "32") as disk:
        taken = []
        try:
            while True:
                taken.append(disk.mount / f"file {len(taken)}")
                taken[-1].touch()
        except OSError:  # now there is none left
            pass
        app = App(disk.mount / ".ell", tmp_path / "app.py")
        app.work("without an inode")
        for path in taken[:-1]:
            path.unlink()
        app.work("with some")
        app.end()
        spans, lost = exactly(disk.mount / ".ell", 21)
    assert (spans, lost) == (10, 11)  # with the program's announcement, which is made again


def test_a_folder_that_is_taken_away_with_a_file_in_its_place_is_borne(tmp_path: Path) -> None:
    app = App(tmp_path / ".ell", tmp_path / "app.py")
    app.work("before")
    shutil.rmtree(tmp_path / ".ell" / "spool")
    (tmp_path / ".ell" / "spool").write_text("a file in its place")
    app.work("while there is no folder")
    (tmp_path / ".ell" / "spool").unlink()
    app.work("after")
    app.end()
    recording = recorded(tmp_path / ".ell")
    assert len(recording.spans) == 10  # the first ten went with the folder, the next ten had nowhere to go
    assert [event.attributes["ell.loss.count"] for event in recording.events if event.name == "ell.loss"]


@pytest.mark.parametrize("call", ["rename:error=EIO", "flock:error=ENOLCK"])
def test_a_segment_that_cannot_be_begun_leaves_nothing_behind(tmp_path: Path, call: str) -> None:
    ledger = Ledger()
    write(tmp_path / ".ell", ledger, 0, 20, "strict", *strace(f"{call}:when=1+"))
    assert len(ledger.numbers("intent")) == 20
    assert list((tmp_path / ".ell" / "spool").iterdir()) == []
    write(tmp_path / ".ell", ledger, 20, 20, "strict")
    verdict = audit(tmp_path / ".ell", ledger)
    assert verdict.acked == 20
    assert clean(verdict), verdict


def test_a_disk_that_gives_up_while_it_syncs_has_what_was_acknowledged(tmp_path: Path) -> None:
    ledger = Ledger()
    kept = tmp_path / ".ell" / "spool"
    kept.mkdir(parents=True)
    for trial in range(DISKS):
        (folder := tmp_path / f"{trial}").mkdir()
        with ext4(folder, 16) as disk:
            writer = SegmentWriter(disk.mount / "spool", segment_bytes=1 << 20, durability="strict")
            thread = threading.Thread(
                target=append, args=(writer, ledger, range(trial * 10_000, trial * 10_000 + 1_000))
            )
            thread.start()
            assert ledger.reaches(len(ledger.numbers("acked")) + 5)
            time.sleep(random.uniform(0, 0.05))
            disk.fail()
            thread.join(60)
            disk.mend()
            for segment in (disk.mount / "spool").iterdir():
                shutil.copy(segment, kept)
    verdict = audit(kept.parent, ledger)
    assert verdict.acked > 5 * DISKS
    assert clean(verdict), verdict


@pytest.mark.parametrize(("error", "acked"), [("EROFS", 0), ("EIO", 0), ("EOPNOTSUPP", 20), ("ENOSPC", 20)])
def test_a_sync_counts_when_the_disk_has_not_given_up_during_it(tmp_path: Path, error: str, acked: int) -> None:
    """Who says that it cannot grant room, as other file systems may, has not given up."""
    ledger = Ledger()
    write(tmp_path / ".ell", ledger, 0, 20, "strict", *strace(f"fallocate:error={error}:when=1+"))
    verdict = audit(tmp_path / ".ell", ledger)
    assert verdict.acked == acked
    assert clean(verdict), verdict


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_server_whose_disk_fails_acknowledges_nothing_it_could_lose(fault: str, disk: Disk, tmp_path: Path) -> None:
    """The log and the next hop's absence: everything waits on the disk that fails."""
    ledger = Ledger()
    server = Server(disk.mount / ".ell", more=["--to", "http://127.0.0.1:9"])
    assert server.started
    senders = Senders(server, ledger, 0)
    assert ledger.reaches(20)
    ballast = disk.mount / "ballast"
    if fault == "full":
        fill(ballast)
    else:
        disk.fail()
    tried(ledger, 400)  # those under way, and records of all sizes, small ones of which may find room in a last block
    before = len(ledger.numbers("acked"))
    tried(ledger, 200)
    assert len(ledger.numbers("acked")) == before  # nothing more is said to be safe
    if fault == "full":
        ballast.unlink()
        assert ledger.reaches(before + 1)  # and it goes on when there is room
    senders.end()
    server.kill()
    if fault == "read-only":
        disk.mend()
    verdict = audit(disk.mount / ".ell", ledger, waiting=disk.mount / ".ell" / "log", store=tmp_path / "store")
    assert verdict.acked > 0
    assert clean(verdict), verdict


def tried(ledger: Ledger, count: int) -> None:
    """Wait until so many more have been sent, taken or not."""
    assert ledger.reaches(len(ledger.numbers("intent")) + count, "intent")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def test_a_store_whose_disk_is_full_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    ledger = Ledger()
    with tmpfs(tmp_path / "small", "size=64m") as mount:
        directory = mount / ".ell"
        server = Server(directory)
        assert server.started
        senders = Senders(server, ledger, 0)
        assert ledger.reaches(20)
        ballast = mount / "ballast"
        fill(ballast)
        time.sleep(3)
        assert server.process.poll() is None
        ballast.unlink()
        time.sleep(1)
        assert ledger.reaches(len(ledger.numbers("acked")) + 20)
        senders.end()
        assert server.end() == 0
        aside = list((directory / "quarantine").glob("*")) if (directory / "quarantine").exists() else []
        assert aside == []  # a full disk is no row's fault
        verdict = audit(directory, ledger)
    assert clean(verdict), verdict
