"""The invocation that is going on: who it is, and how code below finds it (through OpenTelemetry's own context).

Where no decorated program runs, a model call that an undecorated function makes has a scope instead: the function's
name and version, for whatever span starts within that one call.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from ell_otel import semconv

_KEY: Final = otel_context.create_key("ell.invocation")
_SCOPE_KEY: Final = otel_context.create_key("ell.scope")


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
    found = (otel_context.get_current() if context is None else context).get(_KEY)
    return found if isinstance(found, Invocation) else None


def is_attributed(context: Context) -> bool:
    """Whether what starts in ``context`` has a program already: by an invocation or by a call's scope."""
    return context.get(_KEY) is not None or context.get(_SCOPE_KEY) is not None


def carried(context: Context) -> Context:
    """The current context with the invocation and the scope of another; its span is not taken along."""
    taken = {key: context[key] for key in (_KEY, _SCOPE_KEY) if key in context}
    return Context({**otel_context.get_current(), **taken})


class Scope:
    """Context manager: one model call of an undecorated program. Entered once.

    ``stamp`` names the program and its version. ``producer`` is the instrumentation that began the first span of the
    call: another one's spans describe the same call again.
    """

    __slots__ = ("_entered", "_token", "producer", "stamp")

    def __init__(self, stamp: dict[str, str]) -> None:
        self.stamp = stamp
        self.producer: str | None = None

    def __enter__(self) -> None:
        self._entered = otel_context.set_value(_SCOPE_KEY, self)
        self._token = otel_context.attach(self._entered)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A coroutine that is dropped halfway is closed by the garbage collector, in whatever context that runs in:
        # there is nothing to give back there.
        if otel_context.get_current() is self._entered:
            otel_context.detach(self._token)


def scope(context: Context | None = None) -> Scope | None:
    """The call that ``context`` (default: the current one) is in the midst of, or None outside of any."""
    found: Any = (otel_context.get_current() if context is None else context).get(_SCOPE_KEY)
    return found if isinstance(found, Scope) else None
