"""Opening a store: the lock, the messages, the threads."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ell_otel.config import resolve
from ell_otel.errors import ConfigError, InstrumentationError, StoreError, StoreLockedError
from ell_otel.store import client
from ell_otel.store.client import Store, open_store, read_lock
from ell_otel.store.explain import explain, hide_password
from ell_otel.store.lock import Lock, lock_path

Open = Callable[..., Store]

HOLD = """
import sys, time
from ell_otel.config import resolve
from ell_otel.store.client import open_store
with open_store(resolve({}, dir=sys.argv[1]), purpose="holding") as store:
    if len(sys.argv) > 3:
        store.announce(clickhouse_port=int(sys.argv[3]))
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding(directory: Path, seconds: float, *port: str) -> subprocess.Popen[str]:
    """Another process that holds the store."""
    arguments = [sys.executable, "-c", HOLD, str(directory), str(seconds), *port]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_the_store_says_who_holds_it_while_it_is_open(opened: Open, tmp_path: Path) -> None:
    assert read_lock(tmp_path / ".ell") is None
    store = opened("looking")
    store.announce(clickhouse_port=8123)
    info = read_lock(tmp_path / ".ell")
    assert info is not None
    assert (info.pid, info.purpose, info.clickhouse_port) == (os.getpid(), "looking", 8123)
    store.close()
    assert read_lock(tmp_path / ".ell") is None


def test_a_store_held_by_another_process_is_refused_with_pid_purpose_and_remedy(tmp_path: Path, opened: Open) -> None:
    holder = holding(tmp_path / ".ell", 60)
    try:
        with pytest.raises(StoreLockedError) as refused:
            opened()
        for part in (str(holder.pid), "holding", f"kill {holder.pid}", "ell-otel serve"):
            assert part in str(refused.value)
        assert refused.value.retryable
    finally:
        ended(holder)


def test_opening_waits_for_a_short_lived_holder(tmp_path: Path, opened: Open) -> None:
    holder = holding(tmp_path / ".ell", 0.5)
    assert opened(wait_s=20).local
    assert holder.wait() == 0


def test_a_holder_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path, opened: Open) -> None:
    ended(holding(tmp_path / ".ell", 60, "8123"))
    assert opened().query("SELECT 1 AS one") == [{"one": 1}]


def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_asked(tmp_path: Path, opened: Open) -> None:
    holder = holding(tmp_path / ".ell", 60, "1")
    (tmp_path / ".ell" / "token").write_text("secret")
    try:
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"nothing answers at http://127\.0\.0\.1:1"):
            opened()
        assert time.monotonic() - begun < 10
    finally:
        ended(holder)


def test_two_that_open_at_once_both_get_their_turn(tmp_path: Path) -> None:
    script = HOLD.replace('purpose="holding"', 'purpose="holding", wait_s=30')
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / ".ell"), "0"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == ["held\n", "held\n"]


def test_a_forked_child_neither_keeps_the_lock_nor_queries(tmp_path: Path, opened: Open) -> None:
    lock = Lock.acquire(tmp_path / "x", "parent")
    assert lock is not None
    store = Store("elsewhere", {})
    child = os.fork()
    if child == 0:
        try:
            store.query("SELECT 1")
        except StoreError as error:
            os._exit(0 if "before a fork" in str(error) and lock._fd < 0 else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert Lock.acquire(tmp_path / "x", "again") is None
    lock.release()


def test_every_thread_gets_its_own_client(opened: Open) -> None:
    store = opened()
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(store.query("SELECT {n:Int64} AS n", {"n": n})[0]["n"]))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == list("01234567")


@pytest.mark.parametrize("text", ["it's", 'a"b', "\\", "\\N", "%s {x:String}", "a\tb\nc", "nul\0", "é😀\u2028", ""])
def test_a_parameter_arrives_as_it_was_given(text: str, opened: Open) -> None:
    rows = opened().query("SELECT {t:String} AS t, {ts:Array(String)} AS ts", {"t": text, "ts": [text, "x"]})
    assert rows == [{"t": text, "ts": [text, "x"]}]


def test_a_question_may_have_all_the_cores_though_the_engine_has_little_memory(opened: Open) -> None:
    sql = "EXPLAIN PIPELINE SELECT sum(number) FROM numbers_mt(10000000)"
    lines = [str(row["explain"]).strip() for row in opened().query(sql, settings={"max_threads": 4})]
    assert "AggregatingTransform × 4" in lines


def test_a_closed_store_says_so(opened: Open) -> None:
    store = opened()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="has been closed"):
        store.query("SELECT 1")


def test_a_bad_query_is_a_store_error_that_quotes_the_engine(opened: Open) -> None:
    store = opened()
    with pytest.raises(StoreError, match="NO_SUCH_THING"):
        store.query("SELECT NO_SUCH_THING")
    with pytest.raises(StoreError, match=r"no such table.*ell-otel migrate"):
        store.query("SELECT * FROM nowhere")


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        (
            "http://user:hunter2@127.0.0.1:1/db",
            r"at http://user@127\.0\.0\.1:1/db \(Connection refused\): start it.*--store",
        ),
        ("https://user:hunter2@127.0.0.1:1/db", r"nothing answers at https://user@127\.0\.0\.1:1/db"),
        ("postgres://u:hunter2@h/db", r"postgres://u@h/db is no store"),
        ("chdb://memory", "is no store"),
    ],
)
def test_a_store_that_cannot_be_reached_is_named_without_its_password(dsn: str, said: str) -> None:
    with pytest.raises((StoreError, ConfigError), match=said) as refused:
        open_store(resolve({}, store=dsn), purpose="test")
    assert "hunter2" not in str(refused.value)
    assert ("HTTPSConnection" in str(refused.value.__cause__)) == dsn.startswith("https")


def test_another_chdb_path_can_be_named(tmp_path: Path) -> None:
    with open_store(resolve({}, store=f"chdb://{tmp_path}/a/b%20c"), purpose="test") as store:
        assert store.local
        assert store.query("SELECT 1 AS one") == [{"one": 1}]
    assert lock_path(tmp_path / "a" / "b c").exists()


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*stands where a folder should be.*ELL_OTEL_DIR"):
        open_store(resolve({}, dir=str(tmp_path / "file" / ".ell")), purpose="test")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EROFS, "x"), "the file system is read-only"),
        (OSError(errno.ENOSPC, "x"), "the disk is full"),
        (RuntimeError("Code: 516. DB::Exception: default: Authentication failed"), "user or password is wrong"),
        (RuntimeError("Code: 81. DB::Exception: Database x does not exist"), "no such database"),
        (RuntimeError("write failed: No space left on device"), "the disk is full"),
        (RuntimeError("connect http://u:hunter2@h failed"), "connect http://h failed"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_every_failure_says_what_it_means(error: Exception, said: str) -> None:
    assert said in str(explain(error, "the store"))


def test_a_dsn_is_shown_without_password_and_query() -> None:
    assert hide_password("https://u:p@h:8443/db?password=p") == "https://u@h:8443/db"


def test_a_missing_package_gives_the_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    with pytest.raises(InstrumentationError, match=r"pip install 'ell-otel\[local\]'"):
        open_store(resolve({}, dir=str(tmp_path / ".ell")), purpose="test")
    assert read_lock(tmp_path / ".ell") is None


def test_importing_the_store_imports_neither_chdb_nor_clickhouse_connect() -> None:
    names = "{'chdb', 'clickhouse_connect'}"
    code = f"import sys, ell_otel.store.queries, ell_otel.ingest.drain; print({names} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    assert client.READER == "reader"
