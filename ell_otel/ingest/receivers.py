"""OTLP in, over gRPC and over HTTP: two protocols, one ``Intake.export``, one table from errors to statuses.

A request is answered "ok" when it is durable in the log, and only then. Every other answer says whether to
send again. This is the only module that knows status codes; everything below it raises our own errors.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ell_otel.errors import ConfigError, DecodeError, IngestError, OverloadedError, StoreError
from ell_otel.ingest import otlp_json
from ell_otel.ingest.accept import Accepted, accept
from ell_otel.ingest.counters import Counters
from ell_otel.ingest.log import Log
from ell_otel.telemetry.segments import Kind
from ell_otel.web.body import SlowBodyError, TooLargeError, UnsupportedMediaError, read_body
from ell_otel.web.gate import Gate, bearer, same_secret
from ell_otel.web.listener import HttpListener, Tls, check_address

if TYPE_CHECKING:
    from grpc import ServicerContext

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_log: Final = logging.getLogger(__name__)
_WORKERS: Final = 32
_RPCS: Final = 96  # beyond it gRPC itself answers RESOURCE_EXHAUSTED; each may hold a whole request in memory


class TokenError(IngestError):
    """No token, or not the right one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender is told. ``retry_after_s`` is None where sending the same again will not help."""

    reason: str
    http: int
    grpc: grpc.StatusCode
    retry_after_s: float | None = None


# The first that fits. Subclasses stand before their bases.
ANSWERS: Final[tuple[tuple[type[Exception], Answer], ...]] = (
    (TokenError, Answer("token", 401, grpc.StatusCode.UNAUTHENTICATED)),
    (TooLargeError, Answer("too_large", 413, grpc.StatusCode.RESOURCE_EXHAUSTED)),
    (SlowBodyError, Answer("slow", 408, grpc.StatusCode.DEADLINE_EXCEEDED)),
    (UnsupportedMediaError, Answer("media_type", 415, grpc.StatusCode.INVALID_ARGUMENT)),
    (DecodeError, Answer("not_otlp", 400, grpc.StatusCode.INVALID_ARGUMENT)),
    (OverloadedError, Answer("overloaded", 429, grpc.StatusCode.RESOURCE_EXHAUSTED, 1.0)),
    (StoreError, Answer("store", 503, grpc.StatusCode.UNAVAILABLE, 2.0)),
    (Exception, Answer("internal", 500, grpc.StatusCode.INTERNAL)),
)


def answer_to(error: Exception) -> Answer:
    """The row of ``ANSWERS`` for this error."""
    return next(answer for kind, answer in ANSWERS if isinstance(error, kind))


@dataclass(frozen=True, slots=True)
class Signal:
    """One of OTLP's services: its gRPC name, its HTTP path, its messages, and what to do with a request's bytes."""

    service: str
    path: str
    request: type[Message]
    response: type[Message]
    take: Callable[[Intake, bytes], Message]


class Intake:
    """What both protocols do with a request once it is bytes of protobuf.

    ``limit`` is the largest request, in bytes, decompressed. An empty ``token`` lets everyone in.
    """

    def __init__(self, log: Log, counters: Counters, *, limit: int, token: str) -> None:
        self.counters = counters
        self.limit = limit
        self._log = log
        self._token = token

    def authorize(self, authorization: str | None) -> None:
        """Raises ``TokenError`` unless the header carries the token, where one is asked for."""
        if self._token and not same_secret(bearer(authorization), self._token):
            raise TokenError("send `Authorization: Bearer <ELL_OTEL_INGEST_TOKEN>`, e.g. by OTEL_EXPORTER_OTLP_HEADERS")

    def export(self, kind: Kind, payload: bytes) -> Accepted:
        """Check, make durable, count. Raises an ``IngestError`` or a ``StoreError``."""
        accepted = accept(kind, payload)
        if accepted.items:
            self._log.append(kind, accepted.payload)
        self.counters.add("accepted_spans" if kind is Kind.TRACES else "accepted_records", accepted.items)
        self.counters.add("rejected_items", accepted.rejected)
        return accepted

    def refuse(self, error: Exception) -> Answer:
        """Count a request that gets an error, and say which one."""
        answer = answer_to(error)
        if answer.reason == "internal":  # a mistake of ours, so its traceback must be found somewhere
            _log.error("an OTLP request failed", exc_info=error)
        self.counters.add("refused_requests", reason=answer.reason)
        return answer


def _take_traces(intake: Intake, payload: bytes) -> Message:
    taken = intake.export(Kind.TRACES, payload)
    if not taken.rejected:
        return trace_pb.ExportTraceServiceResponse()
    told = trace_pb.ExportTracePartialSuccess(rejected_spans=taken.rejected, error_message=taken.reason)
    return trace_pb.ExportTraceServiceResponse(partial_success=told)


def _take_logs(intake: Intake, payload: bytes) -> Message:
    taken = intake.export(Kind.LOGS, payload)
    if not taken.rejected:
        return logs_pb.ExportLogsServiceResponse()
    told = logs_pb.ExportLogsPartialSuccess(rejected_log_records=taken.rejected, error_message=taken.reason)
    return logs_pb.ExportLogsServiceResponse(partial_success=told)


def _take_metrics(intake: Intake, payload: bytes) -> Message:
    """Metrics are answered and not stored: a sender of all three signals must not fail for the third."""
    try:
        request = metrics_pb.ExportMetricsServiceRequest.FromString(payload)
    except ProtobufError as error:
        raise DecodeError(f"the body is not an ExportMetricsServiceRequest: {error}") from error
    scopes = (scope for resource in request.resource_metrics for scope in resource.scope_metrics)
    count = sum(_points(metric) for scope in scopes for metric in scope.metrics)
    intake.counters.add("not_stored_data_points", count)
    told = metrics_pb.ExportMetricsPartialSuccess(
        rejected_data_points=count, error_message="ell-otel stores traces and logs; metrics are not stored"
    )
    return metrics_pb.ExportMetricsServiceResponse(partial_success=told)


def _points(metric: Message) -> int:
    data = metric.WhichOneof("data")
    return len(getattr(metric, data).data_points) if data else 0


_COLLECTOR: Final = "opentelemetry.proto.collector"
SIGNALS: Final = (
    Signal(
        f"{_COLLECTOR}.trace.v1.TraceService",
        "/v1/traces",
        trace_pb.ExportTraceServiceRequest,
        trace_pb.ExportTraceServiceResponse,
        _take_traces,
    ),
    Signal(
        f"{_COLLECTOR}.logs.v1.LogsService",
        "/v1/logs",
        logs_pb.ExportLogsServiceRequest,
        logs_pb.ExportLogsServiceResponse,
        _take_logs,
    ),
    Signal(
        f"{_COLLECTOR}.metrics.v1.MetricsService",
        "/v1/metrics",
        metrics_pb.ExportMetricsServiceRequest,
        metrics_pb.ExportMetricsServiceResponse,
        _take_metrics,
    ),
)


# -- HTTP -------------------------------------------------------------------------------------------------------------


def http_receiver(intake: Intake, *, host: str, port: int, tls: Tls | None = None) -> HttpListener:
    """OTLP/HTTP on ``host:port``, with ``/healthz`` and ``/metrics`` beside it."""
    routes = [Route(signal.path, _http_endpoint(signal, intake), methods=["POST"]) for signal in SIGNALS]
    routes += [
        Route("/healthz", lambda _: PlainTextResponse("ok\n"), methods=["GET"]),
        Route("/metrics", lambda _: PlainTextResponse(intake.counters.prometheus()), methods=["GET"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Gate, host=host)])
    return HttpListener("OTLP/HTTP", app, host=host, port=port, flag="--http-port", tls=tls)


def _http_endpoint(signal: Signal, intake: Intake) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            intake.authorize(request.headers.get("authorization"))
            if media not in {PROTOBUF, JSON}:
                raise UnsupportedMediaError(f"Content-Type {media[:40]!r} is not OTLP; send {PROTOBUF} or {JSON}")
            body = await read_body(request, intake.limit)
            return _http_ok(await run_in_threadpool(_take_http, signal, intake, media, body), media)
        except Exception as error:
            return _http_error(error, intake.refuse(error), media)

    return endpoint


def _take_http(signal: Signal, intake: Intake, media: str, body: bytes) -> Message:
    if media == JSON:
        body = otlp_json.parse(body, signal.request()).SerializeToString()
    return signal.take(intake, body)


def _http_ok(message: Message, media: str) -> Response:
    return Response(_encoded(message, media), media_type=media)


def _http_error(error: Exception, answer: Answer, media: str) -> Response:
    """A ``google.rpc.Status`` in the request's own content type, as OTLP/HTTP has it."""
    media = media if media in {PROTOBUF, JSON} else JSON
    headers = {}
    if answer.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(answer.retry_after_s))
    if answer.http == 401:
        headers["www-authenticate"] = "Bearer"
    status = status_pb2.Status(code=answer.grpc.value[0], message=_told(error, answer))
    return Response(_encoded(status, media), answer.http, headers=headers, media_type=media)


def _encoded(message: Message, media: str) -> bytes:
    if media == JSON:
        return json_format.MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _told(error: Exception, answer: Answer) -> str:
    return "internal error" if answer.reason == "internal" else str(error)[:500]


# -- gRPC -------------------------------------------------------------------------------------------------------------


class GrpcReceiver:
    """OTLP/gRPC on ``host:port`` between ``start()`` and ``stop()``."""

    name = "OTLP/gRPC"

    def __init__(self, intake: Intake, *, host: str, port: int, tls: Tls | None = None) -> None:
        self.host = host
        self.port = port
        self._tls = tls
        options = [
            # Holds for the decompressed size too, and while decompressing (grpcio 1.85, tried with 1 GiB in 1 MB).
            ("grpc.max_receive_message_length", intake.limit),
            ("grpc.so_reuseport", 0),  # else a second server shares the port in silence
        ]
        pool = futures.ThreadPoolExecutor(_WORKERS, "ell-otel grpc")
        self._server = grpc.server(pool, options=options, maximum_concurrent_rpcs=_RPCS)
        for signal in SIGNALS:
            handler = grpc.unary_unary_rpc_method_handler(_grpc_method(signal, intake))
            service = grpc.method_handlers_generic_handler(signal.service, {"Export": handler})
            self._server.add_generic_rpc_handlers((service,))

    def start(self) -> None:
        """Bind and serve. Raises ``ConfigError`` when the address cannot be had."""
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        check_address(self.host, self.port, "--grpc-port")
        try:
            address = f"{host}:{self.port}"
            if self._tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {host}:{self.port}: {error}; see --host and --grpc-port") from error
        self._server.start()

    def stop(self, deadline_s: float) -> None:
        """Accept nothing more; let calls in progress finish, at most ``deadline_s`` seconds."""
        self._server.stop(deadline_s).wait(deadline_s + 1.0)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    ca = tls.read("client_ca") if tls.client_ca else None
    pair = (tls.read("key"), tls.read("cert"))
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def _grpc_method(signal: Signal, intake: Intake) -> Callable[[bytes, ServicerContext], bytes]:
    def export(payload: bytes, context: ServicerContext) -> bytes:
        try:
            intake.authorize(next((str(v) for k, v in context.invocation_metadata() if k == "authorization"), None))
            return signal.take(intake, payload).SerializeToString()
        except Exception as error:
            answer = intake.refuse(error)
            return _abort(context, error, answer)

    return export


def _abort(context: ServicerContext, error: Exception, answer: Answer) -> bytes:
    message = _told(error, answer)
    if answer.retry_after_s is not None:
        # Without RetryInfo a sender must take RESOURCE_EXHAUSTED as final.
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=math.ceil(answer.retry_after_s)))
        packed = AnyMessage()
        packed.Pack(retry)
        status = status_pb2.Status(code=answer.grpc.value[0], message=message, details=[packed])
        context.set_trailing_metadata(
            (
                ("grpc-status-details-bin", status.SerializeToString()),  # as the specification has it
                ("google.rpc.retryinfo-bin", retry.SerializeToString()),  # where the Python exporter looks
            )
        )
    context.set_code(answer.grpc)
    context.set_details(message)
    return b""
