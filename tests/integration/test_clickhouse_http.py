"""ClickHouse's HTTP interface before the store: clients that exist, and readers who try to get out."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from ell_otel.config import resolve
from ell_otel.errors import StoreError
from ell_otel.server import clickhouse_http
from ell_otel.server.engine import Limits
from ell_otel.server.security import Role, User
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import LOG_COLUMNS, TRACE_COLUMNS, Rows, write

USERS = {"reader": User("read-token", Role.READER), "owner": User("owner-token", Role.OWNER)}
SECRET = "secret-5f1c"


class Front:
    """The interface on a free port, with a secret file in reach of its process."""

    def __init__(self, folder: Path) -> None:
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET)
        self.folder = folder
        self.store = open_store(resolve({}, dir=str(folder / ".ell")), purpose="test")
        migrate(self.store)
        self.store.command("CREATE TABLE numbers_kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        self.store.command("INSERT INTO numbers_kept SELECT number FROM numbers(10)")
        limits = Limits(max_execution_time=2, max_result_rows=200_000)
        self.listener = clickhouse_http.listener(self.store.name, USERS, host="127.0.0.1", port=0, limits=limits)
        self.listener.start()
        self.port = self.listener.port

    def client(self, user: str = "reader", **options: Any) -> Any:
        password = USERS[user].password
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username=user, password=password, autogenerate_session_id=False, **options
        )

    def ask(
        self,
        query: str = "",
        body: bytes = b"",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        **arguments: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """One raw request, as the reader unless the headers say otherwise."""
        headers = {"x-clickhouse-user": "reader", "x-clickhouse-key": "read-token"} if headers is None else headers
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = urlencode({**({"query": query} if query else {}), **arguments})
        try:
            connection.request(method, f"/?{named}", body or None, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("front"))
    yield made
    made.listener.stop(5)
    made.store.close()


# -- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [True, False, "gzip"])
def test_clickhouse_connect_reads(front: Front, compress: Any) -> None:
    client = front.client(compress=compress)
    sql = "SELECT number, toString(number) AS s, [number] AS a, map('k', s) AS m FROM numbers(5000)"
    result = client.query(sql)
    assert result.column_names == ("number", "s", "a", "m")
    assert result.result_rows[4999] == (4999, "4999", [4999], {"k": "4999"})
    assert client.query("SELECT 1 WHERE 0").result_rows == []
    assert client.command("SELECT 5") == 5
    assert b"1,2" in client.raw_query("SELECT 1, 2", fmt="CSV")
    client.close()


def test_parameters_are_bound_by_the_server_whatever_they_hold(front: Front) -> None:
    client = front.client()
    values = {"text": "a'b\\c\n\td`--", "number": 3, "list": ["x", "y'"]}
    sql = "SELECT {text:String}, {number:UInt8}, {list:Array(String)}"
    assert client.query(sql, parameters=values).result_rows == [("a'b\\c\n\td`--", 3, ["x", "y'"])]
    client.close()


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


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_reads_json(front: Front) -> None:
    url = f"http://127.0.0.1:{front.port}/"
    said = subprocess.run(
        [
            "curl",
            "-sS",
            "-u",
            "reader:read-token",
            url,
            "--data-binary",
            "SELECT n FROM numbers_kept LIMIT 2 FORMAT JSON",
        ],
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert [row["n"] for row in json.loads(said.stdout)["data"]] in ([0, 1], ["0", "1"])


# -- the protocol -----------------------------------------------------------------------------------------------------


def test_a_query_is_taken_from_the_url_the_body_or_a_packed_body(front: Front) -> None:
    assert front.ask("SELECT 1")[2] == b"1\n"
    assert front.ask(method="POST", body=b"SELECT 1")[2] == b"1\n"
    headers = {"content-encoding": "gzip", "x-clickhouse-user": "reader", "x-clickhouse-key": "read-token"}
    assert front.ask(method="POST", body=gzip.compress(b"SELECT 2"), headers=headers)[2] == b"2\n"
    assert front.ask("SELECT {x:UInt8} + 1", param_x="41")[2] == b"42\n"


def test_the_format_is_the_clauses_or_the_requests_and_is_told(front: Front) -> None:
    _, headers, body = front.ask("SELECT 1 AS one", default_format="JSONEachRow", query_id="my-id")
    assert json.loads(body) == {"one": 1}
    assert headers["x-clickhouse-format"] == "JSONEachRow"
    assert headers["x-clickhouse-query-id"] == "my-id"
    assert set(json.loads(headers["x-clickhouse-summary"]).values()) >= {"1"}
    assert headers["x-clickhouse-timezone"]
    assert front.ask("SELECT 1 FORMAT CSV", default_format="JSON")[1]["x-clickhouse-format"] == "CSV"


def test_a_large_answer_is_packed_when_that_is_asked_for(front: Front) -> None:
    headers = {
        "x-clickhouse-user": "reader",
        "x-clickhouse-key": "read-token",
        "accept-encoding": "deflate, gzip;q=0.5",
    }
    _, told, body = front.ask("SELECT number FROM numbers(10000)", headers=headers, enable_http_compression="1")
    assert told["content-encoding"] == "gzip"
    assert gzip.decompress(body).count(b"\n") == 10_000
    assert "content-encoding" not in front.ask("SELECT number FROM numbers(10000)", headers=headers)[1]


def test_settings_that_are_not_a_readers_are_left_out(front: Front) -> None:
    status, _, body = front.ask("SELECT 1", readonly="0", format_schema="/etc/passwd", nonsense="1", session_id="s")
    assert (status, body) == (200, b"1\n")
    assert front.ask("SELECT getSetting('readonly'), getSetting('max_threads')", max_threads="1")[2] == b"1\t1\n"


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELECT", 400, "62"),
        ("SELECT * FROM absent", 404, "60"),
        ("SELECT 1 FORMAT Nope", 400, "73"),
        ("SELECT 1/", 400, "62"),
    ],
)
def test_an_error_has_status_code_and_clickhouses_words(front: Front, sql: str, status: int, code: str) -> None:
    got, headers, body = front.ask(sql)
    assert (got, headers["x-clickhouse-exception-code"]) == (status, code)
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())


def test_liveness_needs_no_password(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=5)
    connection.request("GET", "/ping")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"Ok.\n")
    connection.close()


# -- who may ask ------------------------------------------------------------------------------------------------------


def _basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_each_way_to_say_who_one_is_works(front: Front) -> None:
    assert front.ask("SELECT 1", headers=_basic("reader", "read-token"))[0] == 200
    assert front.ask("SELECT 1", headers={"x-clickhouse-user": "reader", "x-clickhouse-key": "read-token"})[0] == 200
    assert front.ask("SELECT 1", headers={}, user="reader", password="read-token")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        _basic("reader", "wrong"),
        _basic("default", ""),
        _basic("reader", ""),
        {"x-clickhouse-user": "reader"},
        {"x-clickhouse-user": "owner", "x-clickhouse-key": "read-token"},
    ],
)
def test_without_the_right_password_nothing_is_answered(front: Front, headers: dict[str, str]) -> None:
    status, told, body = front.ask("SELECT n FROM numbers_kept", headers=headers)
    assert (status, told["x-clickhouse-exception-code"]) == (401, "516")
    assert "read-token" not in body.decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_a_web_page_of_another_site_is_not_answered(front: Front, headers: dict[str, str], status: int) -> None:
    assert front.ask("SELECT 1", headers={**_basic("reader", "read-token"), **headers})[0] == status


# -- readers who try to get out ---------------------------------------------------------------------------------------

ESCAPES = [
    "SELECT file('{secret}')",
    "SELECT file /* c */ ('{secret}')",
    "SELECT file -- c\n('{secret}')",
    "SELECT file # c\n('{secret}')",
    "SELECT `file`('{secret}')",
    "SELECT \"file\"('{secret}')",
    "SELECT “file”('{secret}')",
    "SELECT `fi\\x6ce`('{secret}')",
    "SELECT \"fi\\x6ce\"('{secret}')",
    "SELECT `\\146ile`('{secret}')",
    "SELECT arrayMap(file, ['{secret}'])",
    "SELECT arrayMap(x -> file(x), ['{secret}'])",
    "SELECT * APPLY(file) FROM (SELECT '{secret}' AS x)",
    "SELECT * APPLY file FROM (SELECT '{secret}' AS x)",
    "SELECT '{secret}' IN file('{secret}', 'LineAsString')",
    "WITH file('{secret}') AS x SELECT x",
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "SELECT * FROM file/**/('{secret}', 'LineAsString')",
    "FROM file('{secret}', 'LineAsString') SELECT *",
    "SELECT * FROM `file`('{secret}', 'LineAsString')",
    "SELECT * FROM (SELECT * FROM file('{secret}', 'LineAsString'))",
    "WITH a AS (SELECT * FROM file('{secret}', 'LineAsString')) SELECT * FROM a",
    "SELECT * FROM view(SELECT * FROM file('{secret}', 'LineAsString'))",
    "SELECT (SELECT any(line) FROM file('{secret}', 'LineAsString'))",
    "SELECT n FROM numbers_kept UNION ALL SELECT 1 FROM file('{secret}', 'LineAsString')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM `{secret}`",
    "SELECT * FROM default.`{secret}`",
    'SELECT * FROM "{secret}"',
    "SELECT * FROM numbers_kept JOIN `{secret}` AS p ON 1 = 1",
    "SELECT 1 WHERE 'a' IN (SELECT * FROM '{secret}')",
    "DESCRIBE '{secret}'",
    "DESCRIBE `{secret}`",
    "DESCRIBE file('{secret}', 'LineAsString')",
    "DESCRIBE TABLE file('{secret}')",
    "EXPLAIN SELECT * FROM file('{secret}')",
    "SELECT * FROM fileCluster('default', '{secret}', 'LineAsString')",
    "SELECT * FROM eval('SELECT file(''{secret}'')')",
    "SELECT * FROM sqlite('{secret}', 't')",
    "SELECT * FROM executable('cat {secret}', TSV, 'a String')",
    "SELECT * FROM python(x)",
    "SELECT * FROM url('http://127.0.0.1:{port}/', LineAsString)",
    "SELECT * FROM uRl('http://127.0.0.1:{port}/', LineAsString)",
    "DESCRIBE url('http://127.0.0.1:{port}/', CSV)",
    "SELECT * FROM 'http://127.0.0.1:{port}/'",
    "SELECT * FROM urlCluster('default', 'http://127.0.0.1:{port}/', CSV)",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/key', CSV)",
    "DESCRIBE s3('http://127.0.0.1:{port}/bucket/key', CSV)",
    "SELECT * FROM remote('127.0.0.1:{port}', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:{port}', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('127.0.0.1:{port}', 'a', 'b', 'c', 'd', 'e String')",
    "SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String')",
    "SELECT * FROM odbc('DSN=x', 'a', 'b')",
    "SELECT * FROM jdbc('x', 'a', 'b')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', CSV, 'a String')",
    "SELECT * FROM azureBlobStorage('x', 'y', 'z')",
    "SELECT * FROM deltaLake('http://127.0.0.1:{port}/b/k')",
    "SELECT * FROM iceberg('http://127.0.0.1:{port}/b/k')",
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 INTO /* c */ OUTFILE '{out}' TRUNCATE",
    "(SELECT 1) INTO OUTFILE '{out}' APPEND",
    "SELECT 1 UNION ALL SELECT 2 INTO OUTFILE '{out}'",
    "SHOW TABLES INTO OUTFILE '{out}'",
    "CREATE TABLE made (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE made (a Int8) ENGINE = Memory",
    "CREATE VIEW made AS SELECT file('{secret}')",
    "CREATE FUNCTION made AS (x) -> x",
    "CREATE USER made",
    "INSERT INTO numbers_kept VALUES (99)",
    "INSERT INTO numbers_kept SELECT 99",
    "INSERT INTO FUNCTION file('{out}', CSV) SELECT 1",
    "WITH 99 AS x INSERT INTO numbers_kept SELECT x",
    "ALTER TABLE numbers_kept DELETE WHERE 1",
    "DELETE FROM numbers_kept WHERE 1",
    "UPDATE numbers_kept SET n = 1 WHERE 1",
    "DROP TABLE numbers_kept",
    "/**/DROP TABLE numbers_kept",
    "TRUNCATE TABLE numbers_kept",
    "RENAME TABLE numbers_kept TO made",
    "OPTIMIZE TABLE numbers_kept FINAL",
    "DETACH TABLE numbers_kept",
    "ATTACH DATABASE made",
    "GRANT ALL ON *.* TO default",
    "SYSTEM FLUSH LOGS",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "KILL MUTATION WHERE 1",
    "BACKUP TABLE numbers_kept TO File('{out}')",
    "SET readonly = 0",
    "SET ROLE NONE",
    "USE system",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "SELECT 1; DROP TABLE numbers_kept",
    "SELECT 1; SELECT 2",
    "EXPLAIN SELECT 1; DROP TABLE numbers_kept",
]


@pytest.mark.parametrize("sql", ESCAPES)
def test_a_reader_gets_nothing_but_the_tables(front: Front, sql: str) -> None:
    out = front.folder / "out.tsv"
    sql = sql.replace("{secret}", str(front.secret)).replace("{port}", str(front.port)).replace("{out}", str(out))
    status, headers, body = front.ask(method="POST", body=sql.encode())
    assert status in {400, 403, 404, 500}, body[:200]
    assert int(headers["x-clickhouse-exception-code"]) > 0
    assert SECRET not in body.decode(errors="replace")
    assert not out.exists()
    assert front.store.query("SELECT sum(n) AS s FROM numbers_kept") == [{"s": 45}]
    assert front.store.query("SELECT count() AS n FROM system.tables WHERE name = 'made'") == [{"n": 0}]


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM {t:Identifier}", "DESCRIBE {t:Identifier}", "SELECT * APPLY({t:Identifier}) FROM numbers_kept"],
)
@pytest.mark.parametrize("parameter", ["{secret}", "file"])
def test_a_parameter_is_no_way_out_either(front: Front, sql: str, parameter: str) -> None:
    status, _, body = front.ask(sql, param_t=parameter.replace("{secret}", str(front.secret)))
    assert status != 200
    assert SECRET not in body.decode()


def test_a_readers_settings_end_with_the_request(front: Front) -> None:
    assert front.ask("SELECT 1 AS a", max_threads="1", database="system")[0] == 200
    assert front.ask("SELECT currentDatabase()")[2] == b"default\n"
    front.store.command("INSERT INTO numbers_kept VALUES (0)")  # the store's own handles are still writers
    front.store.command("ALTER TABLE numbers_kept DELETE WHERE n = 0 SETTINGS mutations_sync = 1")
    front.store.command("INSERT INTO numbers_kept VALUES (0)")


def test_a_query_that_asks_for_too_much_is_stopped_and_the_front_goes_on(front: Front) -> None:
    began = time.monotonic()
    status, headers, _ = front.ask("SELECT count() FROM numbers(1000000000000)", max_execution_time="1000")
    assert (status, headers["x-clickhouse-exception-code"]) == (500, "159")
    assert time.monotonic() - began < 10
    status, headers, _ = front.ask("SELECT number FROM numbers(300000)", max_result_rows="100000000")
    assert (status, headers["x-clickhouse-exception-code"]) == (400, "396")
    status, headers, _ = front.ask("SELECT groupArray(repeat('x', 1000)) FROM numbers(100000000)", max_memory_usage="0")
    assert status == 500
    assert front.ask("SELECT 1")[2] == b"1\n"


def test_many_readers_at_once_each_get_their_own_answer(front: Front) -> None:
    wrong: list[object] = []

    def read(who: int) -> None:
        for turn in range(15):
            expected = f"{who} {turn}\n".encode()
            got = front.ask("SELECT {a:UInt32}, {b:UInt32}", param_a=str(who), param_b=str(turn))[2].replace(
                b"\t", b" "
            )
            if got != expected:
                wrong.append((expected, got))

    readers = [threading.Thread(target=read, args=(who,)) for who in range(12)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert not wrong


def test_an_owners_insert_holds_any_bytes(front: Front) -> None:
    client = front.client("owner")
    client.command("CREATE TABLE bytes_kept (`a ü` String, b Nullable(Float64)) ENGINE = MergeTree ORDER BY tuple()")
    rows = [[f" \t\r\n;`FORMAT {n}'\\", None if n % 2 else n / 2] for n in range(2000)]
    client.insert("bytes_kept", rows, column_names=["a ü", "b"])
    assert client.query("SELECT `a ü`, b FROM bytes_kept ORDER BY rowNumberInAllBlocks()").result_rows == [
        tuple(row) for row in rows
    ]
    client.raw_insert("bytes_kept", ["a ü"], b"\x03\x00\xff\n", fmt="RowBinary")
    assert client.query("SELECT count() FROM bytes_kept").result_rows == [(2001,)]
    client.command("INSERT INTO bytes_kept VALUES ('inline', 1)")
    client.command("DROP TABLE bytes_kept")
    client.close()


def test_get_is_read_only_for_an_owner_too(front: Front) -> None:
    headers = {"x-clickhouse-user": "owner", "x-clickhouse-key": "owner-token"}
    assert front.ask("DROP TABLE numbers_kept", headers=headers)[0] == 403


def test_a_wrong_password_is_an_error_that_clients_understand(front: Front) -> None:
    with pytest.raises(DatabaseError, match="Authentication failed"):
        clickhouse_connect.get_client(
            host="127.0.0.1", port=front.port, username="reader", password=os.urandom(4).hex()
        )
