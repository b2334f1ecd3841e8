"""Who may do what through ClickHouse's HTTP interface, and people who try to get out of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from fronts import SECRET, Front, key


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("front"))
    yield made
    made.close()


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


def test_get_is_read_only_for_everybody(front: Front) -> None:
    assert front.ask("DROP TABLE numbers_kept", headers=key("owner"))[0] == 403
    assert front.ask("INSERT INTO otel_logs (Body) VALUES ('x')", headers=key("ingest"))[0] == 403


# -- people who try to get out ----------------------------------------------------------------------------------------

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
    "SELECT * FROM (SELECT * FROM `{secret}` SETTINGS readonly = 0)",
    "SELECT * FROM (SELECT * FROM `{secret}` SETTINGS `readonly` = 0)",
    "SELECT (SELECT any(c1) FROM `{secret}` SETTINGS readonly = 0)",
    "SELECT 1 SETTINGS max_threads = 1, output_format_schema = '{out}'",
    "SELECT 1 SETTINGS max_threads = 1 FORMAT Native SETTINGS output_format_schema = '{out}'",
    "SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0, allow_introspection_functions = 1)",
    "SELECT 1; DROP TABLE numbers_kept",
    "SELECT 1; SELECT 2",
    "EXPLAIN SELECT 1; DROP TABLE numbers_kept",
]


@pytest.mark.parametrize("user", ["reader", "ingest"])
@pytest.mark.parametrize("sql", ESCAPES)
def test_nobody_gets_anything_but_the_tables(front: Front, sql: str, user: str) -> None:
    out = front.folder / "out.tsv"
    sql = sql.replace("{secret}", str(front.secret)).replace("{port}", str(front.port)).replace("{out}", str(out))
    status, headers, body = front.ask(method="POST", body=sql.encode(), headers=key(user))
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


def test_a_query_may_have_settings_of_its_own_within_the_limits(front: Front) -> None:
    assert front.ask("SELECT getSetting('max_threads') SETTINGS max_threads = 1")[2] == b"1\n"
    assert front.ask("SELECT settings FROM (SELECT 1 AS settings) WHERE settings = 1")[2] == b"1\n"
    assert front.ask("SELECT number FROM numbers(5) SETTINGS max_result_rows = 3")[0] == 400
    assert front.ask("SELECT number FROM numbers(5) SETTINGS max_result_rows = 100000000")[0] == 403


# -- inserts ----------------------------------------------------------------------------------------------------------

INSERTS = [
    "INSERT INTO otel_logs (Body) VALUES (file('{secret}'))",
    "INSERT INTO otel_logs (Body) VALUES (assumeNotNull(file('{secret}')))",
    "INSERT INTO otel_logs (Body) VALUES ((SELECT 'x'))",
    "INSERT INTO otel_logs (Body) VALUES (1 + 1)",
    "INSERT INTO otel_logs (Body) SETTINGS input_format_values_interpret_expressions = 1 VALUES (file('{secret}'))",
    "INSERT INTO otel_logs (Body) SELECT file('{secret}')",
    "INSERT INTO otel_logs (Body) SELECT * FROM url('http://127.0.0.1:{port}/', LineAsString)",
    "INSERT INTO otel_logs (Body) FROM INFILE '{secret}' FORMAT LineAsString",
    "INSERT INTO FUNCTION file('{out}', CSV, 'a String') FORMAT CSV\n1",
    "INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', CSV, 'a String') FORMAT CSV\n1",
    "INSERT INTO numbers_kept FORMAT CSV\n1",
    "INSERT INTO `numbers_kept` FORMAT CSV\n1",
    "INSERT INTO system.one FORMAT CSV\n1",
    "INSERT INTO ell_program_versions FORMAT CSV\n1",
    "INSERT INTO `otel_logs` (`Body`) WATCH x FORMAT CSV\n1",
    "INSERT INTO `otel_logs\\`` (Body) FORMAT CSV\n1",
    "INSERT INTO otel_logs (Body) FORMAT AvroConfluent\n1",
    "INSERT INTO otel_logs (Body) FORMAT MySQLDump\nINSERT INTO x VALUES (file('{secret}'))",
    "INSERT INTO otel_logs (Body) FORMAT Template\n1",
]


@pytest.mark.parametrize("sql", INSERTS)
def test_an_inserter_gets_only_data_into_only_the_contracts_tables(front: Front, sql: str) -> None:
    out = front.folder / "out.tsv"
    sql = sql.replace("{secret}", str(front.secret)).replace("{port}", str(front.port)).replace("{out}", str(out))
    before = front.count("otel_logs")
    status, said = front.post("", sql.encode())
    assert status in {400, 403, 404, 500}, said[:200]
    assert SECRET not in said
    assert not out.exists()
    assert front.count("otel_logs") == before
    assert front.store.query("SELECT sum(n) AS s FROM numbers_kept") == [{"s": 45}]


def test_settings_cannot_undo_that(front: Front) -> None:
    """Neither one in the query string, nor one of the session, nor one in the statement."""
    settings = {"input_format_values_interpret_expressions": "1", "async_insert": "1", "readonly": "0"}
    assert front.post("", b"SET input_format_values_interpret_expressions = 1", session_id="x")[0] == 403
    values = f"INSERT INTO otel_logs (Body) VALUES (file('{front.secret}'))".encode()
    assert front.post("", values, session_id="x", **settings)[0] == 400
    errors = front.folder / "errors.csv"
    asked = {"input_format_record_errors_file_path": str(errors), "input_format_allow_errors_num": "10"}
    status, _ = front.post("INSERT INTO otel_logs (Timestamp, Body) FORMAT CSV", b"nonsense,x\n", **asked)
    assert status == 400
    assert not errors.exists()
    front.ask("SELECT 1", output_format_schema=str(errors))
    assert not errors.exists()


def test_a_reader_may_not_insert(front: Front) -> None:
    status, said = front.post("INSERT INTO otel_logs (Body) FORMAT CSV", b"x\n", user="reader")
    assert (status, "ingest" in said) == (403, True)


def test_an_inserter_reads_within_a_readers_limits(front: Front) -> None:
    assert front.post("SELECT sum(n) FROM numbers_kept") == (200, "45\n")
    assert front.post("SELECT getSetting('readonly')") == (200, "1\n")
    assert front.post("SELECT count() FROM numbers(1000000000000)")[0] == 500
