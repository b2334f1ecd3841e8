"""Which invocation a value came from, known by the value's identity, for a while.

A result that is later an argument of another program links the two invocations; a score can be given to the
invocation that made a result. A result is never kept alive by us, except for text, which cannot be weakly referenced:
of that the latest ``KEPT`` are held, up to ``MAX_CHARS`` characters each.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.trace import SpanContext

from ell_otel.instrumentation.conversation import Message
from ell_otel.telemetry.invocation import Invocation

KEPT: Final = 512
MAX_CHARS: Final = 16_384
MAX_PIECES: Final = 64
MIN_LINK_CHARS: Final = 12
"""A shorter text is likely to be a constant of the program ("yes"), one object wherever it comes from."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The invocation that returned a value."""

    invocation_id: str
    program: str
    version: str
    span: SpanContext


_lock = threading.RLock()  # reentrant: a signal handler or a finalizer may run a program in the midst of this
_origins: OrderedDict[int, tuple[Callable[[], object], Origin]] = OrderedDict()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def remember(result: object, invocation: Invocation) -> None:
    """Note that ``invocation`` returned ``result``, and with it a list's items and what a message has parsed.

    Numbers, None and plain containers themselves are not followed.
    """
    origin = Origin(invocation.id, invocation.program, invocation.version, invocation.span.get_span_context())
    for piece in _pieces(result):
        held = _holder(piece)
        if held is None:
            continue
        with _lock:
            _origins[id(piece)] = (held, origin)
            _origins.move_to_end(id(piece))
            while len(_origins) > KEPT:
                _origins.popitem(last=False)


def _pieces(result: object) -> Iterator[object]:
    for piece in result[:MAX_PIECES] if type(result) is list else (result,):
        yield piece
        if type(piece) is Message:
            yield piece.parsed


def of(value: object) -> Origin | None:
    """The invocation that returned exactly this object, if it is still known."""
    found = _origins.get(id(value))
    return found[1] if found is not None and found[0]() is value else None


def among(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[SpanContext]:
    """The invocations whose results are among these arguments or directly inside their lists, tuples and dicts."""
    if not _origins:
        return []
    spans: dict[int, SpanContext] = {}
    for value in _shallow((*args, *kwargs.values())):
        origin = of(value)
        if origin is not None and not (isinstance(value, str) and len(value) < MIN_LINK_CHARS):
            spans[origin.span.span_id] = origin.span
    return list(spans.values())


def _shallow(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield value
        if type(value) in (list, tuple):
            yield from value[:KEPT]
        elif type(value) is dict:
            yield from list(value.values())[:KEPT]


def _holder(result: object) -> Callable[[], object] | None:
    if type(result) is str:
        return (lambda: result) if 1 < len(result) <= MAX_CHARS else None
    if result is None or isinstance(result, (bool, int, float, type)):
        return None
    try:
        return weakref.ref(result)
    except TypeError:
        return None
