"""Where finished spans and events go: into the spool, or to a collector over OTLP.

The spool is written in the thread that ends the span, so that nothing is lost when the process ends right after. What
goes to a collector is queued and sent in the background (``batches``).
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ell_otel import config, semconv
from ell_otel.errors import ExportError
from ell_otel.telemetry.batches import Sender, Signal
from ell_otel.telemetry.guard import tell
from ell_otel.telemetry.processors import CONTENT, with_attributes
from ell_otel.telemetry.refused import Refused
from ell_otel.telemetry.segments import Kind
from ell_otel.telemetry.spool import SegmentWriter
from ell_otel.telemetry.transport import LOGS, TRACES, connect, destination


class Losses:
    """Counts records that could not be accepted, and says so in the data itself as soon as writing works again."""

    def __init__(self, report: Callable[[int, str, int], None], *, every_s: float = 0.0) -> None:
        self._report = report
        self._every_s = every_s
        self._reported = -math.inf
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
        tell("loss", f"{error}. Until then telemetry is lost, and the loss is counted; your program goes on")

    def report(self) -> None:
        """Writing works again: hand what was lost meanwhile, if anything, to ``report(count, reason, since_ns)``.

        At most once in ``every_s`` seconds: a report that is itself refused each time shall not fill the queue.
        """
        if not self._count:
            return
        with self._lock:
            if time.monotonic() - self._reported < self._every_s:
                return
            self._reported = time.monotonic()
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
            self._losses.add(sum(records_meant(record) for record in batch), error)
            return LogRecordExportResult.FAILURE
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self._writer.sync()
        return True

    def shutdown(self) -> None:
        self._writer.close()


def records_meant(record: ReadableLogRecord) -> int:
    """A loss event that is itself lost stands for all that it counted."""
    return int((record.log_record.attributes or {}).get(semconv.ELL_LOSS_COUNT, 1))  # type: ignore[arg-type]


class Remote:
    """The senders to a collector. ``unsent(program, version)`` hears of program events that did not get through."""

    def __init__(self, settings: config.Settings, losses: Losses, unsent: Callable[[str, str], None]) -> None:
        self._losses = losses
        self._unsent = unsent
        self._refused = Refused(settings)
        spans = Signal(
            "spans",
            encode=_encode_spans,
            weigh=_span_weight,
            lighter=_without_contents,
            aside=partial(self._refused.keep, Kind.TRACES),
            lost=self._spans_lost,
            taken=losses.report,
        )
        events = Signal(
            "events",
            encode=_encode_logs,
            weigh=_event_weight,
            lighter=lambda _: None,
            aside=partial(self._refused.keep, Kind.LOGS),
            lost=self._events_lost,
            taken=losses.report,
        )
        bounds = settings.queue_bytes, settings.exit_ms / 1000
        self.spans: Sender[ReadableSpan] = Sender(spans, connect(TRACES, *destination(settings, TRACES)), *bounds)
        self.events: Sender[ReadableLogRecord] = Sender(events, connect(LOGS, *destination(settings, LOGS)), *bounds)

    def close(self) -> None:
        """Send what is queued, within one exit deadline for both."""
        closing = [(sender.join, sender.close()) for sender in (self.events, self.spans)]
        for join, done in closing:
            if done is not None:
                join(done)
        self._refused.close()

    def _spans_lost(self, spans: Sequence[ReadableSpan], count: int, error: ExportError) -> None:
        self._losses.add(count, error)

    def _events_lost(self, events: Sequence[ReadableLogRecord], count: int, error: ExportError) -> None:
        meant = sum(records_meant(event) for event in events)
        self._losses.add(meant if count == len(events) else count, error)
        for event in events:
            attributes = event.log_record.attributes or {}
            if attributes.get(semconv.EVENT_NAME) == semconv.EVENT_PROGRAM:
                name, version = attributes[semconv.ELL_PROGRAM_NAME], attributes[semconv.ELL_PROGRAM_VERSION]
                self._unsent(str(name), str(version))


def _encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    return encode_spans(spans).SerializeToString()


def _encode_logs(events: Sequence[ReadableLogRecord]) -> bytes:
    return encode_logs(events).SerializeToString()


def _span_weight(span: ReadableSpan) -> int:
    return _weight(span.attributes) + sum(_weight(event.attributes) for event in span.events)


def _event_weight(event: ReadableLogRecord) -> int:
    return _weight(event.log_record.attributes)


def _weight(attributes: Mapping[str, Any] | None) -> int:
    """Bytes that a record with these attributes takes in memory, near enough for a bound."""
    weight = 1000
    for value in (attributes or {}).values():
        weight += 100 + sys.getsizeof(value)
        if isinstance(value, tuple):
            weight += sum(map(sys.getsizeof, value))
    return weight


def _without_contents(span: ReadableSpan) -> ReadableSpan | None:
    attributes = {name: value for name, value in (span.attributes or {}).items() if name not in CONTENT}
    return with_attributes(span, attributes) if len(attributes) < len(span.attributes or {}) else None
