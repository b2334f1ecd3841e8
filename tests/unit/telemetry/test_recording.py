"""Our own spans are what the SDK's would be, whatever is done to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, StaticSampler, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from ell_otel.telemetry.messages import Redacted
from ell_otel.telemetry.recording import RecordingTracer, tracer_like

OTHER = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Counting(IdGenerator):
    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self._numbers)

    def generate_trace_id(self) -> int:
        return next(self._numbers)


class Kept(SpanProcessor):
    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.started.append(dict(span.attributes))

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def both(sampler: Sampler | None = None) -> Iterator[tuple[Tracer, Kept]]:
    """The SDK's tracer and ours, each with what it has recorded."""
    for ours in (False, True):
        kept = Kept()
        provider = TracerProvider(sampler=sampler, id_generator=Counting(), shutdown_on_exit=False)
        provider.add_span_processor(kept)
        tracer = provider.get_tracer("ell")
        yield (tracer_like(tracer, "ell", kept) if ours else tracer), kept


def plainly(tracer: Tracer) -> None:
    span = tracer.start_span(
        "chat m", kind=SpanKind.CLIENT, attributes={"a": "x", "b": 1, "c": 0.5, "d": True}, start_time=5
    )
    span.set_attributes({"e": ["stop"], "f": ("stop", "more"), "a": Redacted("y")})
    span.end(9)


def oddly(tracer: Tracer) -> None:
    span = tracer.start_span(
        "odd", attributes={"n": None, "": "no name", "m": {"k": [1, None]}, "x": b"raw"}, start_time=5
    )
    span.set_attribute("o", object())  # type: ignore[arg-type]
    span.set_attribute(3, "a number's no name")  # type: ignore[arg-type]
    span.set_attribute("mixed", (1, "a", None))
    span.set_attribute("n", 2**70)
    span.end(9)


def failing(tracer: Tracer) -> None:
    span = tracer.start_span("bad", start_time=5)
    span.set_status(StatusCode.ERROR, "first")
    span.set_status(Status(StatusCode.UNSET))
    span.add_event("happened", {"a": 1}, timestamp=6)
    span.record_exception(ValueError("wrong"), {"b": "2"}, timestamp=7, escaped=True)
    span.update_name("worse")
    span.end(9)


def settled(tracer: Tracer) -> None:
    span = tracer.start_span("good", start_time=5)
    span.set_status(StatusCode.OK)
    span.set_status(StatusCode.ERROR, "too late")
    span.end(9)
    span.set_attribute("after", "the end")
    span.add_event("after")
    span.update_name("after")
    span.set_status(StatusCode.ERROR)
    span.end(10)


def linking(tracer: Tracer) -> None:
    span = tracer.start_span(
        "links", links=[Link(OTHER, {"a": "b"}), Link(SpanContext(0, 0, is_remote=False))], start_time=5
    )
    span.add_link(OTHER, {"c": 1})
    span.end(9)


def inside(tracer: Tracer) -> None:
    remote = trace.set_span_in_context(trace.NonRecordingSpan(OTHER))
    with tracer.start_as_current_span("outer", context=remote, start_time=5, end_on_exit=False) as outer:
        tracer.start_span("inner", start_time=6).end(7)
    outer.end(9)


def overfull(tracer: Tracer) -> None:
    span = tracer.start_span("full", attributes={f"a{number}": number for number in range(200)}, start_time=5)
    for number in range(200):
        span.set_attribute(f"b{number % 150}", number)
        span.add_event(f"event {number}", timestamp=6)
        span.add_link(OTHER)
    span.end(9)


@pytest.mark.parametrize("act", [plainly, oddly, failing, settled, linking, inside, overfull])
def test_a_span_of_ours_is_what_the_sdks_is(act: Callable[[Tracer], None]) -> None:
    (sdk, theirs), (tracer, ours) = both()
    assert type(tracer) is RecordingTracer
    act(sdk)
    act(tracer)
    assert ours.started == theirs.started
    assert encode_spans(ours.ended) == encode_spans(theirs.ended)


@pytest.mark.parametrize(
    "sampler", [StaticSampler(Decision.DROP), StaticSampler(Decision.RECORD_ONLY), TraceIdRatioBased(0.0)]
)
def test_samplers_decide_as_for_the_sdk(sampler: Sampler) -> None:
    (sdk, theirs), (tracer, ours) = both(sampler)
    made = [each.start_span("chat", attributes={"a": "b"}) for each in (sdk, tracer)]
    assert made[0].get_span_context() == made[1].get_span_context()
    assert made[0].is_recording() == made[1].is_recording()
    for span in made:
        span.end()
    assert len(ours.ended) == len(theirs.ended)


def test_what_is_raised_inside_is_recorded_as_the_sdk_does() -> None:
    recorded = []
    for tracer, kept in both():
        with pytest.raises(KeyError), tracer.start_as_current_span("raising"):
            raise KeyError("key")
        (span,) = kept.ended
        recorded.append((span.status.status_code, span.status.description, [event.name for event in span.events]))
    assert recorded[0] == recorded[1]


def test_where_texts_are_to_be_cut_the_sdk_makes_our_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100")
    for tracer, _ in both():
        assert type(tracer) is not RecordingTracer
