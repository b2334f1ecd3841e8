"""``ell-otel serve --to``: onward to another collector. What was acknowledged arrives, whatever the collector does; and
the receivers' TLS, which needs no store to be tried."""

from __future__ import annotations

import gzip
import http.client
import http.server
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ell_otel.config import resolve
from ell_otel.errors import ConfigError
from ell_otel.ingest.service import Service
from ell_otel.web import body as web_body

PROTOBUF = {"content-type": "application/x-protobuf"}
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Collector(http.server.ThreadingHTTPServer):
    """Another collector. ``statuses`` are its next answers, 200 when used up; it refuses whatever holds ``poison``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.poison = ""
        self.names: list[str] = []
        self.requests = 0
        self.headers: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest.FromString(
            gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        )
        scopes = (scope for resource in request.resource_spans for scope in resource.scope_spans)
        names = [span.name for scope in scopes for span in scope.spans]
        self.server.requests += 1
        self.server.headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        status = 400 if self.server.poison in names else status
        self.server.names += names if status == 200 else []
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing to say."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.shutdown()
    made.server_close()


class Forwarder:
    """The service, sending onward; and a sender."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.said: list[str] = []
        self.service = Service(
            resolve({}, dir=str(directory), grpc_port=0, http_port=0, **settings), narrate=self.said.append
        )
        self.service.start()
        self.grpc, self.http = (component.port for component in self.service.components[:2])

    def send(self, *names: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=20)
        connection.request("POST", "/v1/traces", payload(*names), PROTOBUF)
        status = connection.getresponse().status
        connection.close()
        return status


def payload(*names: str) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=bytes(15) + b"1", span_id=bytes(7) + b"1", start_time_unix_nano=1)
    return request.SerializeToString()


def eventually(condition: Any, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(condition())


def test_what_is_acknowledged_arrives_at_the_next_collector(tmp_path: Path, collector: Collector) -> None:
    forwarder = Forwarder(tmp_path / ".ell", forward=collector.url, forward_headers="authorization=Bearer%20abc")
    assert forwarder.send("one", "two") == 200
    assert eventually(lambda: sorted(collector.names) == ["one", "two"])
    assert collector.headers["authorization"] == "Bearer abc"
    forwarder.service.stop()
    assert not (tmp_path / ".ell" / "store").exists()
    assert not list((tmp_path / ".ell" / "log").glob("*.seg"))


def test_an_outage_of_the_next_hop_is_none_of_the_senders(tmp_path: Path, collector: Collector) -> None:
    collector.statuses = [503, 429, 500]
    forwarder = Forwarder(tmp_path / ".ell", forward=collector.url)
    assert [forwarder.send(f"{number}") for number in range(10)] == [200] * 10
    assert eventually(lambda: len(collector.names) == 10)
    assert collector.requests <= 10, "no hot loop: it is tried again after growing pauses"
    assert sum("waits" in line for line in forwarder.said) <= 3
    forwarder.service.stop()


def test_what_waits_when_the_server_ends_is_sent_by_the_next_one(tmp_path: Path, collector: Collector) -> None:
    first = Forwarder(tmp_path / ".ell", forward="http://127.0.0.1:9")  # nobody listens there
    assert first.send("waiting") == 200
    first.service.stop()
    second = Forwarder(tmp_path / ".ell", forward=collector.url)
    assert eventually(lambda: collector.names == ["waiting"])
    second.service.stop()


def test_a_request_that_the_next_hop_refuses_is_put_aside_and_holds_up_no_other(
    tmp_path: Path, collector: Collector
) -> None:
    collector.poison = "bad"
    collector.statuses = [503]
    forwarder = Forwarder(tmp_path / ".ell", forward=collector.url)
    for name in ("a", "b", "bad", "c", "d"):
        assert forwarder.send(name) == 200
    assert eventually(lambda: sorted(collector.names) == ["a", "b", "c", "d"])
    forwarder.service.stop()
    (aside,) = (tmp_path / ".ell" / "quarantine").iterdir()
    assert aside.read_bytes() == payload("bad")


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://x", "http://"])
def test_an_endpoint_that_is_none_is_refused_at_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="OTLP/HTTP endpoint"):
        Service(resolve({}, dir=str(tmp_path / ".ell"), forward=url)).start()


def test_a_body_that_does_not_come_gives_its_connection_back(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_body, "BODY_S", 0.3)
    forwarder = Forwarder(tmp_path / ".ell", forward=collector.url)
    connection = http.client.HTTPConnection("127.0.0.1", forwarder.http, timeout=20)
    connection.putrequest("POST", "/v1/traces")
    for name, value in {**PROTOBUF, "content-length": "1000"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"a little")
    assert connection.getresponse().status == 408
    connection.close()
    forwarder.service.stop()


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def files(authority: trustme.CA, folder: Path, *names: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    issued = authority.issue_cert(*(names or ("127.0.0.1",)))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    return {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}


def post_over_tls(port: int, context: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    try:
        connection.request("POST", "/v1/traces", payload("tls"), PROTOBUF)
        return connection.getresponse().status
    finally:
        connection.close()


def call_over_tls(port: int, authority: trustme.CA, client: trustme.LeafCert | None = None) -> bytes:
    pair = (client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *pair)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        answer: bytes = channel.unary_unary(TRACES)(payload("tls"), timeout=10)
        return answer


def test_over_tls_both_protocols_take_requests_and_plain_ones_get_nowhere(
    tmp_path: Path, collector: Collector, authority: trustme.CA
) -> None:
    forwarder = Forwarder(tmp_path / ".ell", forward=collector.url, **files(authority, tmp_path / "tls"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    assert post_over_tls(forwarder.http, trusting) == 200
    assert call_over_tls(forwarder.grpc, authority) == b""
    with pytest.raises(ssl.SSLCertVerificationError):
        post_over_tls(forwarder.http, ssl.create_default_context())
    with pytest.raises((OSError, http.client.HTTPException)):
        forwarder.send("plain")
    old = ssl.create_default_context()
    authority.configure_trust(old)
    with warnings.catch_warnings(action="ignore"):  # that it is old is the point
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match="(?i)ssl|protocol|alert"):
        post_over_tls(forwarder.http, old)
    forwarder.service.stop()
    assert sorted(collector.names) == ["tls", "tls"]


def test_with_a_client_authority_only_those_it_signed_may_send(
    tmp_path: Path, collector: Collector, authority: trustme.CA
) -> None:
    clients, strangers = trustme.CA(), trustme.CA()
    clients.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    settings = files(authority, tmp_path / "tls") | {"tls_client_ca": str(tmp_path / "clients.pem")}
    forwarder = Forwarder(tmp_path / ".ell", forward=collector.url, **settings)
    known, unknown = clients.issue_cert("sender@example.org"), strangers.issue_cert("stranger@example.org")
    for signed, welcome in ((known, True), (unknown, False), (None, False)):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if signed is not None:
            signed.configure_cert(context)
        if welcome:
            assert post_over_tls(forwarder.http, context) == 200
            assert call_over_tls(forwarder.grpc, authority, signed) == b""
            continue
        with pytest.raises(OSError, match="(?i)ssl|reset|closed|pipe|alert"):
            post_over_tls(forwarder.http, context)
        with pytest.raises(grpc.RpcError):
            call_over_tls(forwarder.grpc, authority, signed)
    forwarder.service.stop()
    assert sorted(collector.names) == ["tls", "tls"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tls_cert": "cert.pem"}, "--tls-key"),
        ({"tls_cert": "absent.pem", "tls_key": "absent.pem"}, "cannot be read"),
        ({"tls_cert": __file__, "tls_key": __file__}, "cannot be served"),
    ],
)
def test_tls_that_cannot_be_served_is_said_at_the_start_and_nothing_listens(
    tmp_path: Path, collector: Collector, settings: dict[str, str], told: str
) -> None:
    service = Service(resolve({}, dir=str(tmp_path / ".ell"), forward=collector.url, **settings))
    with pytest.raises(ConfigError, match=told):
        service.start()
    assert service.components == []
