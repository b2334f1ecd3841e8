"""Why no insert carries a deduplication token: killed at its part's rename and correctly sent again, it is gone.

The same happens without a token in a table with a deduplication window, which is on for Replicated tables only. The
first test documents the engine: when it fails, the engine has been mended and the rule may be thought over again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from victims import strace

TOKEN = """
import sys
from ell_otel.config import resolve
from ell_otel.store.client import open_store
directory, rows = sys.argv[1:]
with open_store(resolve({}, dir=directory), purpose="dedup") as store:
    store.command(
        "CREATE TABLE IF NOT EXISTS t (n UInt64) ENGINE = MergeTree ORDER BY n "
        "SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1"
    )
    store.insert("t", ["n"], ["UInt64"], [list(range(int(rows)))], {"insert_deduplication_token": "a batch"})
    print(store.query("SELECT uniqExact(n) AS n FROM t")[0]["n"])
"""
OURS = """
import sys
sys.path.insert(0, "HERE")
from oracle import span_of
from ell_otel.config import resolve
from ell_otel.ingest import decode
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write
directory, rows = sys.argv[1:]
with open_store(resolve({}, dir=directory), purpose="dedup") as store:
    migrate(store)
    for number in range(int(rows)):
        write(store, decode.traces(span_of(number)))
    print(store.query("SELECT uniqExact(SpanId) AS n FROM otel_traces")[0]["n"])
""".replace("HERE", str(Path(__file__).parent))


def stored_after_a_kill_at_a_rename_and_a_retry(directory: Path, script: str, rename: int) -> int:
    """How many of ten rows are there once the retry has been acknowledged."""

    def insert(rows: int, *head: str) -> subprocess.CompletedProcess[str]:
        command = [*head, sys.executable, "-c", script, str(directory), str(rows)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert insert(0).returncode == 0
    killed = insert(10, *strace(f"rename,renameat,renameat2:signal=SIGKILL:when={rename}"))
    assert killed.returncode != 0
    retry = insert(10)
    assert retry.returncode == 0, retry.stderr
    return int(retry.stdout)


def test_with_a_token_an_acknowledged_retry_loses_the_rows(tmp_path: Path) -> None:
    assert stored_after_a_kill_at_a_rename_and_a_retry(tmp_path / ".ell", TOKEN, 1) == 0


@pytest.mark.parametrize("rename", [1, 2])
def test_our_own_inserts_survive_it(tmp_path: Path, rename: int) -> None:
    assert stored_after_a_kill_at_a_rename_and_a_retry(tmp_path / ".ell", OURS, rename) == 10


def test_nothing_of_ours_asks_the_engine_to_deduplicate_inserts() -> None:
    package = Path(__file__).parents[2] / "ell_otel"
    files = [*package.rglob("*.py"), *package.rglob("*.sql")]
    words = ("deduplication_token", "deduplication_window")
    assert [path for path in files if any(word in path.read_text(encoding="utf-8") for word in words)] == []
