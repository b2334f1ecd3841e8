"""OpenTelemetry's own instrumentation of ``openai``, for the methods that ours does not cover."""

from __future__ import annotations

import sys
from typing import Any, Final

from opentelemetry.metrics import NoOpMeterProvider

from ell_otel.instrumentation import patch
from ell_otel.telemetry import current
from ell_otel.telemetry.guard import tell

_NAME: Final = "opentelemetry.instrumentation.genai.openai"
INSTALL: Final = "pip install 'ell-otel[openai]'"

_instrumentor: Any = None
_switched_on_by_us = False


def instrument() -> None:
    """Switch it on, unless the application has. Where that cannot be, it is told, and the rest goes without spans."""
    global _instrumentor, _switched_on_by_us
    rest = "chat, responses and embeddings are traced all the same; responses.stream() is not"
    try:
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
        from opentelemetry.instrumentation.utils import unwrap
    except ImportError as error:
        if _NAME in sys.modules:  # in the midst of its own import, by whoever is about to switch it on
            return
        tell("openai", f"opentelemetry-instrumentation-genai-openai cannot be imported ({error}): {rest}. {INSTALL}")
        return
    _instrumentor = OpenAIInstrumentor()
    if _instrumentor.is_instrumented_by_opentelemetry:
        return
    current.tell_libraries()  # the instrumentation wants to know about contents already now
    try:
        # Metrics cost as much as the span; ours are computed from spans.
        _instrumentor.instrument(
            tracer_provider=current.tracer_provider(),
            meter_provider=NoOpMeterProvider(),
            raise_exception_on_conflict=True,
        )
    except Exception as error:  # of the installed openai it knows that it cannot; or it finds out
        tell("openai", f"opentelemetry-instrumentation-genai-openai refuses this openai ({error}): {rest}. {INSTALL}")
        return
    _switched_on_by_us = True
    patch.afterwards(_switch_off)
    # To fetch what was answered before is no inference, and their wrapper of it raises on an answer without `output`.
    for client in ("Responses", "AsyncResponses"):
        unwrap(f"openai.resources.responses.responses.{client}", "retrieve")


def _switch_off() -> None:
    global _switched_on_by_us
    if _switched_on_by_us:
        _switched_on_by_us = False
        _instrumentor.uninstrument()


def is_in_charge() -> bool:
    """Whether the application has switched it on itself: then it makes the spans, all of them."""
    global _instrumentor
    if _switched_on_by_us:
        return False
    if _instrumentor is None:
        found = getattr(sys.modules.get(_NAME), "OpenAIInstrumentor", None)
        if found is None:
            return False
        _instrumentor = found()
    return bool(_instrumentor.is_instrumented_by_opentelemetry)


def take_over() -> bool:
    """Switch it off where another than we has switched it on. Whether that was so."""
    if not is_in_charge():
        return False
    _instrumentor.uninstrument()
    return True
