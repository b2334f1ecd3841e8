"""Our own spans where the pipeline is all ours: what the SDK's would be, made in a third of the time.

The SDK takes each attribute through a validator and a lock of its own, asks three times for the current context and
copies the span at its end, because it cannot know who sets attributes and who reads them. Here the values are nearly
always scalars, and only our own processors see a span. A test compares the two. Where the application has a provider
of its own, or texts are to be cut to a length, the SDK makes our spans.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from ell_otel.telemetry.messages import Redacted

_CLEAN: Final = frozenset({str, Redacted, bool, int, float})


def tracer_like(tracer: trace.Tracer, scope: str, processor: SpanProcessor) -> trace.Tracer:
    """A tracer that starts spans as ``tracer`` does, for ``processor`` alone; itself where it has to be that one."""
    limits = SpanLimits()
    if type(tracer) is not SdkTracer or limits.max_span_attribute_length is not None or not limits.max_span_attributes:
        return tracer
    return RecordingTracer(tracer, InstrumentationScope(scope, ""), processor, limits)


class RecordingTracer(trace.Tracer):
    """Starts spans by the sampler and the ids of ``tracer``."""

    def __init__(
        self, tracer: SdkTracer, scope: InstrumentationScope, processor: SpanProcessor, limits: SpanLimits
    ) -> None:
        self.scope = scope
        self.processor = processor
        self.limits = limits
        self.most_attributes = limits.max_span_attributes or 0
        self._tracer = tracer

    def start_span(  # noqa: PLR0917 - OpenTelemetry's signature
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        ids = self._tracer.id_generator
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        if parent is None or not parent.is_valid:
            parent, trace_id, random = None, ids.generate_trace_id(), ids.is_trace_id_random()
        else:
            trace_id, random = parent.trace_id, parent.trace_flags.random_trace_id
        is_sampled = is_recorded = True
        state: TraceState | None = None
        if parent is not None or self._tracer.sampler is not DEFAULT_ON:  # which would say just that, at length
            sampled = self._tracer.sampler.should_sample(context, trace_id, name, kind, attributes, links)
            decision: Any = sampled.decision
            is_sampled, is_recorded = decision.is_sampled(), decision.is_recording()
            attributes, state = sampled.attributes, sampled.trace_state
        own = SpanContext(trace_id, ids.generate_span_id(), False, _flags(is_sampled, random), state)
        if not is_recorded:
            return trace.NonRecordingSpan(own)
        span = RecordingSpan(self, name, kind, own, parent, self._tracer.resource, start_time)
        span.set_attributes(attributes or {})
        for link in links or ():
            span.add_link(link.context, link.attributes)
        self.processor.on_start(span, context)  # type: ignore[arg-type]
        return span

    def start_as_current_span(self, *args: Any, end_on_exit: bool = True, **kwargs: Any) -> Any:
        return trace.use_span(self.start_span(*args, **kwargs), end_on_exit)


class RecordingSpan(ReadableSpan, Span):
    """A span that is being recorded; at its end the processor is given the span itself."""

    def __init__(  # noqa: PLR0917
        self,
        tracer: RecordingTracer,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        resource: Resource,
        start_time: int | None,
    ) -> None:
        self._tracer = tracer
        self._held: dict[str, Any] = {}
        self._dropped = 0
        super().__init__(name, context, parent, resource, self._held, kind=kind, instrumentation_scope=tracer.scope)
        self._start_time = time.time_ns() if start_time is None else start_time

    @property
    def attributes(self) -> Mapping[str, Any]:
        return MappingProxyType(self._held)

    @property
    def dropped_attributes(self) -> int:
        return self._dropped

    def get_span_context(self) -> SpanContext:
        return cast("SpanContext", self._context)

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self._end_time is not None:
            return
        held = self._held
        for name, value in attributes.items():
            if name in held:
                del held[name]  # what is set again goes to the end, as in the SDK
            if (type(value) in _CLEAN or _is_clean(value)) and name and type(name) is str:
                held[name] = value
            else:
                cleaned = BoundedAttributes(immutable=False)
                cleaned[name] = value
                held.update(cleaned)
                self._dropped += 1 - len(cleaned)
        while len(held) > self._tracer.most_attributes:
            del held[next(iter(held))]
            self._dropped += 1

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        if self._end_time is None:
            if not self._events:
                self._events = BoundedList(self._tracer.limits.max_events)
            cast("BoundedList[Any]", self._events).append(Event(name, self._cleaned(attributes), timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        if self._end_time is None and (context.is_valid or attributes or context.trace_state):
            if not self._links:
                self._links = BoundedList(self._tracer.limits.max_links)
            cast("BoundedList[Any]", self._links).append(Link(context, self._cleaned(attributes)))

    def _cleaned(self, attributes: Any) -> BoundedAttributes:
        return BoundedAttributes(self._tracer.limits.max_event_attributes, attributes)

    def update_name(self, name: str) -> None:
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if isinstance(status, StatusCode):
            status = Status(status, description)
        final = self._status.status_code is StatusCode.OK
        if self._end_time is None and not final and status.status_code is not StatusCode.UNSET:
            self._status = status

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        kind = type(exception)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        said = {
            "exception.type": module + kind.__qualname__,
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**said, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._tracer.processor._on_ending(self)  # type: ignore[arg-type]
            self._tracer.processor.on_end(self)


@functools.lru_cache(maxsize=4)
def _flags(is_sampled: bool, is_random: bool) -> TraceFlags:
    sampled = TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT
    return TraceFlags(sampled | (TraceFlags.RANDOM_TRACE_ID if is_random else 0))


def _is_clean(value: object) -> bool:
    return type(value) is tuple and all(type(item) is str for item in value)
