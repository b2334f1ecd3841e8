"""How fast `ell-otel serve` stores OTLP, against rotel before the same store: `python benchmarks/ingest.py`.

Every row is the same payloads sent over OTLP/HTTP by the same eight connections to a fresh server in a process of its
own. Spans are model calls and the programs they stand in, with messages of words that compress like text.

* ``serve``: chDB with fsync; a request is acknowledged when it is durable.
* ``rotel, front``: rotel exports to a server's ClickHouse port, which inserts into the same tables; it acknowledges
  what it holds in memory.
* ``rotel, black hole``: decodes and throws away, acknowledging before that: what the senders alone can do here.
  Both need `pip install --pre rotel==0.0.1a15`, and are left out where it is not installed.

Rows/s and MB/s are of stored spans, from the first request until the last one is in the table (into the black hole:
until the last acknowledgement). CPU is user and system, of all the processes that take part but the sender; p50 and p99
are of acknowledgements. "Visible" is the time from sending one more span to an idle server until a query finds it.
Memory is the peak of each process (VmHWM), chDB's in it: 300 MB and more at rest. What chDB takes for such a load where
nothing but it is asked for is the first of the two numbers of rotel's way, the server's.

The machine's speed changes within minutes, so the servers take turns for some rounds, and the ratio is of the rows of
the same round. "Lost" are spans that were acknowledged and are not in the table when nothing has come for 20 s. The
stores are removed at the end of all: where a disk is told what is free (``discard``), it is busy with that for a
second, and that second was the next server's.
"""

from __future__ import annotations

import argparse
import atexit
import http.client
import importlib.util
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

CONNECTIONS = 8
PATIENCE_S = 20.0
# Bytes a span: spans in all, which take some seconds, and spans a request.
SIZES = {1_500: (160_000, 200), 4_000: (80_000, 100), 20_000: (16_000, 40)}
WORDS = [f"{a}{b}{c}" for a in ("re", "con", "dis", "in") for b in ("ver", "mark", "tri", "lo") for c in "aeiouy"]
Text = Sequence[bytes]


@dataclass(frozen=True)
class Server:
    """What is sent to: its processes, the port, and the ClickHouse interface of the store behind it, where it has one:
    the port, and the tokens of reader and inserter."""

    pids: tuple[int, ...]
    http: int
    clickhouse: tuple[int, str, str] | None = None


@dataclass(frozen=True)
class Result:
    rows_s: float
    behind_s: float
    mb_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    visible_ms: float | None
    peak_mb: tuple[float, ...]
    refused: int
    lost: int


def payloads(size: int, count: int, per_request: int) -> list[bytes]:
    chance = random.Random(size)
    made = []
    for _ in range(count // per_request):
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "benchmark"
        scope = resource.scope_spans.add()
        for number in range(per_request):
            _span(scope, size, chance, model=number % 2 == 1)
        made.append(request.SerializeToString())
    return made


def _span(scope: object, size: int, chance: random.Random, *, model: bool) -> None:
    now = time.time_ns()
    span = scope.spans.add(trace_id=chance.randbytes(16), span_id=chance.randbytes(8), start_time_unix_nano=now)  # type: ignore[attr-defined]
    span.name, span.end_time_unix_nano = ("chat gpt" if model else "invoke_workflow app.reply"), now + 10**9
    text = " ".join(chance.choices(WORDS, k=max(1, (size - 480) // 7)))
    attributes = {
        "ell.program.name": "app.reply",
        "ell.program.version": "c1:" + "ab" * 32,
        "ell.invocation.id": chance.randbytes(12).hex(),
        "gen_ai.operation.name": "chat" if model else "invoke_workflow",
    }
    if model:
        messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text[: len(text) // 2]}]}])
        attributes |= {"gen_ai.request.model": "gpt", "gen_ai.usage.input_tokens": "812", "gen_ai.provider.name": "x"}
        attributes |= {"gen_ai.input.messages": messages, "gen_ai.output.messages": text[len(text) // 2 :]}
    else:
        attributes |= {"ell.invocation.arguments": json.dumps({"mail": text}), "ell.invocation.result": "ok"}
    for key, value in attributes.items():
        span.attributes.add(key=key).value.string_value = value


@contextmanager
def served(*options: str) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(dir=_stores()))
    ports = ["--http-port", "0", "--grpc-port", "0", "--clickhouse-port", "0", "-p", "0"]
    command = [sys.executable, "-m", "ell_otel", "serve", "--dir", str(folder / ".ell"), "--json", *ports, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        listening = {each["name"]: each["port"] for each in json.loads(process.stdout.readline())["data"]}
        reader, inserter = ((folder / ".ell" / name).read_text().strip() for name in ("token", "ingest-token"))
        yield Server((process.pid,), listening["OTLP/HTTP"], (listening["ClickHouse HTTP"], reader, inserter))
    finally:
        process.terminate()
        process.wait(30)


@cache
def _stores() -> str:
    folder = tempfile.mkdtemp(prefix="ell-ingest-")
    atexit.register(shutil.rmtree, folder)
    return folder


@contextmanager
def front() -> Iterator[Server]:
    """rotel, exporting to the ClickHouse interface of a server of ours."""
    with served() as store:
        assert store.clickhouse is not None
        port, _, token = store.clickhouse
        user = ["--clickhouse-exporter-user", "ingest", "--clickhouse-exporter-password", token]
        where = ["--clickhouse-exporter-endpoint", f"http://127.0.0.1:{port}", *user]
        with rotel("clickhouse", *where, "--clickhouse-exporter-database", "default") as sender:
            yield Server(store.pids + sender.pids, sender.http, store.clickhouse)


@contextmanager
def rotel(exporter: str, *options: str) -> Iterator[Server]:
    ports = _free_ports()
    listen = ["--otlp-http-endpoint", f"127.0.0.1:{ports[0]}", "--otlp-grpc-endpoint", f"127.0.0.1:{ports[1]}"]
    command = [ROTEL, "start", "--exporter", exporter, *listen, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(ports[0])
        yield Server((process.pid,), ports[0])
    finally:
        process.terminate()
        process.wait(30)


def _rotel() -> str:
    """The binary in rotel's wheel; empty where it is not installed."""
    found = importlib.util.find_spec("rotel")
    return str(Path(found.origin).with_name("rotel-agent")) if found and found.origin else ""


ROTEL = _rotel()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])


def _await_port(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on {port}")


def measure(server: Server, bodies: Text, per_request: int) -> Result:
    os.sync()  # what the run before this one left to write is not this one's
    _post(http.client.HTTPConnection("127.0.0.1", server.http), bodies[0])  # warm
    _await_rows(server, per_request)
    cpu = _cpu_s(server.pids)
    started = time.perf_counter()
    waits, refused = _send_all(server.http, bodies[1:])
    acked = time.perf_counter() - started
    lost, last = _await_rows(server, len(bodies) * per_request)
    took, rows = last - started, (len(bodies) - 1) * per_request - lost
    sent = sum(map(len, bodies[1:])) / 1e6 * rows / (rows + lost)
    return Result(
        rows_s=rows / took,
        behind_s=took - acked,
        mb_s=sent / took,
        cpu_us=(_cpu_s(server.pids) - cpu) / rows * 1e6,
        p50_ms=statistics.median(waits) * 1e3,
        p99_ms=sorted(waits)[int(len(waits) * 0.99)] * 1e3,
        visible_ms=_visible(server) if server.clickhouse else None,
        peak_mb=_peak_mb(server.pids),
        refused=refused,
        lost=lost,
    )


def _send_all(port: int, bodies: Text) -> tuple[list[float], int]:
    """How long each acknowledgement took, and how many requests had to be sent again."""
    left, waits, refused = iter(bodies), [], []
    lock = threading.Lock()

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                body = next(left, None)
            if body is None:
                return
            started = time.perf_counter()
            while _post(connection, body) != 200:
                refused.append(1)
                time.sleep(0.05)
            waits.append(time.perf_counter() - started)

    threads = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits, len(refused)


def _post(connection: http.client.HTTPConnection, body: bytes) -> int:
    connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _visible(server: Server) -> float:
    """Median, over five spans sent one by one, of the milliseconds until a query finds it."""
    assert server.clickhouse is not None
    times = []
    for turn in range(5):
        request = ExportTraceServiceRequest()
        now = time.time_ns()
        span = request.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=now)
        span.trace_id, span.span_id, span.name = os.urandom(16), os.urandom(8), f"marker {turn}"
        started = time.perf_counter()
        _post(http.client.HTTPConnection("127.0.0.1", server.http), request.SerializeToString())
        while _rows(server, f" WHERE SpanName = 'marker {turn}'") == 0:
            time.sleep(0.01)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def _await_rows(server: Server, count: int) -> tuple[int, float]:
    """Wait until so many rows are there, or none has come for ``PATIENCE_S``: how many are missing, and when the last
    one was seen (``perf_counter``)."""
    seen, since = 0, time.perf_counter()
    while server.clickhouse and seen < count and time.perf_counter() - since < PATIENCE_S:
        if (rows := _rows(server)) > seen:
            seen, since = rows, time.perf_counter()
        else:
            time.sleep(0.05)
    return (max(0, count - seen), since) if server.clickhouse else (0, since)


def _rows(server: Server, where: str = "") -> int:
    assert server.clickhouse is not None
    port, token, _ = server.clickhouse
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": token}
    connection.request("POST", "/", f"SELECT count() FROM otel_traces{where}", headers)
    return int(connection.getresponse().read())


def _cpu_s(pids: Sequence[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pids: Sequence[int]) -> tuple[float, ...]:
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return tuple(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _row(name: str, size: int, got: Result) -> str:
    visible = f"{got.visible_ms:7.0f}ms" if got.visible_ms is not None else ""
    odd = (("refused", got.refused), ("lost", got.lost))
    return (
        f"{name:26}{size:7}{got.rows_s:9.0f}{got.mb_s:9.1f}{got.behind_s:8.1f}s{got.cpu_us:9.1f}{got.p50_ms:9.1f}"
        f"{got.p99_ms:9.1f}{visible:>9}{' + '.join(f'{each:.0f}' for each in got.peak_mb):>12}"
        + "".join(f"  ({count} {what})" for what, count in odd if count)
    )


def _servers(options: Sequence[str]) -> dict[str, AbstractContextManager[Server]]:
    rows: dict[str, AbstractContextManager[Server]] = {"serve": served(*options)}
    return rows | ({"rotel, front": front(), "rotel, black hole": rotel("blackhole")} if ROTEL else {})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--scale", type=float, default=1.0, help="more or fewer spans")
    arguments.add_argument("--rounds", type=int, default=3, help="how often the servers take turns")
    arguments.add_argument("serve", nargs="*", help="options for `ell-otel serve`, after --")
    options = arguments.parse_args()
    heads = ("rows/s", "MB/s", "behind", "CPU us", "p50 ms", "p99 ms", "visible")
    print(f"{'':26}{'B/span':>7}" + "".join(f"{head:>9}" for head in heads) + f"{'MB':>12}")
    for size, (count, per_request) in SIZES.items():
        bodies = payloads(size, int(count * options.scale), per_request)
        sent = sum(map(len, bodies)) // (len(bodies) * per_request)
        ratios = []
        for _ in range(options.rounds):
            rows_s = {}
            for name, server in _servers(options.serve).items():
                with server as up:
                    got = measure(up, bodies, per_request)
                rows_s[name] = got.rows_s
                print(_row(name, sent, got), flush=True)
            ratios += [rows_s["serve"] / rows_s["rotel, front"]] if ROTEL else []
        if ratios:
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"serve / rotel, front: {each}, median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
