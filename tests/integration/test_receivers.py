"""OTLP in: stock exporters over both protocols, and what is sent by those who mean no good."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.common.v1 import common_pb2 as common_pb
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from ell_otel.config import resolve
from ell_otel.ingest.accept import ATTRIBUTES
from ell_otel.ingest.service import Service
from ell_otel.store.client import Store
from ell_otel.telemetry.budget import Budget

LIMIT = 4 << 20
PROTOBUF = "application/x-protobuf"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


class Running:
    """A collector on free ports, and ways to ask it and its store."""

    def __init__(self, directory: str, **settings: Any) -> None:
        ports = dict.fromkeys(("grpc_port", "http_port"), 0)
        self.stores: list[Store] = []
        self.service = Service(
            resolve({}, dir=directory, request_bytes=LIMIT, **ports, **settings),
            fronts=lambda store, counters: self.stores.append(store) or (),  # type: ignore[func-returns-value]
        )
        self.service.start()
        self.grpc, self.http = (component.port for component in self.service.components[:2])

    @property
    def store(self) -> Store:
        return self.stores[0]

    def count(self, name: str, table: str = "otel_traces", column: str = "SpanName") -> int:
        self.settle()
        sql = f"SELECT count() AS n FROM {table} WHERE {column} = {{name:String}}"
        return int(str(self.store.query(sql, {"name": name})[0]["n"]))

    def settle(self) -> None:
        """Until what was acknowledged is in the store."""
        until = time.monotonic() + 20
        while self.service.counters.lag_s() and time.monotonic() < until:
            time.sleep(0.01)

    def post(self, path: str, body: bytes, media: str = PROTOBUF, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("POST", path, body, {"content-type": media, **named})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def call(self, method: str, payload: bytes, **options: Any) -> bytes:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc}", options=[("grpc.max_send_message_length", -1)]) as channel:
            answer: bytes = channel.unary_unary(method)(payload, timeout=30, **options)
            return answer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(str(tmp_path_factory.mktemp("receivers") / ".ell"))
    yield running
    running.service.stop()


def payload(name: str, spans: int = 1, attribute: str = "") -> bytes:
    """A serialised ExportTraceServiceRequest of spans with this name."""
    request = trace_pb.ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for _ in range(spans):
        now = time.time_ns()
        span = scope.spans.add(name=name, start_time_unix_nano=now, end_time_unix_nano=now + 1000)
        span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
        if attribute:
            span.attributes.add(key="text").value.string_value = attribute
    return request.SerializeToString()


def send_spans(exporter: SpanExporter, name: str, count: int = 3) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(count):
        provider.get_tracer("test").start_span(name, attributes={"gen_ai.request.model": "m"}).end()
    provider.shutdown()


# -- stock exporters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_the_stock_grpc_exporter_writes_rows(server: Running, compression: grpc.Compression | None) -> None:
    name = f"grpc {compression}"
    send_spans(GrpcSpanExporter(endpoint=f"127.0.0.1:{server.grpc}", insecure=True, compression=compression), name)
    assert server.count(name) == 3


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_the_stock_http_exporter_writes_rows(server: Running, compression: Compression) -> None:
    name = f"http {compression}"
    send_spans(HttpSpanExporter(endpoint=f"http://127.0.0.1:{server.http}/v1/traces", compression=compression), name)
    assert server.count(name) == 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_stock_log_exporters_write_rows(server: Running, protocol: str) -> None:
    exporter = (
        GrpcLogExporter(endpoint=f"127.0.0.1:{server.grpc}", insecure=True)
        if protocol == "grpc"
        else HttpLogExporter(endpoint=f"http://127.0.0.1:{server.http}/v1/logs")
    )
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    record = LogRecord(body=f"by {protocol}", severity_number=SeverityNumber.INFO, event_name="an.event")
    provider.get_logger("test").emit(record)
    provider.shutdown()  # type: ignore[no-untyped-call]
    assert server.count(f"by {protocol}", "otel_logs", "Body") == 1


def test_what_was_answered_is_visible_in_less_than_two_seconds(server: Running) -> None:
    took = []
    for turn in range(5):
        status, _, _ = server.post("/v1/traces", payload(f"durable {turn}", 10))
        answered = time.monotonic()
        assert status == 200
        assert server.count(f"durable {turn}") == 10
        took.append(time.monotonic() - answered)
    assert statistics.median(took) < 2, took


# -- OTLP/JSON --------------------------------------------------------------------------------------------------------


def json_request(**span: object) -> bytes:
    made = {"name": "json", "startTimeUnixNano": "1", "endTimeUnixNano": "2", **span}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [made]}]}]}).encode()


def test_json_carries_its_ids_as_hex(server: Running) -> None:
    trace, span, parent = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "EEE19B7EC3C1B173"
    link = {"traceId": trace, "spanId": span}
    attribute = {"key": "traceId", "value": {"stringValue": "not an id"}}
    body = json_request(
        name="hex",
        traceId=trace,
        spanId=span,
        parentSpanId=parent,
        kind=2,
        links=[link],
        attributes=[attribute],
        later=1,
    )
    status, headers, answer = server.post("/v1/traces", body, "application/json; charset=utf-8")
    assert (status, headers["content-type"], json.loads(answer)) == (200, "application/json", {})
    server.settle()
    (row,) = server.store.query("SELECT * FROM otel_traces WHERE SpanName = 'hex'")
    assert (row["TraceId"], row["SpanId"], row["ParentSpanId"]) == (trace, span, parent.lower())
    assert row["Links.TraceId"] == [trace]
    assert row["SpanAttributes"] == {"traceId": "not an id"}
    assert row["SpanKind"] == "Server"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"resourceSpans": 3}',
        b'{"resourceSpans": [3]}',
        b"\xff\xfe",
        json_request(traceId="zz"),
        json_request(traceId="0102"),
        json_request(startTimeUnixNano="never"),
    ],
)
def test_json_that_is_not_otlp_is_the_senders_fault(server: Running, body: bytes) -> None:
    status, _, answer = server.post("/v1/traces", body, "application/json")
    assert status == 400
    assert json.loads(answer)["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"\xff" * 64, b"garbage", payload("cut", 3)[:-5], b"\x0a\xff\xff\xff\xff\x0f"])
def test_garbage_is_the_senders_fault_over_both_protocols(server: Running, body: bytes) -> None:
    status, headers, answer = server.post("/v1/traces", body)
    assert (status, headers["content-type"]) == (400, PROTOBUF)
    told = status_pb2.Status.FromString(answer)
    assert told.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert told.message
    with pytest.raises(grpc.RpcError) as error:
        server.call(TRACES, body)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_or_a_no_cors_script_can_send_is_refused(server: Running, media: str) -> None:
    assert server.post("/v1/traces", payload("form"), media)[0] == 415
    assert server.count("form") == 0


def test_a_gzip_bomb_is_refused_quickly_over_both_protocols(server: Running) -> None:
    bomb = gzip.compress(bytes(256 << 20), compresslevel=1)
    began = time.monotonic()
    assert server.post("/v1/traces", bomb, content_encoding="gzip")[0] == 413
    refused = time.monotonic() - began
    began = time.monotonic()
    gzip.decompress(bomb)
    assert refused < time.monotonic() - began, "it was not unfolded"
    with pytest.raises(grpc.RpcError) as error:
        server.call(TRACES, bytes(64 << 20), compression=grpc.Compression.Gzip)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_request_over_the_limit_is_refused_with_the_setting_that_raises_it(server: Running) -> None:
    large = payload("large", 1, "x" * LIMIT)
    status, _, answer = server.post("/v1/traces", large)
    assert status == 413
    assert "ELL_OTEL_REQUEST_BYTES" in status_pb2.Status.FromString(answer).message
    with pytest.raises(grpc.RpcError) as error:
        server.call(TRACES, large)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_span_just_under_the_limit_is_stored_whole(server: Running) -> None:
    text = "y" * (LIMIT - 1000)
    assert server.post("/v1/traces", payload("big", 1, text))[0] == 200
    server.settle()
    (row,) = server.store.query("SELECT length(SpanAttributes['text']) AS n FROM otel_traces WHERE SpanName = 'big'")
    assert row["n"] == len(text)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:4318"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
    ],
)
def test_a_web_page_of_another_site_cannot_write(server: Running, headers: dict[str, str], status: int) -> None:
    assert server.post("/v1/traces", json_request(name="page"), "application/json", **headers)[0] == status
    assert server.count("page") == 0


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/v1/traces/..%2f..%2fetc%2fpasswd", "//etc/passwd"])
def test_other_paths_are_not_there(server: Running, path: str) -> None:
    assert server.post(path, b"")[0] == 404
    assert server.get(path)[0] == 404


def test_a_sender_that_goes_away_is_no_trouble_for_the_others(server: Running) -> None:
    head = b"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += b"Content-Type: application/x-protobuf\r\nContent-Length: 9\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.http)) as gone:
            gone.sendall(head + b"half")
    assert server.post("/v1/traces", payload("after"))[0] == 200
    assert server.service.counters.value("refused_requests", "internal") == 0


def test_metrics_are_answered_as_not_stored(server: Running) -> None:
    request = metrics_pb.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.sum.data_points.add(as_int=1)
    metric.sum.data_points.add(as_int=2)
    status, _, answer = server.post("/v1/metrics", request.SerializeToString())
    assert status == 200
    told = metrics_pb.ExportMetricsServiceResponse.FromString(answer).partial_success
    assert told.rejected_data_points == 2
    assert "not stored" in told.error_message
    told = metrics_pb.ExportMetricsServiceResponse.FromString(server.call(METRICS, request.SerializeToString()))
    assert told.partial_success.rejected_data_points == 2


def test_the_counters_tell_what_happened(server: Running) -> None:
    before = server.service.counters.value("accepted_spans")
    server.post("/v1/traces", payload("counted", 7))
    server.post("/v1/traces", b"garbage")
    assert server.service.counters.value("accepted_spans") == before + 7
    status, text = server.get("/metrics")
    assert status == 200
    assert f"ell_otel_accepted_spans_total {before + 7}\n" in text
    assert 'ell_otel_refused_requests_total{reason="not_otlp"}' in text
    assert "ell_otel_lag_seconds" in text


def test_many_senders_at_once_are_all_stored(server: Running) -> None:
    answers: list[int] = []

    def send(who: int) -> None:
        for _ in range(5):
            answers.append(server.post("/v1/traces", payload("crowd", 4))[0])
            server.call(TRACES, payload("crowd", 4))

    senders = [threading.Thread(target=send, args=(who,)) for who in range(12)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert set(answers) == {200}
    assert server.count("crowd") == 12 * 5 * 2 * 4
    (parts,) = server.store.query("SELECT count() AS n FROM system.parts WHERE active AND table = 'otel_traces'")
    assert int(str(parts["n"])) < 100, "requests that come together share a part"


def test_a_full_log_asks_senders_to_come_back(server: Running) -> None:
    log = server.service._log
    assert log is not None
    before, log._writer._budget = log._writer._budget, Budget(2000)
    try:
        status, headers, answer = server.post("/v1/traces", payload("queued", 1, "x" * 4000))
        with pytest.raises(grpc.RpcError) as error:
            server.call(TRACES, payload("queued", 1, "x" * 4000))
    finally:
        log._writer._budget = before
    assert server.count("queued") == 0
    assert (status, headers["retry-after"]) == (429, "1")
    assert "ELL_OTEL_SPOOL_BYTES" in status_pb2.Status.FromString(answer).message
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    told = status_pb2.Status.FromString(dict(error.value.trailing_metadata())["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert told.details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 1


@pytest.mark.parametrize("bad", ["trace id", "attributes"])
def test_a_span_that_cannot_be_stored_is_rejected_and_the_others_are_stored(server: Running, bad: str) -> None:
    request = trace_pb.ExportTraceServiceRequest.FromString(payload(f"beside bad {bad}", 3))
    span = request.resource_spans[0].scope_spans[0].spans[1]
    if bad == "trace id":
        span.trace_id = b"short"
    else:
        for number in range(ATTRIBUTES + 1):
            span.attributes.add(key=f"{number}").value.int_value = number
    status, _, answer = server.post("/v1/traces", request.SerializeToString())
    told = trace_pb.ExportTraceServiceResponse.FromString(answer).partial_success
    assert (status, told.rejected_spans) == (200, 1)
    assert bad in told.error_message
    assert server.count(f"beside bad {bad}") == 2


def test_a_value_nested_deeper_than_protobuf_allows_is_the_senders_fault(server: Running) -> None:
    value = common_pb.AnyValue(string_value="deep")
    encoded = value.SerializeToString()
    for _ in range(5000):  # by hand: the library refuses to make what it refuses to read
        inner = b"\x0a" + _varint(len(encoded)) + encoded
        encoded = b"\x2a" + _varint(len(inner)) + inner
    pair = b"\x0a\x01k\x12" + _varint(len(encoded)) + encoded
    for number in (9, 2, 2, 1):  # attributes of a span of a scope of a resource of a request
        pair = bytes([number << 3 | 2]) + _varint(len(pair)) + pair
    assert server.post("/v1/traces", pair)[0] == 400
    assert server.service.counters.value("refused_requests", "internal") == 0


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])
