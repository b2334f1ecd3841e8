"""Sending to a collector: all that can arrive does, what cannot is counted, and nobody waits for it."""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from collectors import Script, free_port, grpc_collector, http_collector, mute_listener, secure_collector, spans_of
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import ell_otel as ell
from ell_otel import cli
from ell_otel.telemetry import batches, guard, providers
from ell_otel.telemetry.segments import Kind, pending
from ell_otel.testing import recorded


def start(url: str, protocol: str = "http/protobuf", **settings: Any) -> providers.Pipeline:
    ell.init(endpoint=url, protocol=protocol, content=True, **settings)
    return providers.pipeline()


def spans(count: int, size: int = 100, first: int = 0) -> None:
    """End ``count`` spans, called by their numbers, with contents of ``size`` bytes."""
    for number in range(first, first + count):
        span = providers.pipeline().tracer.start_span(f"{number:04}")
        span.set_attribute("gen_ai.input.messages", "x" * size)
        span.end()


def numbers(count: int) -> list[str]:
    return [f"{number:04}" for number in range(count)]


def until(condition: Any, seconds: float = 20) -> bool:
    """Wait for ``condition``; whether it came true."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def test_a_thousand_spans_of_ten_kilobytes_reach_a_stock_grpc_server_in_which_the_sdks_default_lands_none() -> None:
    with grpc_collector() as collector:
        start(collector.url, "grpc")
        spans(1000, 10_000)
        assert ell.flush()
        assert collector.names() == numbers(1000)
        assert 2 << 20 <= max(collector.requests) <= 3 << 20
    with grpc_collector() as collector:
        theirs = TracerProvider(shutdown_on_exit=False)
        theirs.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector.url, timeout=2)))
        for number in numbers(512):
            span = theirs.get_tracer("sdk").start_span(number)
            span.set_attribute("gen_ai.input.messages", "x" * 10_000)
            span.end()
        theirs.force_flush()
        theirs.shutdown()
        assert collector.spans == []


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_spans_and_the_closure_arrive_over_both_protocols(protocol: str) -> None:
    @ell.program
    def greet() -> str:
        return "hello"

    with grpc_collector() if protocol == "grpc" else http_collector() as collector:
        start(collector.url, protocol)
        greet()
        assert ell.flush()
        assert [event.event_name for event in collector.events] == ["ell.program"]
        assert [span.name.split()[0] for span in collector.spans] == ["invoke_workflow"]


def limit(most: int) -> Script:
    return lambda path, body: (413, {}, b"") if len(body) > most else None


def test_requests_are_halved_until_the_server_takes_them_and_then_made_smaller() -> None:
    with http_collector(limit(300_000)) as collector:
        start(collector.url)
        spans(600, 5000)
        assert ell.flush()
        refused = sum(size > 300_000 for size in collector.requests)
        assert collector.names() == numbers(600)
        spans(600, 5000, first=600)
        assert ell.flush()
        assert collector.names() == numbers(1200)
        assert sum(size > 300_000 for size in collector.requests) < refused + 10


def test_a_span_too_large_by_itself_arrives_without_its_contents_and_all_others_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with http_collector(limit(200_000)) as collector, caplog.at_level(logging.WARNING):
        start(collector.url)
        spans(5)
        spans(1, 500_000, first=5)
        spans(5, first=6)
        assert ell.flush()
        assert collector.names() == numbers(11)
        assert [span.name for span in collector.spans if not span.attributes] == ["0005"]
    assert "without its contents" in caplog.text


def test_one_invalid_span_is_put_aside_counted_and_told_and_the_rest_arrives(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def poisoned(path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        bad = path.endswith("traces") and any(span.name == "0017" for span in spans_of(body))
        return (400, {}, b"") if bad else None

    with http_collector(poisoned) as collector, caplog.at_level(logging.WARNING):
        start(collector.url, dir=tmp_path / ".ell")
        spans(100)
        assert ell.flush()
        assert collector.names() == [name for name in numbers(100) if name != "0017"]
        assert until(lambda: collector.events or not ell.flush())
        (loss,) = collector.events
    counts = {each.key: each.value.int_value for each in loss.attributes}
    assert (loss.event_name, counts["ell.loss.count"]) == ("ell.loss", 1)
    assert "refused 1 spans: 400" in caplog.text
    assert f"kept in {tmp_path / '.ell' / 'refused'}" in caplog.text
    (segment,) = pending(tmp_path / ".ell" / "refused")
    (frame,) = segment.read().frames
    assert (frame.kind, [span.name for span in spans_of(frame.payload)]) == (Kind.TRACES, ["0017"])
    providers.reset()
    assert cli.main(["spool", "ls", "--json", "--dir", str(tmp_path / ".ell")]) == cli.FOUND
    (row,) = json.loads(capsys.readouterr().out)["data"]
    assert (row["segment"], row["frames"]) == (f"refused/{segment.path.name}", 1)


def test_a_refused_span_that_is_moved_into_the_spool_arrives_in_the_store(tmp_path: Path) -> None:
    with http_collector(lambda path, body: (400, {}, b"")) as collector:
        start(collector.url, dir=tmp_path / ".ell")
        spans(1)
        ell.flush()
        providers.reset()
    (segment,) = pending(tmp_path / ".ell" / "refused")
    (tmp_path / ".ell" / "spool").mkdir()
    segment.path.rename(tmp_path / ".ell" / "spool" / segment.path.name)
    assert [span.name for span in recorded(tmp_path / ".ell").spans] == ["0000"]
    assert cli.main(["spool", "flush", "--dir", str(tmp_path / ".ell")]) == cli.OK
    assert not pending(tmp_path / ".ell" / "spool")


def test_where_nothing_can_be_put_aside_the_loss_is_counted_and_the_rest_arrives(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    guard.raise_faults(False)
    (tmp_path / "file").touch()
    with http_collector(lambda path, body: (400, {}, b"") if b"0003" in body else None) as collector:
        start(collector.url, dir=tmp_path / "file" / ".ell")
        spans(10)
        assert ell.flush()
        assert collector.names() == [name for name in numbers(10) if name != "0003"]
    assert "refused 1 spans: 400" in caplog.text
    assert "kept in" not in caplog.text


def test_a_server_that_takes_nothing_is_not_asked_for_each_span() -> None:
    with http_collector(lambda path, body: (400, {}, b"")) as collector:
        start(collector.url)
        spans(2000)
        ell.flush()
        assert len(collector.requests) < 200


def test_what_a_server_takes_only_in_part_is_counted_and_not_sent_again() -> None:
    partial = ExportTracePartialSuccess(rejected_spans=3, error_message="too old")
    answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()

    def some(path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        return (200, {}, answer) if path.endswith("traces") else None

    with http_collector(some) as collector:
        start(collector.url)
        spans(10)
        assert ell.flush()
        assert until(lambda: collector.events or not ell.flush())
        assert len(collector.requests) == 2
        (reason,) = [
            each.value.string_value for each in collector.events[0].attributes if each.key == "ell.loss.reason"
        ]
    assert "rejected 3 spans: too old" in reason


@pytest.mark.parametrize("status", [429, 503])
def test_a_servers_retry_after_is_waited_for_and_then_everything_arrives(status: int) -> None:
    times: list[float] = []

    def busy(path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        times.append(time.monotonic())
        return (status, {"Retry-After": "1"}, b"") if len(times) == 1 else None

    with http_collector(busy) as collector:
        start(collector.url)
        spans(3)
        assert not ell.flush()  # an attempt failed
        assert until(lambda: len(collector.spans) == 3)
    assert times[1] - times[0] >= 1


def test_a_program_event_that_was_refused_is_announced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "ANNOUNCE_UNSENT_S", 0.0)
    refusals = [(401, {}, b"")]

    def once(path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        return refusals.pop() if path.endswith("logs") and refusals else None

    @ell.program
    def greet() -> str:
        return "hello"

    with http_collector(once) as collector:
        start(collector.url)
        greet()
        ell.flush()
        assert collector.events == []
        greet()
        greet()
        ell.flush()
        assert [event.event_name for event in collector.events].count("ell.program") == 1


def test_a_collector_that_comes_back_after_a_while_gets_everything() -> None:
    port = free_port()
    start(f"http://127.0.0.1:{port}")
    spans(50)
    assert not ell.flush()
    spans(50, first=50)
    with http_collector(port=port) as collector:
        assert until(lambda: len(collector.spans) == 100)
        assert collector.names() == numbers(100)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_while_the_collector_is_away_attempts_are_few_and_the_queue_keeps_its_bound(
    protocol: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ELL_OTEL_QUEUE_BYTES", "200000")
    monkeypatch.setenv("ELL_OTEL_EXIT_MS", "100")
    with caplog.at_level(logging.WARNING):
        pipeline = start(f"http://127.0.0.1:{free_port()}", protocol)
        cpu = time.thread_time()
        spans(1000, 10_000)
        cpu = time.thread_time() - cpu
        assert pipeline._remote is not None
        assert pipeline._remote.spans._bytes <= 200_000
        before = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - before < 0.3  # of a second on the clock
    assert "the queue of spans is full" in caplog.text
    assert caplog.text.count("queue") == 1


def test_ending_spans_does_not_wait_for_a_server_that_never_answers() -> None:
    with mute_listener() as url:
        start(url)
        spans(10)
        time.sleep(batches.LINGER_S + 0.2)  # the first request is under way
        bare = time.monotonic()
        spans(200)
        assert time.monotonic() - bare < 2
        ended = threading.Thread(target=providers.reset)
        ended.start()
        ended.join(10)
        assert not ended.is_alive()


def test_a_host_that_has_no_address_is_told_once_and_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ELL_OTEL_EXIT_MS", "300")
    with caplog.at_level(logging.WARNING):
        start("http://collector.invalid:4318")
        spans(3)
        assert not ell.flush()
        assert not ell.flush()
        providers.reset()
    assert caplog.text.count("takes no spans now") == 1
    assert "did not take the last 3 spans" in caplog.text


def test_an_unusable_timeout_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    with pytest.raises(ell.EllOtelError, match="OTEL_EXPORTER_OTLP_TIMEOUT='soon'"):
        start("http://127.0.0.1:9")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_headers_and_compression_come_from_opentelemetrys_variables(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=all")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=blue")
    with grpc_collector() if protocol == "grpc" else http_collector() as collector:
        start(collector.url, protocol)
        spans(2, 1000)
        assert ell.flush()
        assert collector.names() == numbers(2)
        assert [headers["x-tenant"] for headers in collector.headers] == ["blue"]


def test_each_signal_goes_where_opentelemetrys_variables_send_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with grpc_collector() as one, http_collector() as other:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", one.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=spans")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{other.url}/to/the/logs")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-tenant=events")
        ell.init()
        ell.program(lambda: 1)()
        assert ell.flush()
        assert [span.name.split()[0] for span in one.spans] == ["invoke_workflow"]
        assert [event.event_name for event in other.events] == ["ell.program"]
        assert [received.headers[0]["x-tenant"] for received in (one, other)] == ["spans", "events"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_over_tls_only_to_a_server_that_is_trusted(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("ELL_OTEL_EXIT_MS", "100")
    with secure_collector(protocol, key, certificate) as collector:
        start(collector.url, protocol)
        spans(1)
        assert not ell.flush()
        start(collector.url.replace("https", "http"), protocol)
        spans(1)
        assert not ell.flush()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificate))
        start(collector.url, protocol)
        spans(1, first=1)
        assert ell.flush()
        assert collector.names() == ["0001"]
