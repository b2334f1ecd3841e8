"""Where finished spans and events go: into the spool, or to a collector over OTLP.

The spool is written in the thread that ends the span, so that nothing is lost when the process ends right after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ell_otel import semconv
from ell_otel.errors import ConfigError, ExportError
from ell_otel.telemetry.guard import tell
from ell_otel.telemetry.segments import Kind
from ell_otel.telemetry.spool import SegmentWriter


class Losses:
    """Counts records that could not be accepted, and says so in the data itself as soon as writing works again."""

    def __init__(self, report: Callable[[int, str, int], None]) -> None:
        self._report = report
        self._lock = threading.RLock()  # reentrant: a signal handler may end a span in the midst of this
        self._count = 0
        self._reason = ""
        self._since_ns = 0

    def add(self, count: int, error: ExportError) -> None:
        """``count`` records were lost for ``error``; says so in the log, at most once a minute."""
        with self._lock:
            if not self._count:
                self._since_ns = time.time_ns()
            self._count += count
            self._reason = str(error)
        tell("spool", f"{error}. Until then telemetry is lost, and the loss is counted; your program goes on")

    def report(self) -> None:
        """Writing works again: hand what was lost meanwhile, if anything, to ``report(count, reason, since_ns)``."""
        if not self._count:
            return
        with self._lock:
            count, self._count = self._count, 0
        if count:
            self._report(count, self._reason, self._since_ns)


class SpoolSpanExporter(SpanExporter):
    """Appends spans to the spool as OTLP; accepted when ``export`` returns SUCCESS."""

    def __init__(self, writer: SegmentWriter, losses: Losses) -> None:
        self._writer = writer
        self._losses = losses

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            self._writer.append(Kind.TRACES, encode_spans(spans).SerializeToString())
        except ExportError as error:
            self._losses.add(len(spans), error)
            return SpanExportResult.FAILURE
        self._losses.report()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._writer.close()


class SpoolLogExporter(LogRecordExporter):
    """Appends events to the spool as OTLP; accepted when ``export`` returns SUCCESS."""

    def __init__(self, writer: SegmentWriter, losses: Losses) -> None:
        self._writer = writer
        self._losses = losses

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        try:
            self._writer.append(Kind.LOGS, encode_logs(batch).SerializeToString())
        except ExportError as error:
            self._losses.add(sum(_records_meant(record) for record in batch), error)
            return LogRecordExportResult.FAILURE
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self._writer.sync()
        return True

    def shutdown(self) -> None:
        self._writer.close()


def _records_meant(record: ReadableLogRecord) -> int:
    """A loss event that is itself lost stands for all that it counted."""
    return int((record.log_record.attributes or {}).get(semconv.ELL_LOSS_COUNT, 1))  # type: ignore[arg-type]


def otlp_exporters(endpoint: str, protocol: str) -> tuple[SpanExporter, LogRecordExporter]:
    """The stock OTLP exporters for ``protocol``: ``grpc`` or ``http/protobuf``. Headers, TLS and timeouts come from
    OpenTelemetry's own environment variables. Raises ``ConfigError`` for another protocol."""
    options: dict[str, Any]
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans

        options = {"endpoint": endpoint, "insecure": endpoint.startswith("http://") or None}
        return GrpcSpans(**options), GrpcLogs(**options)
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

        base = endpoint.rstrip("/")
        return HttpSpans(endpoint=f"{base}/v1/traces"), HttpLogs(endpoint=f"{base}/v1/logs")
    raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} cannot be used: it takes grpc or http/protobuf")
