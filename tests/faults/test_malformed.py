"""What no honest sender sends: bytes that are no OTLP, bombs, and requests as large and as deep as can be.

``FAULT_FUZZ_S`` is how long the coverage-guided fuzzer runs, ``FAULT_EXAMPLES`` how many odd requests are sent.
"""

from __future__ import annotations

import gzip
import http.client
import importlib.util
import json
import os
import random
import resource
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from oracle import span_of
from test_limits import processor_s
from test_restarts import resident_kb
from victims import Server

from ell_otel.config import resolve
from ell_otel.ingest.accept import ATTRIBUTES
from ell_otel.store.client import open_store

FUZZ_S = int(os.environ.get("FAULT_FUZZ_S", "2"))
EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "150"))
GIB = 1 << 30
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = "application/x-protobuf"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that only receives: its next hop is away."""
    made = Server(tmp_path_factory.mktemp("malformed") / ".ell", more=["--to", "http://127.0.0.1:9"])
    assert made.started
    yield made
    assert made.process.poll() is None, "it died"
    made.kill()


def post(server: Server, body: bytes, path: str = "/v1/traces", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["OTLP/HTTP"], timeout=30)
    named = {"content-type": PROTOBUF} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request("POST", path, body, named)
        return connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        return 413  # refused before it was read: the answer is lost with what was still being sent
    finally:
        connection.close()


def call(server: Server, payload: bytes, **options: Any) -> grpc.StatusCode:
    target = f"127.0.0.1:{server.ports['OTLP/gRPC']}"
    with grpc.insecure_channel(target, options=[("grpc.max_send_message_length", -1)]) as channel:
        try:
            channel.unary_unary(TRACES)(payload, timeout=30, **options)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
            return code
    return grpc.StatusCode.OK


# -- bytes ------------------------------------------------------------------------------------------------------------


def valid() -> list[bytes]:
    """Requests with one of everything in them."""
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    traces.ParseFromString(span_of(7))
    span = traces.resource_spans[0].scope_spans[0].spans[0]
    span.events.add(name="an event", time_unix_nano=1).attributes.add(key="k").value.int_value = 1
    span.links.add(trace_id=bytes(16), span_id=bytes(8)).attributes.add(key="k").value.bool_value = True
    span.attributes.add(key="list").value.array_value.values.add().double_value = 0.1
    span.attributes.add(key="map").value.kvlist_value.values.add(key="k").value.bytes_value = b"\xff"
    record = logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1, event_name="e")
    record.body.string_value = "body"
    return [traces.SerializeToString(), logs.SerializeToString()]


def test_the_fuzzer_finds_no_bytes_that_are_neither_refused_nor_stored(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this Python: pip install atheris")
    seeds = [*valid(), *valid()]
    seeds[2:] = [
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "00" * 16, "name": "n"}]}]}]}).encode()
    ]
    for number, seed in enumerate(seeds):
        (tmp_path / str(number)).write_bytes(bytes([number]) + seed)
    script = Path(__file__).with_name("fuzz_decoder.py")
    # What a child is held to counts from its parent's peak, which Linux hands down (getrusage(2)).
    most_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + 512
    command = [sys.executable, str(script), str(tmp_path), f"-max_total_time={FUZZ_S}", f"-rss_limit_mb={most_mb}"]
    done = subprocess.run(
        [*command, "-timeout=10", "-max_len=4096"], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=FUZZ_S + 120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A valid request, cut, with bytes changed, doubled or put in."""
    data = bytearray(draw(st.sampled_from(valid())))
    for _ in range(draw(st.integers(1, 6))):
        where = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["cut", "change", "double", "insert"])):
            case "cut":
                del data[where : where + draw(st.integers(1, 20))]
            case "change":
                data[where : where + 1] = draw(st.binary(min_size=1, max_size=1))
            case "double":
                data[where:where] = data[where : where + 50]
            case _:
                data[where:where] = draw(st.binary(min_size=1, max_size=12))
    return bytes(data)


MEDIA = st.sampled_from([PROTOBUF, "application/json", "application/json; charset=utf-16", "text/plain", "", "a/b/c"])
ENCODINGS = st.sampled_from(["", "identity", "gzip", "deflate", "zstd", "br", "gzip, gzip", "\x01"])
PATHS = st.sampled_from(["/v1/traces", "/v1/logs", "/v1/metrics", "/v1/traces/", "//v1/traces", "/v1/%2e%2e/x", "/"])


@settings(max_examples=EXAMPLES, deadline=None)
@given(body=broken() | st.binary(max_size=200), path=PATHS, media=MEDIA, encoding=ENCODINGS)
def test_no_request_is_answered_with_a_mistake_of_ours(
    server: Server, body: bytes, path: str, media: str, encoding: str
) -> None:
    body = gzip.compress(body) if encoding == "gzip" and len(body) % 2 else body
    assert post(server, body, path, content_type=media, content_encoding=encoding) < 500


FIELDS = ["resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "name", "kind", "attributes", "key", "value",
          "stringValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "values", "status", "code", "events",
          "timeUnixNano", "startTimeUnixNano", "resourceLogs", "scopeLogs", "logRecords", "body", "resource", "@type"]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(document=JSON, path=st.sampled_from(["/v1/traces", "/v1/logs", "/v1/metrics"]))
def test_no_json_is_answered_with_a_mistake_of_ours(server: Server, document: object, path: str) -> None:
    status = post(server, json.dumps(document).encode("utf-8", "surrogatepass"), path, content_type="application/json")
    assert status in {200, 400}


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(payload=broken() | st.binary(max_size=200))
def test_over_grpc_too_bad_bytes_are_the_senders_fault(server: Server, payload: bytes) -> None:
    assert call(server, payload) in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(noise=st.binary(min_size=1, max_size=300), port=st.sampled_from(["OTLP/HTTP", "OTLP/gRPC"]))
def test_noise_on_the_wire_harms_nobody(server: Server, noise: bytes, port: str) -> None:
    with socket.create_connection(("127.0.0.1", server.ports[port]), timeout=10) as connection:
        connection.sendall(noise)
    assert post(server, span_of(1)) == 200


# -- bombs ------------------------------------------------------------------------------------------------------------


def deflated(window: int) -> bytes:
    """A gigabyte of zeros. Flushed after each block, a block's bytes are always the same: so it is made but once."""
    compressor, block = zlib.compressobj(9, zlib.DEFLATED, window), bytes(1 << 22)
    first, again = (compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (GIB // len(block) - 1)


def zstd_frames() -> bytes:
    from backports import zstd  # comes with clickhouse-connect

    return zstd.compress(bytes(1 << 22)) * (GIB >> 22)


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: deflated(31),
    "deflate": lambda: deflated(15),
    "zstd": zstd_frames,
}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_gigabyte_in_a_bomb_is_refused_for_a_tenth_of_a_second_and_64_megabytes(
    server: Server, encoding: str
) -> None:
    bomb = BOMBS[encoding]()
    assert len(bomb) < 1_100_000
    _costs_little(server, lambda: post(server, bomb, content_encoding=encoding) == 413)


def test_over_grpc_a_bomb_is_refused_as_cheaply(server: Server) -> None:
    """gRPC inflates the whole of what it is sent, up to its limit, before we are asked: its own doing."""
    raw = bytes(64 << 20)  # what this end can hold as well: it is compressed here
    refused = grpc.StatusCode.RESOURCE_EXHAUSTED
    _costs_little(server, lambda: call(server, raw, compression=grpc.Compression.Gzip) is refused)


def test_a_bomb_inside_of_a_bomb_is_one_layer_of_noise(server: Server) -> None:
    _costs_little(server, lambda: post(server, gzip.compress(deflated(31), 1), content_encoding="gzip") == 400)


def _costs_little(server: Server, refused: Callable[[], bool]) -> None:
    """Processor time and the peak of memory, of the server itself.

    The least of some tries: what shares a core with us can double the time that the same work takes.
    """
    pid = server.process.pid
    assert post(server, span_of(1)) == 200
    _let_it_come_to_rest(pid)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins here
    memory, costs = resident_kb(pid), [1.0]
    while min(costs) >= 0.1 and len(costs) <= 40:
        before = processor_s(pid)
        assert refused()
        costs.append(processor_s(pid) - before)
        time.sleep(0.1)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert min(costs) < 0.1, costs
    assert peak - memory < 64 << 10, peak - memory


def _let_it_come_to_rest(pid: int) -> None:
    """Until the store has taken the span, and has merged what earlier tests left it."""
    deadline = time.monotonic() + 20
    before, now = 0.0, processor_s(pid)
    while now - before > 0.03 and time.monotonic() < deadline:
        time.sleep(0.3)
        before, now = now, processor_s(pid)


# -- as large and as deep as can be -----------------------------------------------------------------------------------


def test_large_and_deep_requests_are_stored_whole(tmp_path: Path) -> None:
    server = Server(tmp_path / ".ell")
    assert server.started
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    _span(spans, 1, "prompt").attributes.add(key="text").value.string_value = "word " * 2_000_000
    for number in range(ATTRIBUTES):
        _span(spans, 2, "attributes") if number == 0 else None
        spans[1].attributes.add(key=f"key {number}").value.int_value = number
    _span(spans, 3, "events")
    for number in range(10_000):
        spans[2].events.add(name=f"event {number}", time_unix_nano=number)
    _span(spans, 4, "key").attributes.add(key="k" * (1 << 20)).value.string_value = "v"
    unknown = _span(spans, 5, "unknown")
    unknown.kind, unknown.status.code = 77, 99
    unknown.MergeFromString(b"\xfa\x3f\x05hello")  # field 1023, of a release to come
    assert post(server, request.SerializeToString()) == 200
    for first in range(0, 100_000, 25_000):  # one trace, and every span below the one before, 5,000 deep
        request = ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        for number in range(first, first + 25_000):
            _span(spans, 1000 + number, "many").parent_span_id = (
                (999 + number).to_bytes(8, "big") if number % 5000 else b""
            )
        assert post(server, gzip.compress(request.SerializeToString(), 1), content_encoding="gzip") == 200
    assert server.end(60) == 0
    sql = (
        "SELECT SpanName AS n, count() AS c, max(length(SpanAttributes['text'])) AS t, max(length(SpanAttributes)) AS a, "
        "max(length(Events.Name)) AS e, any(SpanKind) AS k FROM otel_traces GROUP BY n ORDER BY n"
    )
    with open_store(resolve({}, dir=str(tmp_path / ".ell")), purpose="test") as store:
        found = {str(row.pop("n")): tuple(row.values()) for row in store.query(sql)}
    assert found == {
        "attributes": (1, 0, ATTRIBUTES, 0, "Unspecified"),
        "events": (1, 0, 0, 10_000, "Unspecified"),
        "key": (1, 0, 1, 0, "Unspecified"),
        "many": (100_000, 0, 0, 0, "Unspecified"),
        "prompt": (1, 10_000_000, 1, 0, "Unspecified"),
        "unknown": (1, 0, 0, 0, ""),
    }


def _span(spans: Any, number: int, name: str) -> Any:
    return spans.add(
        name=name,
        trace_id=bytes(15) + b"1",
        span_id=number.to_bytes(8, "big"),
        start_time_unix_nano=1_760_000_000 * 10**9,
    )


@pytest.mark.parametrize("depth", [90, 5_000])
def test_values_nested_too_deep_are_refused_and_no_stack_is_used_up(server: Server, depth: int) -> None:
    text = json.dumps({"key": "k"})[:-1] + ', "value": ' + _dumped(depth) + "}"
    body = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"deep","attributes":[' + text + "]}]}]}]}"
    assert post(server, body.encode(), content_type="application/json") == 400
    assert post(server, _nested(depth)) == 400


def _dumped(depth: int) -> str:
    return '{"arrayValue":{"values":[' * depth + '{"stringValue":"deep"}' + "]}}" * depth


def _nested(depth: int) -> bytes:
    """A span with an attribute that is an array in an array, …, in protobuf: each level two messages."""
    value = b"\x0a\x04deep"
    for _ in range(depth):
        value = _field(5, _field(1, value))
    attribute = _field(1, b"k") + _field(2, value)
    return _field(1, _field(2, _field(2, _field(9, attribute))))


def _field(number: int, content: bytes) -> bytes:
    length, size = len(content), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + content


def test_text_that_is_not_utf_8_is_refused_and_its_neighbours_in_other_requests_are_not(server: Server) -> None:
    bad = span_of(3).replace(b"ledger", b"\xff\xfe\xfdger")
    assert post(server, bad) == 400
    assert call(server, bad) is grpc.StatusCode.INVALID_ARGUMENT
    assert post(server, span_of(3)) == 200


def test_memory_is_flat_over_a_thousand_bad_requests(server: Server) -> None:
    chance = random.Random(1)
    bodies = [bytes(chance.randbytes(2000)) for _ in range(50)]
    before = 0
    for turn in range(10):
        for body in bodies:
            assert post(server, body) == 400
            assert post(server, body, content_encoding="gzip") == 400
        before = before or resident_kb(server.process.pid) * (turn > 1)
    assert resident_kb(server.process.pid) - before < 16 << 10
