"""The pipeline in force, where there can be one.

The OpenTelemetry SDK reads its environment variables while it is imported, and raises for one that it cannot read. That
is no reason for the host to fail, so the failure is kept here and told at the first run of a program. The import itself
happens early, with the first decorator: were it left to the first run, a fork in another thread just then would leave
the child waiting for an import lock that nobody gives back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ell_otel.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from ell_otel.config import Settings
    from ell_otel.telemetry.providers import Pipeline

_broken: str = ""
try:
    from ell_otel.telemetry import providers
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
