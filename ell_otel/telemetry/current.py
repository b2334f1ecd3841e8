"""The pipeline in force, where there can be one.

The OpenTelemetry SDK reads its environment variables while it is imported, and raises for one that it cannot read. That
is no reason for the host to fail, so the failure is kept here and told at the first run of a program. The import itself
happens early, with the first decorator: were it left to the first run, a fork in another thread just then would leave
the child waiting for an import lock that nobody gives back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from ell_otel.errors import ConfigError
from ell_otel.telemetry.guard import tell

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from ell_otel.config import Settings
    from ell_otel.telemetry.providers import Pipeline

_broken: str = ""
try:
    from ell_otel.telemetry import providers, sdk
except (ImportError, ValueError) as error:
    _broken = f"OpenTelemetry's SDK cannot be imported, so nothing is recorded: {error}. Check the OTEL_* variables"


def pipeline() -> Pipeline:
    """The pipeline in force; made from the environment at first use. Raises ``ConfigError`` where there can be none."""
    if _broken:
        raise ConfigError(_broken)
    return providers.pipeline()


def configure(settings: Settings, tracer_provider: TracerProvider | None = None) -> Pipeline:
    """Put a pipeline for ``settings`` in the place of the one before. Raises ``ConfigError`` when it cannot be made."""
    if _broken:
        raise ConfigError(_broken)
    return providers.configure(settings, tracer_provider)


def join() -> None:
    """Join the application's tracer provider, if it has set one since the pipeline was made. Raises ``ConfigError``."""
    if not _broken:
        providers.join()


def tell_libraries() -> None:
    """Tell other libraries whether to record contents. Raises ``ConfigError``."""
    if not _broken:
        providers.tell_libraries()


def has_application_provider() -> bool:
    """Whether spans of other libraries go somewhere without us."""
    return not _broken and sdk.application_provider() is not None


def tracer_provider() -> trace.TracerProvider:
    """Gives tracers that always use the pipeline in force, made at the first span and perhaps exchanged later."""
    return _PipelineTracerProvider()


class _PipelineTracerProvider(trace.TracerProvider):
    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        return _PipelineTracer(args, kwargs)


class _PipelineTracer(trace.Tracer):
    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args = args
        self._kwargs = kwargs

    def _tracer(self) -> trace.Tracer:
        try:
            in_force = pipeline()
        except ConfigError as error:
            tell("preparing telemetry", str(error))
            return trace.NoOpTracer()
        if in_force.settings.disabled:
            return in_force.tracer
        return in_force.tracer_provider.get_tracer(*self._args, **self._kwargs)

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        return self._tracer().start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer().start_as_current_span(*args, **kwargs)
