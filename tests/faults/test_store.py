"""The store's own process killed in the midst of inserts, merges, mutations and migrations; and merges kept up with."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from oracle import Ledger, audit, clean
from victims import HERE, Senders, Server, kill, strace

from ell_otel import semconv
from ell_otel.config import resolve
from ell_otel.errors import EllOtelError
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate, status

KILLS = max(2, int(os.environ.get("FAULT_KILLS", "50")) // 20)
POINTS = max(2, int(os.environ.get("FAULT_POINTS", "3")) // 2)
STEP = 1_000_000

# Inserts as delivery makes them, while another thread merges all there is and rewrites it.
BUSY = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from oracle import Ledger, span_of
from ell_otel.config import resolve
from ell_otel.ingest import decode
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import Rows, write
directory, ledger, first = sys.argv[2], Ledger(Path(sys.argv[3])), int(sys.argv[4])
with open_store(resolve({}, dir=directory), purpose="busy") as store:
    migrate(store)
    def merge():
        while True:
            store.command("OPTIMIZE TABLE otel_traces FINAL")
            store.command("ALTER TABLE otel_traces DELETE WHERE SpanName = 'nobody' SETTINGS mutations_sync = 1")
    threading.Thread(target=merge, daemon=True).start()
    print("busy", flush=True)
    for number in range(first, first + 100_000, 10):
        rows = Rows()
        for each in range(number, number + 10):
            ledger.write("intent", each)
            rows.extend(decode.traces(span_of(each)))
        write(store, rows)
        for each in range(number, number + 10): ledger.write("acked", each)
"""
MIGRATE = """
import sys
from ell_otel.config import resolve
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
with open_store(resolve({}, dir=sys.argv[1]), purpose="migrate", wait_s=50) as store: migrate(store)
"""


def busy(directory: Path, ledger: Ledger, first: int, *head: str) -> subprocess.Popen[bytes]:
    command = [*head, sys.executable, "-c", BUSY, str(HERE), str(directory), str(ledger.path), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def opens_within(directory: Path, seconds: float) -> float:
    began = time.monotonic()
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        migrate(store)
        store.query("SELECT count() FROM otel_traces")
    assert time.monotonic() - began < seconds
    return time.monotonic() - began


def test_killed_at_random_between_inserts_merges_and_mutations_the_store_keeps_every_insert(tmp_path: Path) -> None:
    directory, ledger = tmp_path / ".ell", Ledger()
    for cycle in range(KILLS):
        process = busy(directory, ledger, cycle * STEP)
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
        until = time.monotonic() + 30
        while max(ledger.numbers("acked"), default=0) < cycle * STEP and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.wait(20)
        process.stdout.close()
    opens_within(directory, 30)
    verdict = audit(directory, ledger)
    assert verdict.acked > KILLS
    assert clean(verdict), verdict


@pytest.mark.parametrize("call", ["rename,renameat,renameat2", "unlink,unlinkat"])
def test_killed_at_a_chosen_rename_or_unlink_of_merges_the_store_keeps_every_insert(tmp_path: Path, call: str) -> None:
    directory, ledger = tmp_path / ".ell", Ledger()
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        migrate(store)
    fired = 0
    for point in range(POINTS):
        process = busy(directory, ledger, point * STEP, *strace(f"{call}:signal=SIGKILL:when={10 + 13 * point % 200}"))
        try:
            process.wait(30)
            fired += 1
        except subprocess.TimeoutExpired:
            kill(process)
        if process.stdout is not None:
            process.stdout.close()
    assert fired > POINTS / 2
    verdict = audit(directory, ledger)
    assert clean(verdict), verdict


def test_a_migration_killed_at_each_of_many_renames_is_completed_by_the_next(tmp_path: Path) -> None:
    killed = 0
    for point in range(POINTS):
        directory = tmp_path / f"{point}"
        head = strace(f"rename,renameat,renameat2:signal=SIGKILL:when={1 + 7 * point % 18}")
        command = [sys.executable, "-c", MIGRATE, str(directory)]
        killed += subprocess.run([*head, *command], check=False, capture_output=True, timeout=60).returncode != 0
        with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
            migrate(store)
            assert all(entry.applied_at for entry in status(store))
            assert migrate(store) == []
    assert killed > POINTS / 2


def test_two_that_migrate_at_once_both_get_a_whole_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MIGRATE, str(tmp_path / ".ell")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    with open_store(resolve({}, dir=str(tmp_path / ".ell")), purpose="test") as store:
        assert migrate(store) == []


def test_an_older_release_refuses_a_newer_store_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    with open_store(resolve({}, dir=str(tmp_path / ".ell")), purpose="test") as store:
        migrate(store)
        row: list[Any] = [[99], ["0099_of_a_release_to_come.sql"], ["0" * 64]]
        store.insert(semconv.TABLE_MIGRATIONS, ["Number", "Name", "Sha256"], ["UInt32", "String", "String"], row)
        with pytest.raises(EllOtelError, match="pip install -U"):
            migrate(store)
    server = Server(tmp_path / ".ell")
    assert not server.started
    server.kill()


def test_fifty_senders_of_single_spans_make_no_storm_of_parts(tmp_path: Path) -> None:
    directory, ledger = tmp_path / ".ell", Ledger()
    server = Server(directory)
    assert server.started
    senders = Senders(server, ledger, 0, threads=50)
    assert ledger.reaches(1000)
    senders.end()
    assert server.end(60) == 0
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        sql = "SELECT table, count() AS n FROM system.parts WHERE active GROUP BY table"
        parts = {str(row["table"]): int(str(row["n"])) for row in store.query(sql)}
    verdict = audit(directory, ledger)
    assert clean(verdict), verdict
    assert max(parts.values()) < 300, parts


def test_a_copy_of_the_folder_of_a_server_that_has_ended_is_a_backup(tmp_path: Path) -> None:
    ledger = Ledger()
    server = Server(tmp_path / ".ell")
    assert server.started
    senders = Senders(server, ledger, 0, threads=2)
    assert ledger.reaches(20)
    senders.end()
    assert server.end() == 0
    shutil.copytree(tmp_path / ".ell", tmp_path / "restored" / ".ell", symlinks=True)  # as `cp -a`
    everything = []
    for directory in (tmp_path / ".ell", tmp_path / "restored" / ".ell"):
        with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
            everything.append(store.query("SELECT * FROM otel_traces ORDER BY TraceId, SpanId"))
    assert everything[0] == everything[1]
    assert len(everything[0]) >= len(ledger.numbers("acked")) > 0
    server = Server(tmp_path / "restored" / ".ell")  # and it is served and written to
    assert server.started
    Senders(server, ledger, STEP, threads=1, most=5).end()
    assert server.end() == 0
    assert clean(audit(tmp_path / "restored" / ".ell", ledger))
