"""What happens to a span between its start and the exporter.

At the start it is stamped with the invocation it runs in, whoever began it. At its end it passes a list of steps, each
a function from attributes to attributes, and goes on to the next processor. The SDK freezes a span's attributes before
it tells anyone that it has ended, so the steps work on a copy, which only our own export sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status

from ell_otel import redact, semconv
from ell_otel.telemetry import invocation as invocations
from ell_otel.telemetry.guard import guarded
from ell_otel.telemetry.messages import clean

Attributes = dict[str, Any]
"""A span's attributes: name to scalar or sequence of scalars, as the SDK holds them."""

Step = Callable[[Attributes], Attributes]
"""One thing done to the attributes of every span of ours before export. May change its argument."""

CONTENT: Final = frozenset(
    {
        semconv.ELL_INVOCATION_ARGUMENTS,
        semconv.ELL_INVOCATION_RESULT,
        semconv.GEN_AI_INPUT_MESSAGES,
        semconv.GEN_AI_OUTPUT_MESSAGES,
        semconv.GEN_AI_SYSTEM_INSTRUCTIONS,
        semconv.GEN_AI_TOOL_CALL_ARGUMENTS,
        semconv.GEN_AI_TOOL_CALL_RESULT,
    }
)
"""Attributes that carry what people and models wrote."""

_RENDERED: Final = frozenset({semconv.ELL_INVOCATION_ARGUMENTS, semconv.ELL_INVOCATION_RESULT})
"""Those that ``messages.to_json`` made: redacted there, value by value, before they were escaped into JSON."""

_OWN: Final = (semconv.GEN_AI_PREFIX, "ell.")


class StampProcessor(SpanProcessor):
    """Gives every span that starts inside an invocation that invocation's id, program and version."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        with guarded("stamping a span"):
            current = invocations.current(parent_context)
            if current is not None:
                span.set_attributes(stamp(current))


class FinishProcessor(SpanProcessor):
    """Takes each ended span through ``steps`` and hands the result to ``following``.

    ``only_ours`` leaves out spans without a GenAI or ell attribute: for an application's own provider, whose other
    spans are none of our business.
    """

    def __init__(self, following: SpanProcessor, steps: tuple[Step, ...], *, only_ours: bool) -> None:
        self._following = following
        self._steps = steps
        self._only_ours = only_ours
        self._stopped = False

    def on_end(self, span: ReadableSpan) -> None:
        if self._stopped:  # an application's provider keeps us when we are configured anew
            return
        with guarded("finishing a span"):
            attributes = dict(span.attributes or {})
            if self._only_ours and not is_ours(attributes):
                return
            for step in self._steps:
                attributes = step(attributes)
            self._following.on_end(_with_attributes(span, attributes))

    def shutdown(self) -> None:
        self._stopped = True
        self._following.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._following.force_flush(timeout_millis)


def stamp(invocation: invocations.Invocation) -> dict[str, str]:
    """The attributes that tie a span to its invocation."""
    return {
        semconv.ELL_INVOCATION_ID: invocation.id,
        semconv.ELL_PROGRAM_NAME: invocation.program,
        semconv.ELL_PROGRAM_VERSION: invocation.version,
    }


def is_ours(attributes: Mapping[str, Any]) -> bool:
    """Whether a span with these attributes belongs to a language-model program."""
    return any(name.startswith(_OWN) for name in attributes)


def redact_content(attributes: Attributes) -> Attributes:
    """Step: secrets in messages, arguments and results are replaced, whichever library recorded them."""
    for name in (CONTENT - _RENDERED) & attributes.keys():
        if isinstance(attributes[name], str):
            attributes[name] = redact.redact(clean(attributes[name]))
    return attributes


def drop_content(attributes: Attributes) -> Attributes:
    """Step: no messages, arguments or results leave the process."""
    for name in CONTENT & attributes.keys():
        del attributes[name]
    return attributes


def _with_attributes(span: ReadableSpan, attributes: Attributes) -> ReadableSpan:
    status = span.status
    if status.description:
        status = Status(status.status_code, redact.redact(clean(status.description)))
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
