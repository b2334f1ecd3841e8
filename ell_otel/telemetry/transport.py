"""OTLP requests to a collector, over gRPC or HTTP, and what its answers mean for the sender.

OpenTelemetry's stock exporters answer "failed" and nothing more: not whether the request was too large, how many of its
records were rejected, or when to come back. So the bytes that their encoder makes are sent here, over the same two
libraries. Certificates, headers, compression and timeouts come from OpenTelemetry's own environment variables.
"""

from __future__ import annotations

import email.utils
import gzip
import math
import os
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.util.re import parse_env_headers

from ell_otel.errors import ConfigError

if TYPE_CHECKING:
    import grpc
    import requests

    from ell_otel.config import Settings

TRACES: Final = "traces"
LOGS: Final = "logs"
DEFAULT_TIMEOUT_S: Final = 10.0
MAX_ANSWER: Final = 64 << 10
MAX_WAIT_S: Final = 300.0
"""Longest wait that a server's Retry-After is granted."""

SMALL: Final = 64 << 10
"""RESOURCE_EXHAUSTED for a request up to this size cannot be about its size: the server has too much to do."""

_METHODS: Final = {
    TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_MESSAGE_CHARS: Final = 300


class Verdict(Enum):
    """What to do with a request that was answered."""

    TAKEN = auto()
    LATER = auto()  # the same again, after a while
    TOO_LARGE = auto()
    INVALID = auto()  # something in it, perhaps one record only
    REFUSED = auto()  # whatever is sent


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request. ``rejected`` records of a taken one were not; ``wait_s`` is what the server asked for.
    ``late`` is one that did not come in time; ``unsent`` stands for one to a request that could not even be made."""

    verdict: Verdict
    reason: str = ""
    rejected: int = 0
    wait_s: float | None = None
    late: bool = False
    unsent: bool = False


class Transport(Protocol):
    """One signal's way to a collector. May be used by one thread at a time."""

    timeout_s: float
    to: str

    def send(self, payload: bytes, timeout_s: float) -> Answer:
        """Send one encoded export request. Raises nothing that the network or the server can cause."""

    def forget(self) -> None:
        """In a forked child: begin with fresh connections, and leave the parent's as they are."""


def destination(settings: Settings, signal: str) -> tuple[str, str]:
    """URL and protocol for ``signal`` (``TRACES`` or ``LOGS``), by OpenTelemetry's rules.

    A signal's own URL is used as it stands; where only the other one has one, it goes to a collector on this machine.
    """
    url, protocol = (
        (settings.traces_endpoint, settings.traces_protocol)
        if signal == TRACES
        else (settings.logs_endpoint, settings.logs_protocol)
    )
    protocol = protocol or settings.protocol
    if url or protocol == "grpc":
        return url or settings.endpoint or "http://localhost:4317", protocol
    return f"{(settings.endpoint or 'http://localhost:4318').rstrip('/')}/v1/{signal}", protocol


def connect(signal: str, url: str, protocol: str) -> Transport:
    """The transport for ``signal``. It connects when it is first used.

    Raises ``ConfigError`` for a protocol other than ``grpc`` and ``http/protobuf``, or a variable that cannot be read.
    """
    if protocol == "grpc":
        return Grpc(signal, url)
    if protocol == "http/protobuf":
        return Http(signal, url)
    raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} cannot be used: it takes grpc or http/protobuf")


class Http:
    """OTLP/HTTP with protobuf bodies."""

    def __init__(self, signal: str, url: str) -> None:
        self.to = url
        self.timeout_s = _timeout(signal)
        self._signal = signal
        self._gzip = _option(signal, "COMPRESSION") == "gzip"
        certificate, key = _option(signal, "CLIENT_CERTIFICATE"), _option(signal, "CLIENT_KEY")
        self._always: dict[str, Any] = {  # said with each request, for a session's own are overruled by the environment
            "verify": _option(signal, "CERTIFICATE") or True,
            "cert": (certificate, key) if certificate and key else certificate,
            "allow_redirects": False,  # redirected, a POST would become a GET
            "stream": True,  # so that an endless answer stays bounded
        }
        self._session: requests.Session | None = None

    def _connected(self) -> requests.Session:
        if self._session is None:
            import requests

            session = self._session = requests.Session()
            session.headers.update(_headers(self._signal))
            session.headers["Content-Type"] = "application/x-protobuf"
            if self._gzip:
                session.headers["Content-Encoding"] = "gzip"
        return self._session

    def send(self, payload: bytes, timeout_s: float) -> Answer:
        session = self._connected()
        from requests import ConnectTimeout, RequestException

        body = gzip.compress(payload, 6) if self._gzip else payload
        try:
            with session.post(self.to, body, timeout=timeout_s, **self._always) as response:
                return self._read(response)
        except (RequestException, OSError) as error:
            late = "timed out" in str(error) and not isinstance(error, ConnectTimeout)
            return Answer(Verdict.LATER, _cut(error), late=late)

    def _read(self, response: requests.Response) -> Answer:
        body: bytes = response.raw.read(MAX_ANSWER, decode_content=True)
        status = response.status_code
        if 200 <= status < 300:
            return _accepted(self._signal, body)
        reason = f"{status} {response.reason}"
        if status == 413:
            return Answer(Verdict.TOO_LARGE, reason)
        if status in {429, 502, 503, 504}:
            return Answer(Verdict.LATER, reason, wait_s=_retry_after(response.headers.get("Retry-After")))
        return Answer(Verdict.INVALID if status in {400, 422, 500} else Verdict.REFUSED, reason)

    def forget(self) -> None:
        self._session = None


class Grpc:
    """OTLP/gRPC."""

    def __init__(self, signal: str, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self.to = endpoint
        self._target = url.netloc or endpoint
        plain = (_option(signal, "INSECURE") or "").lower() == "true"
        self._plain = url.scheme == "http" or (plain and url.scheme != "https")
        self.timeout_s = _timeout(signal)
        self._signal = signal
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] | None = None

    def _connected(self) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        if self._call is None:
            import grpc

            gzipped = _option(self._signal, "COMPRESSION") == "gzip"
            compression = grpc.Compression.Gzip if gzipped else grpc.Compression.NoCompression
            # Our own pauses decide when to try again; gRPC's own, up to two minutes, would only come on top.
            options = [("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 5000)]
            if self._plain:
                channel = grpc.insecure_channel(self._target, options, compression)
            else:
                files = (_file(self._signal, name) for name in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"))
                credentials = grpc.ssl_channel_credentials(*files)
                channel = grpc.secure_channel(self._target, credentials, options, compression)
            self._call = channel.unary_unary(_METHODS[self._signal], None, None)  # bytes as they are
        return self._call

    def send(self, payload: bytes, timeout_s: float) -> Answer:
        import grpc

        try:
            call = self._connected()
            return _accepted(self._signal, call(payload, timeout_s, tuple(_headers(self._signal).items())))
        except grpc.RpcError as error:
            return _refused(error, len(payload))
        except OSError as error:  # a certificate's file
            return Answer(Verdict.LATER, _cut(error))

    def forget(self) -> None:
        self._call = None


def _refused(error: Any, size: int) -> Answer:
    from grpc import StatusCode

    code: StatusCode = error.code()
    reason = f"{code.name}: {_cut(error.details() or '')}"
    wait_s = _retry_info(error.trailing_metadata() or ())
    if code is StatusCode.RESOURCE_EXHAUSTED and wait_s is None and size > SMALL:
        return Answer(Verdict.TOO_LARGE, reason)
    if code.name in _LATER:
        return Answer(Verdict.LATER, reason, wait_s=wait_s, late=code is StatusCode.DEADLINE_EXCEEDED)
    return Answer(Verdict.INVALID if code.name in _INVALID else Verdict.REFUSED, reason)


_LATER: Final = frozenset(
    {"ABORTED", "CANCELLED", "DATA_LOSS", "DEADLINE_EXCEEDED", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
)
_INVALID: Final = frozenset({"INTERNAL", "INVALID_ARGUMENT", "UNKNOWN"})


def _accepted(signal: str, body: bytes) -> Answer:
    """Read a response's partial success; a body that is none is no reason to send again."""
    try:
        if signal == TRACES:
            traces = ExportTraceServiceResponse.FromString(body).partial_success
            return Answer(Verdict.TAKEN, _cut(traces.error_message), traces.rejected_spans)
        logs = ExportLogsServiceResponse.FromString(body).partial_success
        return Answer(Verdict.TAKEN, _cut(logs.error_message), logs.rejected_log_records)
    except DecodeError:
        return Answer(Verdict.TAKEN)


def _retry_after(value: str | None) -> float | None:
    """The header's seconds, or seconds until its date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), MAX_WAIT_S) if math.isfinite(seconds) else None


def _retry_info(metadata: Any) -> float | None:
    """The delay in gRPC's error details, in either of the two places where servers put it."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    info, found = RetryInfo(), False
    try:
        for key, value in metadata:
            if key == "google.rpc.retryinfo-bin":
                info, found = RetryInfo.FromString(value), True
            elif key == "grpc-status-details-bin":
                found = any(detail.Unpack(info) for detail in Status.FromString(value).details) or found
    except DecodeError:
        return None
    return min(max(info.retry_delay.ToTimedelta().total_seconds(), 0.0), MAX_WAIT_S) if found else None


def _option(signal: str, name: str) -> str | None:
    """An OpenTelemetry variable of this signal, else that of all signals."""
    environ = os.environ
    return environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}")


def _timeout(signal: str) -> float:
    text = _option(signal, "TIMEOUT")
    try:
        seconds = float(text) if text else DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"OTEL_EXPORTER_OTLP_TIMEOUT={text!r} cannot be used: it takes seconds, more than 0")
    return seconds


def _headers(signal: str) -> dict[str, str]:
    return dict(parse_env_headers(_option(signal, "HEADERS") or "", liberal=True))


def _file(signal: str, name: str) -> bytes | None:
    path = _option(signal, name)
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


def _cut(text: object) -> str:
    return " ".join(str(text).split())[:_MESSAGE_CHARS]
