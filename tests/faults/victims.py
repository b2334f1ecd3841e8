"""The processes that are killed: an application that appends to the spool, and a server that is sent to."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from oracle import Ledger, span_of

HERE = Path(__file__).parent
WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from oracle import Ledger, append
from ell_otel.telemetry.spool import SegmentWriter
directory, ledger, first, count, durability = Path(sys.argv[2]), Ledger(Path(sys.argv[3])), *sys.argv[4:7]
writer = SegmentWriter(directory / "spool", segment_bytes=6000, durability=durability)
append(writer, ledger, range(int(first), int(first) + int(count)))
"""


def strace(*inject: str) -> list[str]:
    """The head of a command that runs under strace with faults; skips the test where that cannot be had."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: `make faults` installs it (apt-get install strace)")
    calls = ",".join(each.partition(":")[0] for each in inject)  # the others are not slowed down
    only = ["-e", f"trace={calls}"] if inject else []
    return ["strace", "-f", *only, "-qq", "-o", "/dev/null", *(f"--inject={each}" for each in inject)]


def write(directory: Path, ledger: Ledger, first: int, count: int, durability: str, *head: str) -> int:
    """Run an application that appends ``count`` records; its exit code."""
    arguments = [str(HERE), str(directory), str(ledger.path), str(first), str(count), durability]
    command = [*head, sys.executable, "-c", WRITER, *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


endings: list[Callable[[], object]] = []
"""What ends the servers and senders that were begun; to be called in the end, however a test ended, once or twice."""


class Server:
    """``ell-otel serve`` in a process of its own, perhaps under strace. ``started`` is False when it died before."""

    def __init__(self, directory: Path, *head: str, store: str = "", more: Sequence[str] = ()) -> None:
        free = ["--http-port", "0", "--grpc-port", "0", "--clickhouse-port", "0", "-p", "0", "--json"]
        command = [*head, sys.executable, "-m", "ell_otel", "serve", "--dir", str(directory), *free]
        self.process = subprocess.Popen(
            [*command, *(["--store", store] if store else []), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        endings.append(self.kill)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.started = line.startswith('{"version"') and '"status": "ok"' in line
        self.ports = {each["name"]: each["port"] for each in json.loads(line)["data"]} if self.started else {}

    def post(self, body: bytes) -> bool:
        """Whether it was acknowledged."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["OTLP/HTTP"], timeout=10)
        try:
            connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def end(self, seconds: float = 30) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        finally:
            self.kill()  # no test leaves one behind, which would slow the tests after it

    def kill(self) -> None:
        """Kill it, and what it runs under."""
        kill(self.process)
        assert self.process.stdout is not None
        self.process.stdout.close()


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process and its children: strace alone would let go of whom it traces."""
    for child in _children(process.pid) if process.poll() is None else ():
        os.kill(child, 9)
    process.kill()
    process.wait(20)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Senders:
    """Threads that send records one by one, each noted in the ledger, until told to end."""

    def __init__(
        self, server: Server, ledger: Ledger, first: int, threads: int = 4, most: int = 10_000, pause_s: float = 0
    ) -> None:
        self._ending = threading.Event()
        self._pause_s = pause_s
        self._most = most
        self._threads = [
            threading.Thread(target=self._send, args=(server, ledger, first + who * most)) for who in range(threads)
        ]
        endings.append(self.end)
        for thread in self._threads:
            thread.start()

    def _send(self, server: Server, ledger: Ledger, first: int) -> None:
        for number in range(first, first + self._most):
            if self._ending.wait(self._pause_s):
                return
            ledger.write("intent", number)
            if server.post(span_of(number)):
                ledger.write("acked", number)

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
