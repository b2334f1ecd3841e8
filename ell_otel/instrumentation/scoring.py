"""``ell.score``: say how good an invocation's result was."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.trace import SpanContext

from ell_otel import semconv
from ell_otel.instrumentation import origins
from ell_otel.telemetry import current, emit
from ell_otel.telemetry import invocation as invocations
from ell_otel.telemetry.guard import guarded, tell

_NOT_GIVEN: Final = object()


def score(
    name: str,
    value: float | None = None,
    *,
    label: str | None = None,
    explanation: str | None = None,
    of: object = _NOT_GIVEN,
) -> None:
    """Record an evaluation ``name`` with a number, a label or both, for one invocation.

    ``of`` is what the scored program returned (the object itself, not a copy). Without it, the invocation that is
    going on is scored. Raises ``TypeError`` or ``ValueError`` for a score that says nothing; never for what happens
    to it afterwards: a score whose invocation is not known is told in the log and dropped.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"a score has a name, a text such as 'correct', not {name!r}")
    if value is None and label is None:
        raise ValueError(f"the score {name!r} needs a value, a label or both")
    if value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"the value of the score {name!r} is a number, not {value!r}; for words use label=")
    with guarded("recording a score"):
        pipeline = current.pipeline()
        if pipeline.settings.disabled:
            return
        scored = _scored(of)
        if scored is None:
            tell(
                "score",
                f"the score {name!r} was dropped: its invocation is not known. Score inside the program, or pass "
                "of=… the very object that it returned, soon after",
            )
            return
        span, attributes = scored
        emit.evaluation_event(
            pipeline.logger,
            span,
            attributes,
            name=name,
            value=None if value is None else float(value),
            label=label,
            explanation=explanation,
        )


def _scored(of: object) -> tuple[SpanContext, dict[str, Any]] | None:
    if of is not _NOT_GIVEN:
        origin = origins.of(of)
        if origin is None:
            return None
        return origin.span, _attributes(origin.invocation_id, origin.program, origin.version)
    running = invocations.current()
    return None if running is None else (running.span.get_span_context(), dict(running.stamp))


def _attributes(invocation_id: str, program: str, version: str) -> dict[str, Any]:
    return {
        semconv.ELL_INVOCATION_ID: invocation_id,
        semconv.ELL_PROGRAM_NAME: program,
        semconv.ELL_PROGRAM_VERSION: version,
    }
