"""The invocation that is going on: who it is, and how code below finds it (through OpenTelemetry's own context)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from ell_otel import semconv

_KEY: Final = otel_context.create_key("ell.invocation")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a program. ``id`` is 32 lower-case hex digits, unique; ``version`` is ``c1:…``."""

    id: str
    program: str
    version: str
    span: Span

    @property
    def stamp(self) -> dict[str, str]:
        """The attributes that tie a span or an event to this invocation."""
        return {
            semconv.ELL_INVOCATION_ID: self.id,
            semconv.ELL_PROGRAM_NAME: self.program,
            semconv.ELL_PROGRAM_VERSION: self.version,
        }


def new_id() -> str:
    """A fresh invocation id."""
    return os.urandom(16).hex()


def entered(invocation: Invocation) -> Context:
    """The current context with ``invocation`` and its span current. Attach it; every span begun under it is stamped."""
    return otel_context.set_value(_KEY, invocation, trace.set_span_in_context(invocation.span))


def current(context: Context | None = None) -> Invocation | None:
    """The innermost invocation of ``context`` (default: the current one), or None outside of any."""
    found = otel_context.get_value(_KEY, context)
    return found if isinstance(found, Invocation) else None
