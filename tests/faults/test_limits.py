"""Too little of what a process needs: memory, descriptors, threads, processor time."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collectors import http_collector
from machine import cgroup, need
from oracle import Ledger, audit, clean
from test_disks import App
from victims import Senders, Server

from ell_otel.testing import recorded

HOGS = int(os.environ.get("FAULT_HOGS", "1"))
IMPORTS = "import os, resource, sys, threading, time\nimport ell_otel as ell\n"


def script(folder: Path, body: str, *head: str, **environment: str) -> str:
    """What a script prints that runs in a process of its own, with the ``.ell`` folder ``folder``."""
    path = folder.parent / "script.py"
    path.write_text(IMPORTS + body)
    done = subprocess.run(
        [*head, sys.executable, str(path)],
        env=os.environ | {"ELL_OTEL_DIR": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_application_without_descriptors_goes_on_and_records_again_when_it_has_some(tmp_path: Path) -> None:
    body = """
@ell.program
def work(n): return n
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
def exhaust():
    held = []
    try:
        while True: held.append(open(os.devnull))
    except OSError: return held
held = exhaust()
total = sum(work(1) for _ in range(10))
del held
total += sum(work(1) for _ in range(10))
held = exhaust()  # a segment that is open stays so
total += sum(work(1) for _ in range(10))
del held
print(total)
"""
    assert script(tmp_path / ".ell", body) == "30\n"
    recording = recorded(tmp_path / ".ell")
    lost = sum(event.attributes["ell.loss.count"] for event in recording.events if event.name == "ell.loss")
    assert len(recording.spans) + lost == 31  # with the program's announcement
    assert len(recording.spans) >= 20


@pytest.mark.parametrize("endpoint", [False, True])
def test_an_application_that_may_start_no_thread_for_a_while_records_all_the_same(
    tmp_path: Path, endpoint: bool
) -> None:
    body = """
@ell.program
def work(n): return n
with open(os.environ["PIDS"], "w") as limit: limit.write("1")
before = time.monotonic()
total = sum(work(1) for _ in range(10))
took = time.monotonic() - before
with open(os.environ["PIDS"], "w") as limit: limit.write("max")
total += sum(work(1) for _ in range(10))
print(total, ell.flush(), took < 5)
"""
    with http_collector() as collector, cgroup("pids", "pids.max", 1000) as head:
        pids = head[2].split()[3].replace("cgroup.procs", "pids.max")
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} if endpoint else {}
        assert script(tmp_path / ".ell", body, *head, PIDS=pids, **where) == "20 True True\n"
        assert len(collector.spans if endpoint else recorded(tmp_path / ".ell").spans) == 20


def test_a_server_out_of_descriptors_takes_requests_again_when_they_are_given_back(tmp_path: Path) -> None:
    need("prlimit", "util-linux")
    server = Server(tmp_path / ".ell", "prlimit", "--nofile=200")
    ledger = Ledger()
    assert server.started
    idle = []
    with contextlib.suppress(OSError):
        for _ in range(250):
            idle.append(socket.create_connection(("127.0.0.1", server.ports["OTLP/HTTP"]), timeout=2))
    busy = [_busy_s(server) for _ in range(4)]
    for each in idle:
        each.close()
    time.sleep(1.5)
    senders = Senders(server, ledger, 0, threads=2)
    assert ledger.reaches(20)
    senders.end()
    assert server.end() == 0
    verdict = audit(tmp_path / ".ell", ledger)
    assert max(busy[1:]) < 0.3, f"it does not wait for descriptors in a hot loop: {busy}"
    assert clean(verdict), verdict


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _busy_s(server: Server) -> float:
    """Processor time of the next second."""
    before = processor_s(server.process.pid)
    time.sleep(1)
    return processor_s(server.process.pid) - before


def test_a_query_that_takes_too_much_memory_is_refused_and_the_server_goes_on_receiving(tmp_path: Path) -> None:
    import http.client
    from urllib.parse import quote

    ledger = Ledger()
    with cgroup("memory", "memory.limit_in_bytes", 2 << 30) as head:
        server = Server(tmp_path / ".ell", *head)
        assert server.started
        senders = Senders(server, ledger, 0, threads=2)
        token = (tmp_path / ".ell" / "token").read_text().strip()
        sql = "SELECT groupArray(toString(number) || 'a text to keep') AS a FROM numbers(30000000) GROUP BY number % 7"
        connection = http.client.HTTPConnection("127.0.0.1", server.ports["ClickHouse HTTP"], timeout=60)
        connection.request(
            "GET", f"/?query={quote(sql)}", headers={"x-clickhouse-user": "reader", "x-clickhouse-key": token}
        )
        answer = connection.getresponse()
        told = answer.read().decode()
        connection.close()
        assert ledger.reaches(len(ledger.numbers("acked")) + 20), "it went on receiving"
        senders.end()
        alive = server.process.poll() is None
        server.kill()
    assert answer.status != 200
    assert "memory" in told.lower(), told
    assert alive
    verdict = audit(tmp_path / ".ell", ledger)
    assert clean(verdict), verdict


def test_a_server_killed_for_want_of_memory_loses_nothing_it_had_acknowledged(tmp_path: Path) -> None:
    """The limit is made smaller once the engine has read it, and then the kernel kills us."""
    ledger = Ledger()
    with cgroup("memory", "memory.limit_in_bytes", 1 << 30) as head:
        server = Server(tmp_path / ".ell", *head)
        assert server.started
        senders = Senders(server, ledger, 0, threads=2)
        assert ledger.reaches(20)
        limit = Path(head[2].split()[3]).with_name("memory.limit_in_bytes")
        for megabytes in range(1024, 16, -16):
            with contextlib.suppress(OSError):  # it cannot be made smaller than what is in use and cannot be freed
                limit.write_text(str(megabytes << 20))
        server.process.wait(30)
        senders.end()
        server.kill()
    verdict = audit(tmp_path / ".ell", ledger)
    assert clean(verdict), verdict


def test_starved_of_processor_time_nothing_is_lost(tmp_path: Path) -> None:
    """``FAULT_HOGS`` busy loops before it; `make faults` takes four, and the lowest priority."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(HOGS)]
    try:
        server = Server(tmp_path / ".ell", "nice", "-n", "19" if HOGS > 1 else "5")
        assert server.started
        ledger = Ledger()
        senders = Senders(server, ledger, 0, threads=2)
        app = App(tmp_path / "app", tmp_path / "app.py")
        for _ in range(3):
            app.work("starved")
        app.end()
        assert ledger.reaches(20)
        senders.end()
        assert server.end(60) == 0
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait(10)
    assert len(recorded(tmp_path / "app").spans) == 30
    verdict = audit(tmp_path / ".ell", ledger)
    assert clean(verdict), verdict
