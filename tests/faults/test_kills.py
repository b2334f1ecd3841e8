"""Whatever is killed, at a random moment or at a chosen system call: what was acknowledged is in the store.

``FAULT_KILLS`` is how many random kills each test makes, ``FAULT_POINTS`` how many injected ones;
``make faults`` raises both. No loss in N kills bounds the rate of losses at about 3/N, with 95 % confidence.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from pathlib import Path

import pytest
from oracle import Ledger, append, audit, clean
from victims import Senders, Server, strace, write

from ell_otel.telemetry.spool import SegmentWriter

KILLS = int(os.environ.get("FAULT_KILLS", "50"))
SERVER_KILLS = max(4, KILLS // 10)
POINTS = int(os.environ.get("FAULT_POINTS", "3"))
STEP = 1_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / ".ell"


def test_an_application_killed_at_random_loses_nothing_it_had_accepted(directory: Path) -> None:
    ledger = Ledger()
    for kill in range(KILLS):
        before = ledger.path.stat().st_size
        child = os.fork()  # a fresh interpreter for each would take most of the time, and add nothing
        if child == 0:
            _append_until_killed(directory, ledger, kill * STEP)
        while ledger.path.stat().st_size == before:  # a child that has not begun has nothing to lose
            time.sleep(0.0005)
        time.sleep(random.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    verdict = audit(directory, ledger)
    assert verdict.acked > KILLS
    assert clean(verdict), verdict
    assert verdict.duplicates == 0


def _append_until_killed(directory: Path, ledger: Ledger, number: int) -> None:
    try:
        writer = SegmentWriter(directory / "spool", segment_bytes=20_000)
        append(writer, ledger, itertools.count(number))
    finally:
        os._exit(1)  # whatever went wrong, the test goes on in its parent only


@pytest.mark.parametrize("call", ["write", "fsync", "rename,renameat,renameat2", "flock"])
@pytest.mark.parametrize("durability", ["group", "strict"])
def test_an_application_killed_at_each_system_call_loses_nothing(directory: Path, call: str, durability: str) -> None:
    ledger = Ledger()
    killed = 0
    for point in range(POINTS):
        head = strace(f"{call}:signal=SIGKILL:when={1 + point * (3 if call in {'write', 'fsync'} else 1)}")
        killed += write(directory, ledger, point * STEP, 30, durability, *head) != 0
    verdict = audit(directory, ledger)
    assert killed > 0
    assert clean(verdict), verdict


@pytest.mark.parametrize("call", ["write:error=ENOSPC", "write:error=EIO", "fsync:error=EIO", "rename:error=EROFS"])
def test_a_disk_that_fails_once_costs_only_what_was_refused(directory: Path, call: str) -> None:
    name, _, error = call.partition(":")
    ledger = Ledger()
    for point in range(POINTS):
        head = strace(f"{name}:{error}:when={2 + 2 * point}")
        write(directory, ledger, point * STEP, 30, "strict", *head)
    verdict = audit(directory, ledger)
    assert verdict.acked > 0
    assert ledger.numbers("intent") - ledger.numbers("acked"), "no fault came about"
    assert clean(verdict), verdict


def test_a_server_killed_at_random_under_load_loses_nothing_it_had_acknowledged(directory: Path) -> None:
    ledger = Ledger()
    for kill in range(SERVER_KILLS):
        server = Server(directory)
        assert server.started
        senders = Senders(server, ledger, kill * STEP, most=STEP // 8)
        time.sleep(random.uniform(0.1, 0.6))
        server.kill()
        senders.end()
    verdict = audit(directory, ledger)
    assert verdict.acked > SERVER_KILLS
    assert clean(verdict), verdict
    # At each kill one delivery at most is under way, of what four senders have sent since the one before.
    assert verdict.duplicates <= verdict.acked / 2


@pytest.mark.parametrize("call", ["rename,renameat,renameat2", "fsync,fdatasync", "unlink,unlinkat"])
def test_a_server_killed_at_a_chosen_system_call_loses_nothing(
    directory: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELL_OTEL_SEGMENT_BYTES", "20000")  # so that segments are removed all the time
    ledger = Ledger()
    Server(directory).kill()  # so that the points are those of the commit path, not of the migrations
    died = 0
    for point in range(max(2, POINTS // 5)):
        server = Server(directory, *strace(f"{call}:signal=SIGKILL:when={5 + 7 * point}"))
        if not server.started:
            server.kill()
            died += 1
            continue
        senders = Senders(server, ledger, point * STEP, threads=2, most=STEP // 8)
        until = time.monotonic() + 4
        while time.monotonic() < until and server.process.poll() is None:
            time.sleep(0.02)
        died += server.process.poll() is not None
        server.kill()
        senders.end()
    assert died > 0
    verdict = audit(directory, ledger)
    assert clean(verdict), verdict
