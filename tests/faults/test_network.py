"""A network that fails between an application and its collector, and between ``ell-otel serve`` and the next hop.

Everything arrives that was accepted, an outage makes no hot loop, and the calls of the application cost what they did.
``FAULT_OUTAGE_S`` is how long each outage lasts; ``make faults`` makes it a minute.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from collectors import free_port, http_collector
from machine import own_network
from oracle import Ledger, audit, clean, span_of
from proxy import Proxy, proxy
from test_export import numbers, spans, start, until
from victims import Senders, Server

import ell_otel as ell
from ell_otel.config import resolve
from ell_otel.ingest import forward
from ell_otel.ingest.service import Service
from ell_otel.telemetry import providers

OUTAGE_S = float(os.environ.get("FAULT_OUTAGE_S", "1"))


def end_of_trouble(line: Proxy) -> int:
    """Let the line be bad for a while, then well; how many connections were tried until then."""
    time.sleep(OUTAGE_S + 0.5)  # the first request waits for others for a second
    tried, line.mode = line.connections, "pass"
    return tried


# -- from the application to a collector ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reset", "hold", "mute"])
def test_an_application_bears_a_line_that_resets_holds_or_loses_answers(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    with http_collector() as collector, proxy(int(collector.url.rpartition(":")[2])) as line:
        start(line.url)
        line.mode = mode
        spans(50)
        tried = end_of_trouble(line)
        spans(50, first=50)
        assert until(lambda: set(collector.names()) == set(numbers(100)), 60)
        assert 1 <= tried <= 4 + 2 * OUTAGE_S  # half a second, doubled each time, up to 30
        if mode != "mute":
            assert len(collector.names()) == 100


def test_a_call_costs_the_same_while_the_collector_is_away() -> None:
    costs: dict[str, list[float]] = {"pass": [], "reset": []}
    with http_collector() as collector, proxy(int(collector.url.rpartition(":")[2])) as line:
        start(line.url)
        for turn in range(60):
            line.mode = ("pass", "reset")[turn // 10 % 2]
            before = time.thread_time()
            spans(20, first=turn * 20)
            costs[line.mode].append(time.thread_time() - before)
            time.sleep(0.02)
        line.mode = "pass"
        assert until(lambda: collector.names() == numbers(1200), 60)
    assert statistics.median(costs["reset"]) < 2 * statistics.median(costs["pass"])


def test_all_of_an_outage_at_two_hundred_spans_a_second_arrives() -> None:
    port, sent = free_port(), 0
    start(f"http://127.0.0.1:{port}")
    end = time.monotonic() + OUTAGE_S
    while time.monotonic() < end:
        spans(10, 1000, first=sent)
        sent += 10
        time.sleep(0.05)
    with http_collector(port=port) as collector:
        assert until(lambda: len(collector.spans) >= sent, 60)
        assert collector.names() == numbers(sent)


def test_a_stopped_collector_goes_on_where_it_was(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    start(f"http://127.0.0.1:{server.ports['OTLP/HTTP']}")
    spans(20)
    assert ell.flush()
    server.process.send_signal(signal.SIGSTOP)
    try:
        spans(20, first=20)
        before = time.process_time()
        time.sleep(OUTAGE_S)
        assert time.process_time() - before < max(0.05 * OUTAGE_S, 0.2)
    finally:
        server.process.send_signal(signal.SIGCONT)
    spans(20, first=40)
    assert until(ell.flush)
    providers.reset()
    assert server.end() == 0
    assert stored_names(tmp_path / "server") == numbers(60)


def stored_names(directory: Path) -> list[str]:
    from ell_otel.store.client import open_store

    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        return [str(row["n"]) for row in store.query("SELECT DISTINCT SpanName AS n FROM otel_traces ORDER BY n")]


IN_A_NETWORK = """
import subprocess, sys, time
sys.path[:0] = sys.argv[1:3]
from collectors import http_collector
from test_export import numbers, spans, start, until
import ell_otel as ell
from ell_otel.telemetry import providers
"""


SLOW = ("ip link set lo mtu 1500", "tc qdisc add dev lo root tbf rate 2mbit burst 32kbit latency 500ms")


def in_a_network(script: str, *setup: str, **environment: str) -> str:
    here = Path(__file__).parent
    command = [*own_network(*setup), sys.executable, "-c", IN_A_NETWORK + script, str(here), str(here.parent)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_partition_held_up_arrives_when_it_is_over() -> None:
    script = f"""
def network(state): subprocess.run(["ip", "link", "set", "lo", state], check=True)
with http_collector() as collector:
    start(collector.url)
    spans(50)
    assert ell.flush()
    network("down")
    spans(50, first=50)
    time.sleep({OUTAGE_S})
    held = len(collector.spans)
    network("up")
    assert until(lambda: len(collector.spans) >= 100, 60)
    print(held, collector.names() == numbers(100))
"""
    assert in_a_network(script, OTEL_EXPORTER_OTLP_TIMEOUT="0.5", ELL_OTEL_EXIT_MS="100") == "50 True\n"


def test_over_a_slow_line_memory_keeps_its_bound_and_what_does_not_fit_is_counted_exactly() -> None:
    """400 spans of 5 kB at two megabits, with 300 kB of queue: what gets through and what is said to be lost are all."""
    script = """
with http_collector() as collector:
    pipeline = start(collector.url)
    most = 0
    for number in range(400):
        spans(1, 5000, first=number)
        most = max(most, pipeline._remote.spans._bytes)
        time.sleep(0.002)
    assert until(lambda: ell.flush() and not pipeline._remote.spans._pending, 60)
    ell.flush()
    until(lambda: lost(collector) + len(collector.spans) == 400, 10)
    print(most <= 300_000, lost(collector) > 0, lost(collector) + len(set(collector.names())))
"""
    lost = """
def lost(collector):
    return sum(each.value.int_value for event in collector.events for each in event.attributes
               if each.key == "ell.loss.count")
"""
    assert in_a_network(lost + script, *SLOW, ELL_OTEL_QUEUE_BYTES="300000") == "True True 400\n"


def test_a_request_too_large_for_a_slow_line_is_made_smaller_until_it_gets_through() -> None:
    """A megabyte at two megabits takes four seconds; sent whole, with a second's patience, it would never arrive."""
    script = """
with http_collector() as collector:
    start(collector.url)
    spans(200, 5000)
    assert until(lambda: len(set(collector.names())) == 200, 60)
    print(len(collector.requests) < 40)
"""
    assert in_a_network(script, *SLOW, OTEL_EXPORTER_OTLP_TIMEOUT="1") == "True\n"


# -- from the server to the next hop ----------------------------------------------------------------------------------


class Onward:
    """``ell-otel serve --to`` in this process, and a sender."""

    def __init__(self, directory: Path, url: str) -> None:
        self.said: list[str] = []
        self.service = Service(
            resolve({}, dir=str(directory), grpc_port=0, http_port=0, forward=url), narrate=self.said.append
        )
        self.service.start()
        self.port = self.service.components[1].port

    def send(self, first: int, count: int) -> None:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        for number in range(first, first + count):
            connection.request("POST", "/v1/traces", span_of(number), {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
        connection.close()


def ids(collector: Any) -> set[int]:
    return {int.from_bytes(span.span_id, "big") - 1 for span in collector.spans}


@pytest.mark.parametrize("mode", ["reset", "hold", "mute"])
def test_a_server_bears_a_bad_line_to_the_next_hop(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "_TIMEOUT_S", 0.3)
    with http_collector() as collector, proxy(int(collector.url.rpartition(":")[2])) as line:
        onward = Onward(tmp_path / ".ell", line.url)
        line.mode = mode
        onward.send(0, 20)  # and the senders notice nothing
        tried = end_of_trouble(line)
        onward.send(20, 20)
        assert until(lambda: ids(collector) == set(range(40)), 60)
        onward.service.stop()
    assert 1 <= tried <= 4 + 2 * OUTAGE_S
    told = [line for line in onward.said if "could not be delivered" in line]
    assert 1 <= len(told) == len(set(told))


def test_a_next_hop_without_an_address_is_tried_seldom_and_told_once(tmp_path: Path) -> None:
    onward = Onward(tmp_path / ".ell", "http://collector.invalid:4318")
    onward.send(0, 20)
    before = time.process_time()
    time.sleep(OUTAGE_S)
    assert time.process_time() - before < max(0.05 * OUTAGE_S, 0.2)
    onward.service.stop()
    assert sum("collector.invalid" in line for line in onward.said if "could not be delivered" in line) == 1


def test_a_disk_that_takes_half_a_second_to_sync_slows_the_answers_and_loses_none(tmp_path: Path) -> None:
    from victims import strace

    port = free_port()  # the next hop is away, so that everything stays in the log
    server = Server(tmp_path / ".ell", *strace("fsync:delay_enter=500000"), more=["--to", f"http://127.0.0.1:{port}"])
    ledger = Ledger()
    began = time.monotonic()
    senders = Senders(server, ledger, 0, threads=8)
    assert ledger.reaches(24)
    took = time.monotonic() - began
    senders.end()
    server.kill()
    verdict = audit(tmp_path / ".ell", ledger, waiting=tmp_path / ".ell" / "log")
    assert took < 24 * 0.5, "a sync serves all who wait for it"
    assert clean(verdict), verdict


def test_a_store_elsewhere_that_stops_answering_is_none_of_the_senders(tmp_path: Path) -> None:
    port = free_port()
    here = Path(__file__).parent
    remote = subprocess.Popen(
        [sys.executable, str(here / "remote_store.py"), str(tmp_path / "remote"), str(port)], stdout=subprocess.PIPE
    )
    assert remote.stdout is not None
    assert remote.stdout.readline() == b"ready\n"
    ledger = Ledger()
    server = Server(tmp_path / ".ell", store=f"http://owner:secret@127.0.0.1:{port}")
    try:
        senders = Senders(server, ledger, 0, threads=2)
        assert ledger.reaches(20)
        remote.send_signal(signal.SIGSTOP)
        stopped = len(ledger.numbers("acked"))
        time.sleep(OUTAGE_S)
        assert ledger.reaches(stopped + 20)
        remote.send_signal(signal.SIGCONT)
        senders.end()
        assert server.end() == 0
    finally:
        server.kill()
        remote.terminate()
        remote.wait(20)
        remote.stdout.close()
    verdict = audit(tmp_path / "remote", ledger, waiting=tmp_path / ".ell" / "log")
    assert clean(verdict), verdict
