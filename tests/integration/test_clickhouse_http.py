"""ClickHouse's HTTP interface before the store: what goes over the wire, request by request."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlencode

import chdb
import lz4.frame
import pytest
from fronts import LIMITS, Front, key

from ell_otel.server.engine import STREAMED_FORMATS
from ell_otel.server.framing import Unframer, framed, zstd


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("front"))
    yield made
    made.close()


# -- questions and answers --------------------------------------------------------------------------------------------


def test_a_query_is_taken_from_the_url_the_body_or_a_form(front: Front) -> None:
    assert front.ask("SELECT 1")[2] == b"1\n"
    assert front.ask(method="POST", body=b"SELECT 1")[2] == b"1\n"
    assert front.ask("SELECT 1", method="POST", body=b"+ 1")[2] == b"2\n"
    assert front.ask("SELECT {x:UInt8} + 1", param_x="41")[2] == b"42\n"
    parts = [("query", "SELECT {x:String}, 'ü\n'"), ("param_x", "a-ü")]
    form = (
        "".join(f'--xyz\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in parts) + "--xyz--\r\n"
    )
    headers = key("reader") | {"content-type": "multipart/form-data; boundary=xyz"}
    assert front.ask(method="POST", body=form.encode(), headers=headers)[2].decode() == "a-ü\tü\\n\n"


def test_a_body_that_comes_in_chunks_is_read_to_its_end(front: Front) -> None:
    chunks = iter([b"SELECT ", b"'", b"x" * 100_000, b"'"])
    assert len(front.ask(method="POST", body=chunks)[2]) == 100_001


def test_an_empty_question_is_answered_as_a_server_does(front: Front) -> None:
    assert front.ask()[::2] == (200, b"Ok.\n")


def test_the_format_is_the_clauses_or_the_requests_and_is_told(front: Front) -> None:
    _, headers, body = front.ask("SELECT 1 AS one", default_format="JSONEachRow", query_id="my-id")
    assert json.loads(body) == {"one": 1}
    assert headers["x-clickhouse-format"] == "JSONEachRow"
    assert headers["x-clickhouse-query-id"] == "my-id"
    assert set(json.loads(headers["x-clickhouse-summary"]).values()) >= {"1"}
    assert headers["x-clickhouse-timezone"]
    assert front.ask("SELECT 1 FORMAT CSV", default_format="JSON")[1]["x-clickhouse-format"] == "CSV"


PACK: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "deflate": (zlib.compress, zlib.decompress),
    "zstd": (lambda data: bytes(zstd().compress(data)), lambda data: bytes(zstd().decompress(data))),
    "lz4": (lambda data: bytes(lz4.frame.compress(data)), lambda data: bytes(lz4.frame.decompress(data))),
}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("rows", [1, 180_000])
def test_an_answer_is_packed_when_that_is_asked_for(front: Front, encoding: str, rows: int) -> None:
    headers = key("reader") | {"accept-encoding": f"br, {encoding};q=0.5"}
    _, told, body = front.ask(f"SELECT number FROM numbers({rows})", headers=headers, enable_http_compression="1")
    assert told["content-encoding"] == encoding
    assert PACK[encoding][1](body) == b"".join(b"%d\n" % number for number in range(rows))
    assert "content-encoding" not in front.ask("SELECT 1", headers=headers)[1]


@pytest.mark.parametrize("rows", [1, 180_000])
def test_an_answer_comes_in_clickhouses_own_frames_when_that_is_asked_for(front: Front, rows: int) -> None:
    body = front.ask(f"SELECT number FROM numbers({rows})", compress="1")[2]
    unframer = Unframer()
    assert b"".join(unframer.pieces(body)) == b"".join(b"%d\n" % number for number in range(rows))
    unframer.finish()


@pytest.mark.parametrize("encoding", PACK)
def test_a_question_may_be_packed_too(front: Front, encoding: str) -> None:
    headers = key("reader") | {"content-encoding": encoding}
    assert front.ask(method="POST", body=PACK[encoding][0](b"SELECT 2 + 1"), headers=headers)[2] == b"3\n"
    assert front.ask(method="POST", body=framed(b"SELECT 1 + 1"), decompress="1")[2] == b"2\n"
    both = PACK[encoding][0](framed(b"SELECT 1 + 3"))
    assert front.ask(method="POST", body=both, headers=headers, decompress="1")[2] == b"4\n"


def test_a_damaged_body_is_the_clients_error(front: Front) -> None:
    damaged = framed(b"SELECT 1")[:-3] + b"abc"
    assert front.ask(method="POST", body=damaged, decompress="1")[0] == 400
    headers = key("reader") | {"content-encoding": "gzip"}
    assert front.ask(method="POST", body=b"SELECT 1", headers=headers)[0] == 400


FORMATS = [
    "TabSeparatedWithNames",
    "CSVWithNamesAndTypes",
    "JSON",
    "JSONCompact",
    "XML",
    "Parquet",
    "Pretty",
    "JSONColumns",
]


@pytest.mark.parametrize("form", sorted(STREAMED_FORMATS) + FORMATS)
def test_a_result_is_what_the_engine_makes_of_it_at_once_however_it_is_streamed(front: Front, form: str) -> None:
    """Statistics (times, rows read) are left out: they differ from run to run."""
    sql = "SELECT number AS n, toString(number) AS s FROM numbers({rows})"
    totals = "SELECT number % 3 AS k, count() FROM numbers({rows}) GROUP BY k WITH TOTALS ORDER BY k"
    with closing(chdb.connect(front.store.name)) as handle:
        for asked in (sql, totals):
            for rows in ("0", "3", "150000"):
                whole = handle.query(asked.replace("{rows}", rows), form).bytes() or b""
                streamed = front.ask(asked.replace("{rows}", rows), default_format=form)[2]
                assert STATISTICS.sub(b"", streamed) == STATISTICS.sub(b"", whole)


def test_extremes_come_behind_the_rows(front: Front) -> None:
    told = json.loads(front.ask("SELECT number AS n FROM numbers(10)", default_format="JSON", extremes="1")[2])
    assert told["extremes"] == {"min": {"n": 0}, "max": {"n": 9}}


STATISTICS = re.compile(
    rb'"statistics":.*?}|<statistics>.*?</statistics>|,?\s*"rows_before_limit_at_least": \d+', re.DOTALL
)


def test_what_is_not_a_select_is_answered_too(front: Front) -> None:
    assert b"numbers_kept" in front.ask("SHOW TABLES")[2]
    assert front.ask("EXISTS numbers_kept")[2] == b"1\n"
    assert front.ask("DESCRIBE numbers_kept")[2].startswith(b"n\tUInt64")
    assert front.ask("EXPLAIN SELECT 1")[2]
    assert front.ask("SELECT count() FROM numbers_kept FORMAT Null")[2] == b""


def test_a_question_may_have_all_the_cores_though_the_engine_has_little_memory(front: Front) -> None:
    plan = front.ask("EXPLAIN PIPELINE SELECT sum(number) FROM numbers_mt(10000000)", max_threads="4")[2]
    assert b"AggregatingTransform \xc3\x97 4" in plan


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


def test_the_greeting_of_clickhouse_go_is_answered_at_its_own_revision(front: Front) -> None:
    sql = "SELECT displayName(), version(), revision(), timezone()"
    asked = front.ask(sql, method="POST", default_format="Native", client_protocol_version="54485")[2]
    assert asked.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01\x0ddisplayName()\x06String\x00\x08ell-otel")
    plain = front.ask("SELECT version()", default_format="Native", client_protocol_version="54485")[2]
    assert plain.startswith(b"\x01\x01\x09version()\x06String")


# -- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_keeps_settings_and_the_database(front: Front) -> None:
    front.ask(method="POST", body=b"SET max_block_size = 7, max_threads = '1'", session_id="a")
    front.ask(method="POST", body=b"USE system", session_id="a")
    sql = "SELECT getSetting('max_block_size'), currentDatabase()"
    assert front.ask(sql, session_id="a")[2] == b"7\tsystem\n"
    assert front.ask(sql, session_id="a", max_block_size="9", database="default")[2] == b"9\tdefault\n"
    assert front.ask(sql, session_id="b")[2] != b"7\tsystem\n"
    assert front.ask(sql, session_id="a", headers=key("ingest"))[2] != b"7\tsystem\n", "another user's is another"


def test_a_session_that_is_asked_for_must_be_there(front: Front) -> None:
    status, headers, _ = front.ask("SELECT 1", session_id="absent", session_check="1")
    assert (status, headers["x-clickhouse-exception-code"]) == (404, "372")


def test_a_session_answers_one_request_at_a_time(front: Front) -> None:
    slow = threading.Thread(target=front.ask, args=("SELECT sleep(1)",), kwargs={"session_id": "busy"})
    slow.start()
    while slow.is_alive() and not running(front):
        time.sleep(0.01)
    codes = set()
    while slow.is_alive():
        codes.add(front.ask("SELECT 1", session_id="busy")[1].get("x-clickhouse-exception-code"))
    assert "373" in codes
    assert front.ask("SELECT 1", session_id="busy")[0] == 200


# -- long answers, broken off -----------------------------------------------------------------------------------------


def test_a_long_answer_begins_before_the_query_ends(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
    sql = "SELECT number, repeat('x', 100), sleep(0.01) FROM numbers(1000000) SETTINGS max_block_size = 10000"
    connection.request("POST", "/", sql, key("owner"))
    began = time.monotonic()
    answer = connection.getresponse()
    first = answer.read(1 << 20)
    took = time.monotonic() - began
    assert len(first + answer.read()) > 100_000_000
    assert took < (time.monotonic() - began) / 2
    connection.close()


def test_an_error_that_comes_late_breaks_the_answer_off_and_is_told_in_it(front: Front) -> None:
    sql = "SELECT number, throwIf(number = 150000) FROM numbers(160000)"
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
    connection.request("GET", f"/?{urlencode({'query': sql, 'max_block_size': 1000})}", headers=key("reader"))
    answer = connection.getresponse()
    tag = answer.headers["X-ClickHouse-Exception-Tag"]
    with pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()
    frame = broken.value.partial[-2000:].decode()
    found = re.search(
        rf"\r\n__exception__\r\n{tag}\r\n(Code: 395\. .*\n)(\d+) {tag}\r\n__exception__\r\n$", frame, re.DOTALL
    )
    assert found
    assert len(found[1]) == int(found[2])
    connection.close()


def test_a_query_whose_time_is_over_while_its_reader_rests_does_not_seem_complete(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
    sql = "SELECT repeat('x', 1000 + number % 2) FROM numbers(150000)"
    connection.request(
        "POST", "/?max_block_size=1000", sql, key("reader")
    )  # in many blocks, most of them yet to be made
    answer = connection.getresponse()
    answer.read(1000)
    time.sleep(LIMITS.max_execution_time + 0.5)
    with pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()
    assert b"TIMEOUT_EXCEEDED" in broken.value.partial[-1000:]
    connection.close()


def test_an_answer_that_is_waited_for_has_the_right_status_however_late_the_error(front: Front) -> None:
    sql = "SELECT number, throwIf(number = 150000) FROM numbers(160000)"
    status, headers, _ = front.ask(sql, wait_end_of_query="1", max_block_size="1000")
    assert (status, headers["x-clickhouse-exception-code"]) == (500, "395")


def running(front: Front) -> list[dict[str, object]]:
    return front.store.query("SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%'")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM numbers(1000000000000)",
        "SELECT number, repeat('x', 1000) FROM numbers(1000000000000)",
    ],
)
def test_a_query_ends_when_whoever_asked_has_gone(front: Front, sql: str) -> None:
    """Also one that makes no rows for a long time, and one whose rows nobody takes."""
    wire = socket.create_connection(("127.0.0.1", front.port))
    who = "".join(f"{name}: {value}\r\n" for name, value in key("owner").items())
    wire.sendall(f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n{who}Content-Length: {len(sql)}\r\n\r\n{sql}".encode())
    while not running(front):
        time.sleep(0.01)
    time.sleep(0.2)
    assert running(front), "it would run for hours"
    wire.close()
    deadline = time.monotonic() + 10
    while running(front):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert front.ask("SELECT 1")[2] == b"1\n"


def test_a_query_that_asks_for_too_much_is_stopped_and_the_front_goes_on(front: Front) -> None:
    began = time.monotonic()
    status, headers, _ = front.ask("SELECT count() FROM numbers(1000000000000)", max_execution_time="1000")
    assert (status, headers["x-clickhouse-exception-code"]) == (500, "159")
    assert time.monotonic() - began < 10
    sql = "SELECT number FROM numbers(300000)"
    status, headers, _ = front.ask(sql, max_result_rows="100000000", wait_end_of_query="1")
    assert (status, headers["x-clickhouse-exception-code"]) == (400, "396")
    big = "SELECT repeat('x', 1000 + number % 2) FROM numbers(100000)"
    status, headers, _ = front.ask(big, default_format="JSON")
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
