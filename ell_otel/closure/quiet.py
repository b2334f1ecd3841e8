"""What captures derive from texts (syntax trees, indexes, forms) is let go once the process has been quiet for a while.

Programs are captured together, when modules are imported and functions first called, and share what was derived. Later
it would only take up memory, a hundred times that of the text. Python's own garbage collection is the occasion to let
go: it comes often enough where objects are made, in no thread of ours, and at no cost to the call path. A capture that
begins afterwards reads its files again.

We are called at collections only while there is something to let go: a signal that comes during one is handled in the
first Python code after it, which would be ours, and what a handler raises there (a time limit, say) Python drops.
"""

from __future__ import annotations

import gc
import operator
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

QUIET_S = 10.0
_clearing: list[Callable[[], None]] = []
_running: set[object] = (
    set()
)  # one for each capture that runs; changed without a lock, since a collection may interrupt
_last_use: float | None = None  # None when there is nothing to let go


def let_go_when_quiet(clear: Callable[[], None]) -> None:
    """Have `clear` called when no capture has run for some seconds. It must not take a lock."""
    _clearing.append(clear)


@contextmanager
def deriving() -> Iterator[None]:
    """While a capture runs: what it derives, and what earlier ones did, stays."""
    global _last_use
    capture = object()
    _running.add(capture)
    try:
        yield
    finally:
        _last_use = time.monotonic()
        _running.discard(capture)
        _put(_at_collection, in_place_of=_nothing)


def _at_collection(phase: str, info: dict[str, Any]) -> None:
    global _last_use
    if phase != "stop" or info["generation"] == 0 or _last_use is None or _running:
        return
    if time.monotonic() - _last_use >= QUIET_S:
        _put(_nothing, in_place_of=_at_collection)
        _last_use = None
        for clear in _clearing:
            clear()


def _put(callback: Callable[..., object], *, in_place_of: Callable[..., object]) -> None:
    """Nothing where that has been done already. The list keeps its length, since Python may be going through it."""
    with suppress(ValueError):
        gc.callbacks[gc.callbacks.index(in_place_of)] = callback


_nothing = partial(operator.is_)  # has no Python code, and takes what a callback is given
gc.callbacks.append(_nothing)
os.register_at_fork(after_in_child=_running.clear)  # captures of other threads do not run on in a child
