"""Instrumenting an application that has never heard of us: in code by one line, or from outside without any.

``ell-otel run`` calls ``instrument`` through ``auto/sitecustomize.py``; ``opentelemetry-instrument`` calls it through
the entry points ``opentelemetry_instrumentor`` and ``opentelemetry_post_instrument``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry import trace

from ell_otel import config
from ell_otel.instrumentation import callsite, entries, openai_genai, openai_spans, patch, threads
from ell_otel.telemetry import current, stamping
from ell_otel.telemetry.guard import guarded


def instrument() -> None:
    """Have every model call of this process carry the version of the function that makes it. Does nothing twice.

    Nothing is patched when disabled by a setting. An application's own tracer provider is joined, now or when it is
    set; without one, spans go where the settings say.
    """
    with guarded("instrumenting"):
        if config.resolve().disabled:
            return
        openai_spans.prepare()
        entries.prepare()
        threads.prepare()
        stamping.use_finder(_on_the_stack)
        if not patch.is_patched(trace, "set_tracer_provider"):
            patch.wrap(trace, "set_tracer_provider", _then_join)
        join()


def uninstrument() -> None:
    """Put back what ``instrument`` and our decorators have patched in other packages."""
    with guarded("taking instrumentation back"):
        stamping.use_finder(None)
        patch.restore()


def join() -> None:
    """Stamp the spans of the application's tracer provider from now on, if it has one."""
    with guarded("joining the application's telemetry"):
        current.join()


def after_instrumentors() -> None:
    """What ``opentelemetry-instrument`` calls at its end, when it has switched on all that it found.

    Without a tracer provider, spans of the instrumentation of ``openai`` would go nowhere: then ours come instead.
    """
    with guarded("completing the instrumentation"):
        if not current.has_application_provider() and openai_genai.take_over():
            uninstrument()
            instrument()
    join()


def _then_join(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = wrapped(*args, **kwargs)
    join()
    return result


def _on_the_stack() -> dict[str, str] | None:
    site = callsite.calling()
    return site.stamp if site is not None else None


class Instrumentor:
    """What ``opentelemetry-instrument`` loads: the part of ``BaseInstrumentor`` that it uses."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def instrument(self, **_: Any) -> None:
        instrument()

    def uninstrument(self, **_: Any) -> None:
        uninstrument()
