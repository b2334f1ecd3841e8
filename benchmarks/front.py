"""What the ClickHouse interface costs over the engine behind it, inserting spans: `python benchmarks/front.py`.

The same Native block of spans is inserted by a handle of the engine, and as a request, plain or in ClickHouse's LZ4
frames as the Collector's exporter sends it, in turn. Server, sender and engine are one process, whose processor time
(user and system, merges included) is what counts: wall time on a shared machine says little.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing

import chdb

from ell_otel.config import resolve
from ell_otel.server import clickhouse_http
from ell_otel.server.framing import framed
from ell_otel.server.security import Role, User
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate

INSERT = "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, ServiceName, SpanAttributes, Duration)"
SPANS = """
SELECT now64(9) + INTERVAL number MICROSECOND AS Timestamp, lower(hex(generateUUIDv4(number))) AS TraceId,
    lower(hex(rand64(number))) AS SpanId, 'chat gpt-4o' AS SpanName, 'shop' AS ServiceName, 1000000 AS Duration,
    map('gen_ai.operation.name', 'chat', 'gen_ai.request.model', 'gpt-4o', 'gen_ai.usage.input_tokens', '100',
    'ell.program.name', 'app.p', 'ell.program.version', 'c1:' || lower(hex(SHA256('p'))),
    'gen_ai.input.messages', '[{"role":"user","parts":[{"type":"text","content":"' ||
    arrayStringConcat(arrayMap(n -> hex(cityHash64(n, number) % 4096), range(230)), ' ') || '"}]}]') AS SpanAttributes
FROM numbers({rows})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=10_000, help="rows an insert, as the Collector's queue batches them"
    )
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(resolve({}, dir=folder), purpose="benchmark") as store,
        closing(chdb.connect(store.name)) as handle,
    ):
        migrate(store)
        users = {"ingest": User("x", Role.INGEST)}
        front = clickhouse_http.listener(store.name, users, host="127.0.0.1", port=0)
        front.start()
        block = handle.query(SPANS.replace("{rows}", str(arguments.rows)), "Native").bytes()
        packed = framed(block)
        print(
            f"{arguments.rows} spans of {len(block) / arguments.rows:.0f} bytes, {len(packed) / len(block):.0%} packed"
        )
        ways: dict[str, Callable[[], None]] = {
            "engine": lambda: by_engine(handle, block),
            "request": lambda: by_request(front.port, block, "0"),
            "request, LZ4 frames": lambda: by_request(front.port, packed, "1"),
        }
        for insert in ways.values():  # once unmeasured: the engine makes its plans at first use
            insert()
        took: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, insert in ways.items():
                took[way].append(spent(insert))
        for way, seconds in took.items():
            middle = statistics.median(seconds)
            print(f"{way:20} {arguments.rows / middle:8.0f} rows per CPU second  ({middle * 1e3:.0f} ms)")
        kept = store.query("SELECT uniqExact(TraceId) AS n FROM otel_traces")[0]["n"]
        assert kept == arguments.rows, kept
        front.stop(5)


def spent(insert: Callable[[], None]) -> float:
    began = time.process_time()  # of all threads
    insert()
    return time.process_time() - began


def by_engine(handle: chdb.Connection, block: bytes) -> None:
    with handle.send_insert(INSERT, "Native") as inserter:
        inserter.append(block)
        inserter.finish()


def by_request(port: int, body: bytes, decompress: str) -> None:
    path = f"/?query={INSERT.replace(' ', '+')}+FORMAT+Native&decompress={decompress}"
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", path, body, {"X-ClickHouse-User": "ingest", "X-ClickHouse-Key": "x"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(answer.read().decode())


if __name__ == "__main__":
    main()
