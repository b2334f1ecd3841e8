"""What happens to a span between its start and the exporter.

At its start it is stamped (``stamping.py``). At its end a list of steps says what has to change about its attributes,
and it goes on to the next processor. The SDK freezes a span's attributes before it tells anyone that it has ended, so a
change is made on a copy, which only our own export sees. Most spans of ours need none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Status

from ell_otel import semconv
from ell_otel.telemetry.batches import Sender
from ell_otel.telemetry.blobs import Blobs, by_digest
from ell_otel.telemetry.guard import overcome
from ell_otel.telemetry.messages import Redacted, clean, redacted
from ell_otel.telemetry.stamping import plain

Attributes = Mapping[str, Any]
"""A span's attributes: name to scalar or sequence of scalars, as the SDK holds them."""

Step = Callable[[Attributes], dict[str, Any]]
"""What is to change about the attributes of a span before export: new values by name, None for one to be dropped."""

CONTENT: Final = frozenset(
    {
        semconv.ELL_INVOCATION_ARGUMENTS,
        semconv.ELL_INVOCATION_RESULT,
        semconv.GEN_AI_INPUT_MESSAGES,
        semconv.GEN_AI_OUTPUT_MESSAGES,
        semconv.GEN_AI_SYSTEM_INSTRUCTIONS,
        semconv.GEN_AI_TOOL_CALL_ARGUMENTS,
        semconv.GEN_AI_TOOL_CALL_RESULT,
        semconv.GEN_AI_TOOL_DEFINITIONS,
        semconv.ELL_REQUEST,
    }
)
"""Attributes that carry what people and models wrote."""

MAX_BESIDE: Final = 4096

_OWN: Final = (semconv.GEN_AI_PREFIX, "ell.", "openinference.")


class Joint(SpanProcessor):
    """Our only processor in a provider: a provider can be given processors, but none can be taken from it again."""

    def __init__(self) -> None:
        self.following: tuple[SpanProcessor, ...] = ()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for processor in self.following:
            processor.on_start(span, parent_context)

    def _on_ending(self, span: Span) -> None:
        for processor in self.following:
            processor._on_ending(span)

    def on_end(self, span: ReadableSpan) -> None:
        for processor in self.following:
            processor.on_end(span)

    def shutdown(self) -> None:
        for processor in self.following:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return all(processor.force_flush(timeout_millis) for processor in self.following)


class Contents:
    """What an application's own exporters are not to see of a span, or cannot: kept beside it until we export it."""

    def __init__(self) -> None:
        self._beside: dict[int, dict[str, str]] = {}

    def put(self, span: trace.Span, name: str, value: str) -> None:
        """Keep ``value`` for ``span``. Of spans that never end, the oldest are forgotten."""
        self._beside.setdefault(span.get_span_context().span_id, {})[name] = value
        while len(self._beside) > MAX_BESIDE:
            self._beside.pop(next(iter(self._beside)), None)

    def take(self, span: ReadableSpan) -> dict[str, str]:
        """What was kept for ``span``, once."""
        if not self._beside or span.context is None:
            return {}
        return self._beside.pop(span.context.span_id, {})


class ExportNow(SpanProcessor):
    """Exports a span in the thread that ends it.

    The SDK's own ``SimpleSpanProcessor`` catches every exception, also one that a signal handler of the host raises.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        self._exporter.export((span,))

    def shutdown(self) -> None:
        self._exporter.shutdown()


class EmitNow(LogRecordProcessor):
    """Exports an event in the thread that emits it; as ``ExportNow``."""

    def __init__(self, exporter: LogRecordExporter) -> None:
        self._exporter = exporter

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self._exporter.export((_readable(log_record),))

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class QueueSpans(SpanProcessor):
    """Puts ended spans into a sender's queue. Whoever made the sender closes it."""

    def __init__(self, sender: Sender[ReadableSpan]) -> None:
        self._sender = sender

    def on_end(self, span: ReadableSpan) -> None:
        self._sender.put(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._sender.flush(timeout_millis / 1000)


class QueueLogs(LogRecordProcessor):
    """Puts events into a sender's queue; as ``QueueSpans``."""

    def __init__(self, sender: Sender[ReadableLogRecord]) -> None:
        self._sender = sender

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self._sender.put(_readable(log_record))

    def shutdown(self) -> None:
        """Nothing to stop."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._sender.flush(timeout_millis / 1000)


def _readable(event: ReadWriteLogRecord) -> ReadableLogRecord:
    resource = event.resource or Resource.get_empty()
    return ReadableLogRecord(event.log_record, resource, event.instrumentation_scope, event.limits)


class FinishProcessor(SpanProcessor):
    """Takes each ended span through ``steps`` and hands the result to ``following``.

    ``only_ours`` leaves out spans without a GenAI or ell attribute: for an application's own provider, whose other
    spans are none of our business.
    """

    def __init__(
        self, following: SpanProcessor, steps: tuple[Step, ...], contents: Contents, *, only_ours: bool
    ) -> None:
        self._following = following
        self._steps = steps
        self._contents = contents
        self._only_ours = only_ours
        self._stopped = False

    def on_end(self, span: ReadableSpan) -> None:
        if self._stopped:  # an application's provider keeps us when we are configured anew
            return
        try:
            attributes = plain(span.attributes)
            changes: dict[str, Any] = dict(self._contents.take(span))
            if self._only_ours and not changes and not is_ours(attributes):
                return
            for step in self._steps:
                if changed := step({**attributes, **changes} if changes else attributes):
                    changes.update(changed)
            self._following.on_end(_changed(span, attributes, changes))
        except Exception as error:
            if not overcome(error, "finishing a span"):
                raise

    def shutdown(self) -> None:
        self._stopped = True
        self._following.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._following.force_flush(timeout_millis)


def is_ours(attributes: Mapping[str, Any]) -> bool:
    """Whether a span with these attributes belongs to a language-model program."""
    return any(name.startswith(_OWN) for name in attributes)


def tidy_content(blobs: Blobs, attributes: Attributes) -> dict[str, Any]:
    """Step: in messages, arguments and results that another library has recorded, images and files are kept by digest
    and secrets are replaced, as in those of our own."""
    return {
        name: redacted(by_digest(value, blobs))
        for name, value in attributes.items()
        if name in CONTENT and type(value) is not Redacted and isinstance(value, str)
    }


def drop_content(attributes: Attributes) -> dict[str, Any]:
    """Step: no messages, arguments or results leave the process."""
    return {name: None for name in CONTENT if name in attributes}


def _changed(span: ReadableSpan, attributes: Attributes, changes: dict[str, Any]) -> ReadableSpan:
    """``span`` with ``changes`` and without secrets in what it says of errors; itself if that is no difference."""
    description = span.status.description
    if not changes and not span.events and span.name.isascii() and (not description or type(description) is Redacted):
        return span
    return with_attributes(
        span, {name: value for name, value in {**attributes, **changes}.items() if value is not None}
    )


def with_attributes(span: ReadableSpan, attributes: Attributes) -> ReadableSpan:
    """``span`` with ``attributes`` in place of its own, and without secrets in what it says of errors."""
    status = span.status
    if status.description and type(status.description) is not Redacted:
        status = Status(status.status_code, redacted(status.description))
    return ReadableSpan(
        name=clean(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=[_clean_event(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _clean_event(event: Event) -> Event:
    """An event, such as an exception with its stack, without secrets."""
    attributes = {
        name: redacted(value) if isinstance(value, str) and type(value) is not Redacted else value
        for name, value in (event.attributes or {}).items()
    }
    return Event(clean(event.name), attributes, event.timestamp)
