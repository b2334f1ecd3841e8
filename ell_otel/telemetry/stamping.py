"""Every span and event of a model call says which program made it, whichever library reports the call.

The stamp is that of the invocation it runs in; else that of the model call's scope; else, for a span that is about a
model, that of the function found on the stack, by whoever knows how to look (``use_finder``). The SDK evicts a span's
oldest attributes when there are too many; what was stamped at the start and is gone at the end is set again in our own
export. An ended span takes no attributes any more.

Two instrumentations may describe one model call. The first to begin counts; a span of the other is marked as a
duplicate, and is neither an invocation nor an inference at rest. One that begins when the call is over, as logfire's of
a stream, has the first for its parent by no more than its ids: so those of the last calls are remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from ell_otel import semconv
from ell_otel.telemetry import invocation as invocations
from ell_otel.telemetry.guard import guarded, overcome

Stamp = Mapping[str, str]
"""The attributes that name a program and its version, and the invocation where there is one."""

_NOT_INFERENCES: Final = frozenset(
    {semconv.OPERATION_INVOKE_WORKFLOW, semconv.OPERATION_EXECUTE_TOOL, "invoke_agent", "create_agent", "retrieval"}
)
_INFERENCE_KINDS: Final = frozenset({"LLM", "EMBEDDING"})
_MEMO: Final = "_ell_memo"  # a span's attribute that holds its stamp, and whether it is known to be a duplicate

MAX_RECENT: Final = 1024

Late = Callable[[trace.Span, str, str], None]
"""Sets an attribute of an ended span in our own export."""

_find: Callable[[], Stamp | None] | None = None


def use_finder(find: Callable[[], Stamp | None] | None) -> None:
    """Ask ``find`` for the stamp of a model's span that starts in no invocation and no scope."""
    global _find
    _find = find


class StampProcessor(SpanProcessor):
    """Stamps spans as they start and, by ``late``, once more as they end, and marks duplicates."""

    def __init__(self, late: Late) -> None:
        self._late = late
        self._stopped = False

    def shutdown(self) -> None:
        self._stopped = True

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if self._stopped:
            return
        try:
            _stamp(span, otel_context.get_current() if parent_context is None else parent_context)
        except Exception as error:
            if not overcome(error, "stamping a span"):
                raise

    def _on_ending(self, span: Span) -> None:
        """At the end, when all attributes are there."""
        memo = getattr(span, _MEMO, None)
        if memo is None or self._stopped:
            return
        duplicable = memo.inside_inference or memo.scope is not None
        if not (duplicable or (memo.stamp and span.dropped_attributes)):
            return
        with guarded("stamping a span again"):
            attributes = plain(span.attributes)
            gone = [name for name in memo.stamp if name not in attributes]
            if gone and is_about_model(attributes):
                for name in gone:
                    self._late(span, name, memo.stamp[name])
            if duplicable and semconv.ELL_DUPLICATE not in attributes and _is_duplicate(span, memo):
                self._late(span, semconv.ELL_DUPLICATE, "true")


class StampLogProcessor(LogRecordProcessor):
    """Stamps the GenAI events of an application's own logger provider."""

    def __init__(self) -> None:
        self._stopped = False

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        record = log_record.log_record
        if self._stopped or not (record.event_name or "").startswith(semconv.GEN_AI_PREFIX):
            return
        with guarded("stamping an event"):
            span = trace.get_current_span(record.context)
            memo = getattr(span, _MEMO, None) if isinstance(span, ReadableSpan) else None
            current, scope = invocations.current(record.context), invocations.scope(record.context)
            stamp = memo.stamp if memo else current.stamp if current else scope.stamp if scope else {}
            record.attributes = {**(record.attributes or {}), **stamp}

    def shutdown(self) -> None:
        self._stopped = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def _stamp(span: Span, context: Context) -> None:
    current, scope = invocations.current(context), invocations.scope(context)
    stamp: Stamp | None = current.stamp if current is not None else scope.stamp if scope is not None else None
    attributes = plain(span.attributes)
    parent = trace.get_current_span(context)
    told = None if parent is trace.INVALID_SPAN or isinstance(parent, ReadableSpan) else _told(parent)
    if stamp is None and told is not None:
        stamp = told
    own = None if stamp is not None else _own_stamp(attributes)
    if own is None:
        about_model = is_about_model(attributes)
        if stamp is None and about_model and _find is not None:
            stamp = _find()
        if stamp and (current is not None or about_model):
            span.set_attributes(stamp)
    memo = _Memo(own or stamp or {}, scope)
    setattr(span, _MEMO, memo)
    memo.inside_inference = told is not None or (
        isinstance(parent, ReadableSpan) and is_inference(parent.attributes or {})
    )
    if is_inference(attributes) and span.context is not None:
        _note(span.context.span_id, memo.stamp)
    if (memo.inside_inference or scope is not None) and _is_duplicate(span, memo):
        span.set_attribute(semconv.ELL_DUPLICATE, "true")


class _Memo:
    """What is known of a span from its start."""

    __slots__ = ("inside_inference", "scope", "stamp")

    def __init__(self, stamp: Stamp, scope: invocations.Scope | None) -> None:
        self.stamp = stamp
        self.scope = scope
        self.inside_inference = False


_recent: dict[int, Stamp] = {}  # by span id; two of them, so that a full one can be left behind as a whole
_before: dict[int, Stamp] = {}


def _note(span_id: int, stamp: Stamp) -> None:
    """Remember a model call by its stamp alone: a scope would keep alive all that was in the host's context."""
    global _recent, _before
    if len(_recent) >= MAX_RECENT:
        _recent, _before = {}, _recent
    _recent[span_id] = stamp


def _told(parent: trace.Span) -> Stamp | None:
    """The stamp of the model call that a parent, which is only known by its ids, has told of."""
    span_id = parent.get_span_context().span_id
    return _recent.get(span_id, _before.get(span_id))


def _is_duplicate(span: Span, memo: _Memo) -> bool:
    """Whether ``span`` is an inference inside another one, or in a call that another producer has begun to tell."""
    if not is_inference(span.attributes or {}):
        return False
    producer = span.instrumentation_scope.name if span.instrumentation_scope else ""
    again = memo.inside_inference
    if memo.scope is not None:
        memo.scope.producer = memo.scope.producer or producer
        again = again or memo.scope.producer != producer
    return again


def _own_stamp(attributes: Mapping[str, Any]) -> Stamp | None:
    """What a span's maker has found out before it began the span: it knows better than the stack does now."""
    version = attributes.get(semconv.ELL_PROGRAM_VERSION)
    if version is None:
        return None
    return {semconv.ELL_PROGRAM_NAME: attributes[semconv.ELL_PROGRAM_NAME], semconv.ELL_PROGRAM_VERSION: version}


def plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A span's attributes as a dict, which is looked into much faster than what the SDK holds them in."""
    if isinstance(attributes, MappingProxyType):
        return attributes.copy()
    return dict(attributes or {})


def is_about_model(attributes: Mapping[str, Any]) -> bool:
    """Whether a span is one of the GenAI conventions, old or new, or of OpenInference's."""
    return any(name.startswith((semconv.GEN_AI_PREFIX, "llm.", "openinference.")) for name in attributes)


def is_inference(attributes: Mapping[str, Any]) -> bool:
    """Whether a span asks a model for something, as far as its attributes tell."""
    operation = attributes.get(semconv.GEN_AI_OPERATION_NAME)
    if operation is None and attributes.get(semconv.OPENINFERENCE_KIND) is not None:
        return attributes[semconv.OPENINFERENCE_KIND] in _INFERENCE_KINDS
    if operation is None:
        return semconv.GEN_AI_REQUEST_MODEL in attributes
    return operation not in _NOT_INFERENCES
