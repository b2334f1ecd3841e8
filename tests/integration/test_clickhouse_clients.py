"""Clients of ClickHouse that exist, each as its users use it: greeting, parameters, an insert, a long answer, errors."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from fronts import Front

from ell_otel.config import resolve
from ell_otel.errors import StoreError
from ell_otel.server.rights import Limits
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import LOG_COLUMNS, TRACE_COLUMNS, Rows, write

CLIENTS = Path(__file__).parents[2] / "build" / "clients"
ROWS = 500_000
LATE_ERROR = f"SELECT number, throwIf(number = {ROWS - 1}) FROM numbers({ROWS})"
NASTY = "a'b\\c\n\td`--ü"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("front"), Limits(max_execution_time=30))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_logs(front: Front) -> Iterator[None]:
    yield
    front.store.command("TRUNCATE TABLE otel_logs")


def bodies(front: Front) -> list[object]:
    return [row["Body"] for row in front.store.query("SELECT Body FROM otel_logs ORDER BY SeverityNumber")]


# -- clickhouse-connect -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, "gzip", "lz4", "zstd"])
def test_clickhouse_connect_reads_and_inserts(front: Front, compress: Any) -> None:
    client = front.client("ingest", compress=compress)
    sql = "SELECT number, toString(number) AS s, [number] AS a, map('k', s) AS m FROM numbers(5000)"
    result = client.query(sql)
    assert result.column_names == ("number", "s", "a", "m")
    assert result.result_rows[4999] == (4999, "4999", [4999], {"k": "4999"})
    assert client.query("SELECT 1 WHERE 0").result_rows == []
    assert client.command("SELECT 5") == 5
    assert b"1,2" in client.raw_query("SELECT 1, 2", fmt="CSV")
    rows = [[f" \t\r\n;`FORMAT {n}'\\ü", n % 256] for n in range(2000)]
    summary = client.insert("otel_logs", rows, column_names=["Body", "SeverityNumber"])
    assert summary.written_rows >= 2000
    assert {row["Body"] for row in front.store.query("SELECT Body FROM otel_logs")} == {row[0] for row in rows}
    client.close()


def test_clickhouse_connect_streams_a_long_answer(front: Front) -> None:
    client = front.client()
    with client.query_row_block_stream(f"SELECT number FROM numbers({ROWS})") as blocks:
        assert sum(len(block) for block in blocks) == ROWS
    client.close()


@pytest.mark.parametrize("form", [False, True])
def test_parameters_are_bound_by_the_server_whatever_they_hold(front: Front, form: bool) -> None:
    client = front.client(form_encode_query_params=form)
    values = {"text": NASTY, "number": 3, "list": ["x", "y'"]}
    sql = "SELECT {text:String}, {number:UInt8}, {list:Array(String)}"
    assert client.query(sql, parameters=values).result_rows == [(NASTY, 3, ["x", "y'"])]
    client.close()


def test_clickhouse_connect_keeps_a_session(front: Front) -> None:
    client = front.client(autogenerate_session_id=True)
    client.command("SET max_block_size = 11")
    assert client.command("SELECT getSetting('max_block_size')") == 11
    client.close()


def test_clickhouse_connect_understands_errors_early_and_late(front: Front) -> None:
    client = front.client()
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM absent")
    with pytest.raises(ClickHouseError, match="non-zero"):
        client.query(LATE_ERROR)
    assert client.command("SELECT 1") == 1
    client.close()
    with pytest.raises(DatabaseError, match="Authentication failed"):
        front.client(password="wrong")


def test_a_store_given_as_a_url_is_migrated_written_and_read(front: Front) -> None:
    front.store.command("CREATE DATABASE other")
    address = f"127.0.0.1:{front.port}/other"
    with (
        open_store(resolve({}, store=f"http://owner:owner-token@{address}"), purpose="test") as owner,
        open_store(resolve({}, store=f"http://reader:read-token@{address}"), purpose="test") as reader,
    ):
        assert not owner.local
        assert migrate(owner)
        assert not migrate(owner)
        rows = Rows()
        for column, (name, kind) in zip(rows.traces, TRACE_COLUMNS, strict=True):
            column.append(_value(name, kind))
        for column, (name, kind) in zip(rows.logs, LOG_COLUMNS, strict=True):
            column.append(_value(name, kind))
        write(owner, rows)
        assert reader.query("SELECT SpanName, Duration FROM otel_traces") == [{"SpanName": "SpanName ü", "Duration": 7}]
        assert reader.query("SELECT Body, LogAttributes FROM otel_logs") == [
            {"Body": "Body ü", "LogAttributes": {"k": "v"}}
        ]
        with pytest.raises(StoreError):
            write(reader, rows)
        with pytest.raises(StoreError):
            reader.command("DROP TABLE otel_traces")


def _value(name: str, kind: str) -> object:
    if kind.startswith("Array"):
        return []
    if kind.startswith("Map"):
        return {"k": "v"}
    if kind.startswith("DateTime"):
        return time.time_ns()
    return 7 if "UInt" in kind else f"{name} ü"


# -- curl -------------------------------------------------------------------------------------------------------------


def curl(front: Front, *arguments: str, user: str = "reader:read-token", data: bytes = b"") -> tuple[int, str]:
    said = subprocess.run(
        ["curl", "-sS", "--fail-with-body", "-u", user, *arguments],
        input=data,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return said.returncode, said.stdout.decode()


def test_curl_reads_and_inserts(front: Front, tmp_path: Any) -> None:
    assert curl(front, f"{front.url}/ping") == (0, "Ok.\n")
    asked = "SELECT n FROM numbers_kept ORDER BY n LIMIT 2 FORMAT JSONCompact"
    assert json.loads(curl(front, front.url, "-d", asked)[1])["data"] == [[0], [1]]
    assert curl(front, "-G", front.url, "--data-urlencode", "query=SELECT {a:String}", "-d", "param_a=x") == (0, "x\n")
    insert = f"{front.url}/?query=INSERT+INTO+otel_logs+(Body,SeverityNumber)+FORMAT+JSONEachRow"
    rows = "".join(json.dumps({"Body": f"{NASTY}{n}", "SeverityNumber": n % 256}) + "\n" for n in range(100))
    packed = gzip.compress(rows.encode())
    assert curl(
        front, insert, "-H", "Content-Encoding: gzip", "--data-binary", "@-", user="ingest:ingest-token", data=packed
    ) == (0, "")
    assert bodies(front) == [f"{NASTY}{n}" for n in range(100)]


def test_curl_sends_a_large_file_in_chunks_after_asking_whether_it_may(front: Front) -> None:
    """More than 1 MiB: ``Expect: 100-continue``; ``-T -``: chunked."""
    rows = b"".join(b"%d,%d %s\n" % (n % 200, n, b"x" * 1000) for n in range(5000))
    insert = f"{front.url}/?query=INSERT+INTO+otel_logs+(SeverityNumber,Body)+FORMAT+CSV"
    headers = ("-X", "POST", "-H", "Expect: 100-continue")
    assert curl(front, insert, *headers, "-T", "-", user="ingest:ingest-token", data=rows) == (0, "")
    assert curl(front, insert, *headers, "--data-binary", "@-", user="ingest:ingest-token", data=rows) == (0, "")
    front.store.command("OPTIMIZE TABLE otel_logs FINAL")  # the same rows twice are there once
    assert front.store.query("SELECT count() AS n, uniqExact(SeverityNumber) AS u FROM otel_logs") == [
        {"n": 5000, "u": 200}
    ]


def test_curl_sees_errors_early_and_late(front: Front) -> None:
    code, said = curl(front, front.url, "-d", "SELECT * FROM absent")
    assert (code, "UNKNOWN_TABLE" in said) == (22, True)
    code, said = curl(front, front.url, "-d", LATE_ERROR)
    assert (code, "__exception__" in said) == (18, True), "a partial file"
    assert curl(front, front.url, "-d", "SELECT 1", user="reader:wrong")[0] == 22


# -- clickhouse-go, which Grafana and the Collector's exporter use, and @clickhouse/client ----------------------------


def reported(*command: object) -> dict[str, Any]:
    """What a program of ``tests/clients`` says of its steps."""
    said = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


@pytest.mark.skipif(
    not (CLIENTS / "go").exists(), reason="build/clients/go is missing: `make clients` builds it, with Go"
)
@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_clickhouse_go_reads_and_inserts(front: Front, compression: str) -> None:
    made = reported(CLIENTS / "go", f"127.0.0.1:{front.port}", "ingest", "ingest-token", compression, 5000)
    assert "code: 516" in made.pop("Wrong")
    assert made.pop("Seconds") > 0
    assert made == {
        "Version": "ell-otel",
        "Parameters": ["a'bü \\", "42"],
        "Inserted": 5000,
        "Streamed": 500_000,
        "Sum": sum(range(500_000)),
        "Early": 60,
        "Late": 395,
        "Canceled": True,
    }
    assert front.store.query(
        "SELECT uniqExact(LogAttributes['n']) AS n, countIf(Body NOT LIKE '% ü %') AS b FROM otel_logs"
    ) == [{"n": 5000, "b": 0}]


@pytest.mark.skipif(
    not (CLIENTS / "node").exists(), reason="build/clients/node is missing: `make clients` makes it, with npm"
)
@pytest.mark.parametrize("packed", ["true", "false"])
def test_clickhouse_for_node_reads_and_inserts(front: Front, packed: str) -> None:
    made = reported(
        shutil.which("node"), CLIENTS / "node" / "main.mjs", front.url, "ingest", "ingest-token", packed, 3000
    )
    assert made == {
        "ping": True,
        "parameters": {"s": "a'b\\c\tü", "n": 42, "l": ["x'", "y"]},
        "inserted": 3000,
        "streamed": 500_000,
        "early": "60",
        "late": "395",
        "canceled": "Error",
        "session": 12,
        "wrong": "516",
    }
    assert len(set(bodies(front))) == 3000
