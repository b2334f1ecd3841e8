"""Everything killed at once, again and again; and for long: nothing is lost, and nothing is left lying about.

``FAULT_CYCLES`` is how often, ``FAULT_SOAK_S`` how long; ``make faults`` raises both.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from oracle import Ledger, audit, clean
from victims import HERE, WRITER, Senders, Server

from ell_otel.config import resolve
from ell_otel.ingest.drain import drain
from ell_otel.ingest.sink import Taken
from ell_otel.store.client import open_store
from ell_otel.telemetry.segments import Frame, Kind, pending
from ell_otel.telemetry.spool import SegmentWriter

CYCLES = int(os.environ.get("FAULT_CYCLES", "2"))
SOAK_S = float(os.environ.get("FAULT_SOAK_S", "4"))
STEP = 1_000_000


def application(directory: Path, ledger: Ledger, first: int) -> subprocess.Popen[bytes]:
    """An application in a process of its own, which appends to the spool as fast as it can."""
    arguments = [str(HERE), str(directory), str(ledger.path), str(first), str(STEP // 8), "group"]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments])


def test_applications_and_server_killed_together_lose_nothing_and_leave_no_litter(tmp_path: Path) -> None:
    directory, ledger = tmp_path / ".ell", Ledger()
    for cycle in range(CYCLES):
        server = Server(directory)
        assert server.started
        applications = [application(directory, ledger, cycle * STEP + half * (STEP // 2)) for half in (0, 1)]
        senders = Senders(server, ledger, cycle * STEP + STEP // 4, threads=2, most=STEP // 8)
        assert ledger.reaches(len(ledger.numbers("acked")) + 20)
        time.sleep(random.uniform(0.2, 0.8))
        for each in applications:
            each.kill()
        server.kill()
        senders.end()
        for each in applications:
            each.wait(20)
    for begun in (directory / "spool").glob("*.new"):
        os.utime(begun, (0, 0))  # young ones are left alone: a writer that lives may be about to lock its own
    server = Server(directory)
    until = time.monotonic() + 30
    while pending(directory / "spool") and time.monotonic() < until:
        time.sleep(0.1)
    assert server.end() == 0
    verdict = audit(directory, ledger)
    assert clean(verdict), verdict
    assert [path.name for path in (directory / "spool").iterdir()] == []


VERSIONS = """
import importlib, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], "."]
from oracle import Ledger
ledger, first = Ledger(Path(sys.argv[2])), int(sys.argv[3])
for number in range(first, first + 1000):
    Path(f"m{number}.py").write_text(
        f"import ell_otel as ell\\nNUMBER = {number}\\n@ell.program\\ndef work(): return NUMBER\\n"
    )
    importlib.invalidate_caches()
    work = importlib.import_module(f"m{number}").work
    ledger.write("intent", number)
    work()
    ledger.write("acked", number)
"""


def test_the_closure_of_every_version_is_there_for_every_call_that_was_accepted(tmp_path: Path) -> None:
    """Each call is the first of a new version: so a kill is always near an announcement."""
    directory, ledger = tmp_path / ".ell", Ledger()
    environment = os.environ | {"ELL_OTEL_DIR": str(directory)}
    for cycle in range(2 * CYCLES):
        command = [sys.executable, "-c", VERSIONS, str(HERE), str(ledger.path), str(cycle * 1000)]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        until = time.monotonic() + 30
        while not any(number >= cycle * 1000 for number in ledger.numbers("acked")) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.wait(20)
    assert clean(audit(directory, Ledger()))
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        rows = store.query(
            "SELECT SpanAttributes['ell.invocation.result'] AS result, SpanAttributes['ell.program.version'] AS version, "
            "version IN (SELECT ProgramVersion FROM ell_program_sources WHERE Source != '') AS told FROM otel_traces"
        )
    assert {int(str(row["result"])) for row in rows} >= ledger.numbers("acked") != set()
    assert len({row["version"] for row in rows}) == len(rows)
    assert [row for row in rows if not row["told"]] == []


class Nowhere:
    name = "nowhere"

    def put(self, frames: Sequence[Frame]) -> Taken:
        return Taken()


@pytest.mark.parametrize("left", [".new", ".ack", ".ack-new"])
def test_what_a_kill_leaves_beside_the_segments_is_cleared_away_by_the_next_drain(tmp_path: Path, left: str) -> None:
    spool = tmp_path / "spool"
    writer = SegmentWriter(spool, segment_bytes=1 << 20)
    writer.append(Kind.TRACES, b"kept")
    (alive,) = pending(spool)
    alive.acknowledge(1)  # its mark is no litter
    old = spool / f"00000000000000000001-1-abcdef{left}"
    old.touch()
    os.utime(old, (1, 1))
    drain(tmp_path, Nowhere())
    assert sorted(path.suffix for path in spool.iterdir()) == [".ack", ".seg"]
    writer.close()


def resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_server_under_steady_load_keeps_its_memory_and_everything_it_acknowledged(tmp_path: Path) -> None:
    """About a hundred requests a second, a restart in the middle; memory after a fifth of a server's and at its end."""
    directory, ledger = tmp_path / ".ell", Ledger()
    grown: list[float] = []
    for half in (0, 1):
        server = Server(directory)
        assert server.started
        senders = Senders(server, ledger, half * STEP, threads=2, most=STEP // 2, pause_s=0.02)
        begun = len(ledger.numbers("acked"))
        assert ledger.reaches(begun + int(10 * SOAK_S), seconds=60 + SOAK_S)
        early = resident_kb(server.process.pid)
        assert ledger.reaches(begun + int(50 * SOAK_S), seconds=60 + SOAK_S)
        grown.append(resident_kb(server.process.pid) / early)
        server.process.send_signal(signal.SIGTERM)
        senders.end()
        server.process.wait(30)
        server.kill()
    verdict = audit(directory, ledger)
    assert clean(verdict), verdict
    assert max(grown) < 2, grown
