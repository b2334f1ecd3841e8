"""``ell.init`` and ``ell.flush``. Neither is needed: without ``init`` the environment and the defaults decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ell_otel import config
from ell_otel import redact as redaction
from ell_otel.instrumentation import openai, openai_spans
from ell_otel.telemetry import current
from ell_otel.telemetry.guard import guarded

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI
    from opentelemetry.sdk.trace import TracerProvider


def init(
    *,
    dir: str | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    service_name: str | None = None,
    content: bool | None = None,
    durability: str | None = None,
    disabled: bool | None = None,
    tracer_provider: TracerProvider | None = None,
    client: OpenAI | None = None,
    async_client: AsyncOpenAI | None = None,
    redact: Callable[[str], str] | None = None,
) -> None:
    """Say where telemetry goes and what it contains; what is not given comes from the environment (docs/settings.md).

    ``tracer_provider`` is the application's own, to be joined; an SDK provider set globally is joined without being
    named. ``client`` and ``async_client`` serve programs that name none. ``redact`` is given every text that is to
    leave the process (contents, arguments, results, errors, closures) after our own redaction, and returns what may.
    May be called again: the pipeline before is flushed and ended. Raises ``ConfigError`` for a setting that cannot be
    used.
    """
    settings = config.resolve(
        dir=dir,
        endpoint=endpoint,
        protocol=protocol,
        service_name=service_name,
        content=content,
        durability=durability,
        disabled=disabled,
    )
    openai.use_clients(client, async_client)
    openai_spans.prepare()
    if redact is not None:
        redaction.use(redact)
    current.configure(settings, tracer_provider)


def flush() -> bool:
    """Hand on every span that has ended so far; True when all of it was. The local spool never needs it."""
    with guarded("flushing"):
        return current.pipeline().flush()
    return False
