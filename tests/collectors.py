"""Collectors for tests, real servers on loopback: a stock OTLP/gRPC server, and an HTTP one that answers as it is told."""

from __future__ import annotations

import gzip
import itertools
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


class Received:
    """What a collector took. ``requests`` are the sizes of all requests, also of those it refused."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.events: list[Any] = []
        self.requests: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def take(self, path: str, body: bytes) -> None:
        if path.endswith("traces"):
            self.spans += spans_of(body)
        else:
            self.events += events_of(body)

    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans)


def spans_of(body: bytes) -> list[Any]:
    request = trace_pb.ExportTraceServiceRequest.FromString(body)
    return [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]


def events_of(body: bytes) -> list[Any]:
    request = logs_pb.ExportLogsServiceRequest.FromString(body)
    return [log for each in request.resource_logs for scope in each.scope_logs for log in scope.log_records]


@contextmanager
def grpc_collector(port: int = 0, credentials: grpc.ServerCredentials | None = None) -> Iterator[Received]:
    """A bare gRPC server with OTLP's two services and gRPC's own limit of 4 MiB."""
    received = Received()

    class Traces(TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            received.requests.append(request.ByteSize())
            received.headers.append(dict(context.invocation_metadata()))
            received.take("traces", request.SerializeToString())
            return trace_pb.ExportTraceServiceResponse()

    class Logs(LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            received.take("logs", request.SerializeToString())
            return logs_pb.ExportLogsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(Traces(), server)
    add_LogsServiceServicer_to_server(Logs(), server)
    address = f"127.0.0.1:{port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    received.url = f"{'https' if credentials else 'http'}://127.0.0.1:{port}"
    server.start()
    try:
        yield received
    finally:
        server.stop(0).wait()


Script = Callable[[str, bytes], tuple[int, dict[str, str], bytes] | None]
"""From a request's path and body to status, headers and body; None: take it."""


@contextmanager
def http_collector(
    script: Script = lambda path, body: None, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Received]:
    """An OTLP/HTTP server that answers each request as ``script`` says."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(body) < int(self.headers["Content-Length"]):
                return  # its sender has given up
            received.requests.append(len(body))
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            status, headers, answer = script(self.path, body) or (200, {}, b"")
            if status == 200 and not answer:
                received.take(self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    received.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()


def secure_collector(protocol: str, key: Path, certificate: Path) -> AbstractContextManager[Received]:
    """A collector that speaks TLS with this certificate."""
    if protocol == "grpc":
        return grpc_collector(credentials=grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return http_collector(tls=context)


@contextmanager
def mute_listener() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


# Below those that the kernel gives to connections (32,768 and up), which would take a port between here and its use.
_PORTS = itertools.cycle(range(20_000 + os.getpid() % 100 * 100, 32_000))


def free_port() -> int:
    """A port that nobody listens on, another one at each call."""
    return next(port for port in _PORTS if _is_free(port))


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False
