"""Inserts through ClickHouse's HTTP interface: what was answered is stored, whatever is killed or cut off."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ell_otel.config import resolve
from ell_otel.store.client import open_store

ROUNDS = max(3, int(os.environ.get("FAULT_KILLS", "50")) // 20)
TOKEN = "insert-token"
INSERT = "/?query=INSERT+INTO+otel_logs+(Body,SeverityNumber)+FORMAT+JSONEachRow"
HEADERS = {"X-ClickHouse-User": "ingest", "X-ClickHouse-Key": TOKEN}


class Server:
    """``ell-otel serve`` in a process of its own."""

    def __init__(self, directory: Path) -> None:
        names = ("--grpc-port", "--http-port", "--clickhouse-port", "--port")
        command = [
            sys.executable,
            "-m",
            "ell_otel",
            "serve",
            "--json",
            *[word for name in names for word in (name, "0")],
        ]
        environment = os.environ | {"ELL_OTEL_DIR": str(directory), "ELL_OTEL_INGEST_TOKEN": TOKEN}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout
        listening = json.loads(self.process.stdout.readline())["data"]
        self.port = next(row["port"] for row in listening if row["name"] == "ClickHouse HTTP")

    def connected(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60))

    def post(self, path: str, body: Any, **headers: str) -> int:
        """The status of the answer."""
        with self.connected() as connection:
            connection.request("POST", path, body, HEADERS | headers)
            return connection.getresponse().status

    def kill(self) -> None:
        with self.process:
            self.process.kill()


def insert_until_killed(server: Server, mark: str, acknowledged: list[str]) -> None:
    """Batches of ten rows, each with its own bodies; those that were answered are noted."""
    number = 0
    try:
        while True:
            bodies = [f"{mark} {number} {row}" for row in range(10)]
            rows = "\n".join(json.dumps({"Body": body, "SeverityNumber": 1}) for body in bodies)
            if server.post(INSERT, rows) == 200:
                acknowledged += bodies
            number += 1
    except (OSError, http.client.HTTPException):
        return


def stored(directory: Path) -> set[object]:
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        return {row["Body"] for row in store.query("SELECT Body FROM otel_logs")}


def test_what_an_inserter_was_answered_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for turn in range(ROUNDS):
        server = Server(tmp_path / ".ell")
        senders = [
            threading.Thread(target=insert_until_killed, args=(server, f"{turn}.{who}", acknowledged))
            for who in range(3)
        ]
        for sender in senders:
            sender.start()
        until = time.monotonic() + 60
        while len(acknowledged) <= 10 * (turn + 1) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.8))
        server.kill()
        for sender in senders:
            sender.join(30)
    assert len(acknowledged) > 10 * ROUNDS
    assert set(acknowledged) <= stored(tmp_path / ".ell")


@pytest.mark.parametrize("packed", [False, True])
def test_an_insert_that_is_cut_off_is_no_harm_to_the_next(tmp_path: Path, packed: bool) -> None:
    """The sender goes in the midst of its body, packed or not."""
    server = Server(tmp_path / ".ell")
    try:
        for _ in range(5):
            coding = {"Content-Encoding": "gzip"} if packed else {}
            with server.connected() as connection:
                connection.putrequest("POST", INSERT)
                for name, value in (HEADERS | coding | {"Content-Length": "1000000"}).items():
                    connection.putheader(name, value)
                connection.endheaders(b"\x1f\x8b\x08" if packed else b'{"Body": "half')
        assert server.post(INSERT, '{"Body": "whole"}') == 200
    finally:
        server.kill()
    assert stored(tmp_path / ".ell") == {"whole"}


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_bomb_is_refused_and_a_slow_reader_fills_no_memory(tmp_path: Path) -> None:
    sql = "SELECT repeat('x', 500) FROM numbers(400000) SETTINGS max_block_size = 2000"
    server = Server(tmp_path / ".ell")
    try:
        begun = resident(server.process.pid)
        bomb = gzip.compress(bytes(700 << 20), compresslevel=1)
        assert server.post("/", bomb, **{"Content-Encoding": "gzip"}) == 400, "a query may be 256 KiB long"
        with server.connected() as connection:
            connection.request("POST", "/", sql, HEADERS)
            answer = connection.getresponse()
            answer.read(1000)
            time.sleep(1)
            assert resident(server.process.pid) - begun < 100 << 20, "half of the answer"
            assert len(answer.read()) == 400_000 * 501 - 1000, "and gets all of it in the end"
    finally:
        server.kill()
