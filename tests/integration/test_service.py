"""The life of ``ell-otel serve``, in processes of its own: start, refuse, die, come back."""

from __future__ import annotations

import ctypes
import http.client
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb

from ell_otel.config import resolve
from ell_otel.errors import ConfigError, EllOtelError
from ell_otel.ingest.drain import drain
from ell_otel.ingest.service import Service
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.client import open_store, read_lock
from ell_otel.telemetry.segments import Kind
from ell_otel.telemetry.spool import SegmentWriter

SERVE = """
import sys
from ell_otel.config import resolve
from ell_otel.ingest.drain import drain
from ell_otel.ingest.service import Service
from ell_otel.ingest.sink import StoreSink
from ell_otel.server import clickhouse_http
from ell_otel.server.security import Role, User, read_token
settings = resolve(grpc_port=0, http_port=int(sys.argv[1]), clickhouse_port=0)
def fronts(store, counters):
    from ell_otel.config import find_directory
    users = {"reader": User(read_token(settings, find_directory(settings)), Role.READER)}
    return [clickhouse_http.listener(store.name, users, host=settings.host, port=settings.clickhouse_port)]
service = Service(settings, fronts=fronts, narrate=lambda line: print(line, flush=True))
try:
    service.run()
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
    sys.exit(3)
"""


class Server:
    """``Service`` in a process of its own, with the ClickHouse front. ``lines`` is what it narrated."""

    def __init__(self, directory: Path, http_port: int = 0) -> None:
        environment = os.environ | {"ELL_OTEL_DIR": str(directory)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(http_port)], env=environment, stdout=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        for line in self.process.stdout or ():
            self.lines.append(line.strip())
            if line.startswith(("ClickHouse HTTP on", "StoreLockedError", "ConfigError")):
                break

    @property
    def http(self) -> int:
        assert any(line.startswith("ClickHouse HTTP on") for line in self.lines), f"it did not start: {self.lines}"
        return next(int(line.rpartition(":")[2]) for line in self.lines if line.startswith("OTLP/HTTP on"))

    def send(self, name: str, number: int) -> bool:
        """Whether a span was acknowledged."""
        request = trace_pb.ExportTraceServiceRequest()
        now = time.time_ns()
        span = request.resource_spans.add().scope_spans.add().spans.add(name=name, start_time_unix_nano=now)
        span.trace_id, span.span_id = os.urandom(16), number.to_bytes(8, "big")
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=20)
        try:
            connection.request(
                "POST", "/v1/traces", request.SerializeToString(), {"content-type": "application/x-protobuf"}
            )
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.lines += (self.process.stdout.read() if self.process.stdout else "").split("\n")
        return code


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / ".ell"


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def begin(*arguments: Any) -> Server:
        started.append(Server(directory, *arguments))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)
        if server.process.stdout:
            server.process.stdout.close()


def stored(directory: Path, name: str) -> set[int]:
    """The numbers of the spans of this name, read after the server is gone, as a command reads: the spool first."""
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        drain(directory, StoreSink(store))
        rows = store.query("SELECT SpanId AS id FROM otel_traces WHERE SpanName = {name:String}", {"name": name})
    return {int(str(row["id"]), 16) for row in rows}


def send_until_gone(server: Server, name: str, kill: Callable[[], object], senders: int = 8) -> set[int]:
    """Send from many threads, ``kill`` once a few have got through; the numbers that were acknowledged."""
    acknowledged: set[int] = set()
    gone = threading.Event()

    def send(who: int) -> None:
        for turn in range(10_000):
            if gone.is_set():
                return
            number = who * 100_000 + turn + 1
            if server.send(name, number):
                acknowledged.add(number)

    assert server.http
    threads = [threading.Thread(target=send, args=(who,)) for who in range(senders)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(acknowledged) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.15))  # at no moment in particular of the insert that is under way
    kill()
    gone.set()
    for thread in threads:
        thread.join(30)
    return acknowledged


@pytest.mark.skipif(sys.platform != "linux", reason="only there has each thread a priority of its own")
def test_merging_lets_all_else_go_first(start: Callable[..., Server], directory: Path) -> None:
    for _ in range(2):  # the tables are new, and then they are there
        server = start()
        assert server.http
        nice = {}
        for task in Path(f"/proc/{server.process.pid}/task").iterdir():
            nice.setdefault((task / "comm").read_text().strip(), set()).add(
                os.getpriority(os.PRIO_PROCESS, int(task.name))
            )
        assert nice["MergeMutate"] == {os.getpriority(os.PRIO_PROCESS, 0) + 10}
        assert nice["python"] == {os.getpriority(os.PRIO_PROCESS, 0)}
        assert server.end() == 0


def test_what_was_acknowledged_survives_kill_9_and_the_next_start_is_clean(
    start: Callable[..., Server], directory: Path
) -> None:
    for turn in range(3):
        server = start()
        acknowledged = send_until_gone(server, f"kill {turn}", partial(server.end, signal.SIGKILL))
        assert acknowledged
        missing = acknowledged - stored(directory, f"kill {turn}")
        assert not missing, f"turn {turn}: {len(missing)} of {len(acknowledged)} acknowledged spans are gone"


def test_sigterm_under_load_stores_what_it_acknowledged_and_ends_in_time(
    start: Callable[..., Server], directory: Path
) -> None:
    server = start()
    codes: list[int] = []
    began: list[float] = []

    def terminate() -> None:
        began.append(time.monotonic())
        codes.append(server.end(signal.SIGTERM))
        began.append(time.monotonic())

    acknowledged = send_until_gone(server, "term", terminate)
    assert codes == [0]
    assert began[1] - began[0] < 12
    assert acknowledged
    assert acknowledged <= stored(directory, "term")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_ends_at_once_and_gives_the_store_back(
    start: Callable[..., Server], directory: Path, number: int
) -> None:
    took = []
    for _ in range(3):
        server = start()
        began = time.monotonic()
        assert server.end(number) == 0
        took.append(time.monotonic() - began)
        assert read_lock(directory) is None
    assert statistics.median(took) < 4, took


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a test choose the thread that takes a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_another_thread_took_ends_the_server_too(start: Callable[..., Server], number: int) -> None:
    server = start()
    pid = server.process.pid
    others = {int(each) for each in os.listdir(f"/proc/{pid}/task")} - {pid}
    assert ctypes.CDLL(None).tgkill(pid, max(others), number) == 0
    assert server.process.wait(20) == 0


def test_a_second_server_on_one_store_is_refused_with_pid_and_remedy(
    start: Callable[..., Server], directory: Path
) -> None:
    first = start()
    second = start()
    assert second.process.wait(20) == 3
    (told,) = [line for line in second.lines if line.startswith("StoreLockedError")]
    assert f"kill {first.process.pid}" in told
    assert "ell-otel serve" in told
    assert first.send("still here", 1)


def test_a_command_reads_through_the_server_while_it_runs(start: Callable[..., Server], directory: Path) -> None:
    server = start()
    assert server.send("through", 1)
    lock = read_lock(directory)
    assert lock is not None
    assert lock.clickhouse_port > 0
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        assert not store.local
        until = time.monotonic() + 10
        while not (rows := store.query("SELECT SpanName FROM otel_traces")) and time.monotonic() < until:
            time.sleep(0.02)
        assert rows == [{"SpanName": "through"}]
        with pytest.raises(EllOtelError):
            store.command("DROP TABLE otel_traces")


def test_a_port_in_use_says_who_holds_it_and_leaves_nothing_behind(
    start: Callable[..., Server], directory: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start(port)
        assert server.process.wait(20) == 3
    told = server.lines[-1]
    assert f"port {port} is in use by process {os.getpid()} (" in told
    assert "--http-port 0" in told
    assert read_lock(directory) is None


@pytest.mark.parametrize("setting", ["grpc_port", "http_port"])
def test_each_port_in_use_names_its_own_flag(directory: Path, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"grpc_port": 0, "http_port": 0, setting: taken.getsockname()[1]}
        with pytest.raises(ConfigError, match=f"--{setting.replace('_', '-')} 0"):
            Service(resolve({}, dir=str(directory), **ports)).start()
    assert read_lock(directory) is None


def test_what_programs_append_to_the_spool_is_stored_while_it_grows(
    start: Callable[..., Server], directory: Path
) -> None:
    start()
    writer = SegmentWriter(directory / "spool", segment_bytes=1 << 20)
    request = trace_pb.ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="spooled", start_time_unix_nano=time.time_ns())
    span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
    writer.append(Kind.TRACES, request.SerializeToString())
    until = time.monotonic() + 30
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        while not store.query("SELECT 1 FROM otel_traces WHERE SpanName = 'spooled'"):
            assert time.monotonic() < until
            time.sleep(0.05)
    writer.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.9", "example.org"])
def test_an_address_that_others_reach_needs_a_token(directory: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="ELL_OTEL_INGEST_TOKEN"):
        Service(resolve({}, dir=str(directory), host=host)).start()
    assert not directory.exists()


def test_an_address_that_is_not_ours_is_an_error_with_the_flag(directory: Path) -> None:
    settings = resolve({}, dir=str(directory), host="203.0.113.7", ingest_token="t", http_port=0, grpc_port=0)
    with pytest.raises(ConfigError, match=r"203\.0\.113\.7"):
        Service(settings).start()
    assert read_lock(directory) is None


def test_where_a_token_is_set_both_protocols_ask_for_it(directory: Path) -> None:
    import grpc

    service = Service(resolve({}, dir=str(directory), ingest_token="secret", grpc_port=0, http_port=0))
    service.start()
    try:
        grpc_port, http_port = (component.port for component in service.components)
        statuses = []
        for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer secret"}):
            connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=10)
            connection.request("POST", "/v1/traces", b"", {"content-type": "application/x-protobuf", **header})
            answer = connection.getresponse()
            statuses.append((answer.status, answer.getheader("www-authenticate")))
            connection.close()
        assert statuses == [(401, "Bearer"), (401, "Bearer"), (200, None)]
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            with pytest.raises(grpc.RpcError) as error:
                export(b"", timeout=10, metadata=[("authorization", "Bearer wrong")])
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert export(b"", timeout=10, metadata=[("authorization", "Bearer secret")]) == b""
    finally:
        service.stop()


def test_a_server_to_which_nobody_listens_any_more_ends_when_it_is_told(directory: Path) -> None:
    ports = [f"--{name}=0" for name in ("grpc-port", "http-port", "clickhouse-port", "port")]
    command = [sys.executable, "-m", "ell_otel", "serve", "--dir", str(directory), *ports]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        next(line for line in server.stdout if line.startswith("ready"))
        server.stdout.close()
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
