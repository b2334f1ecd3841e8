"""Coroutines of ours that run around one of the user's or of a library's, and pass for it.

The one inside is made when the call is made, so that wrong arguments fail where they were given, as without us. None of
its code runs by that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


class Pending:
    """A coroutine that goes without a word when it was never awaited: Python warns of the one around it already."""

    __slots__ = ("coroutine",)

    def __init__(self, coroutine: Any) -> None:
        self.coroutine = coroutine

    def __del__(self) -> None:
        if inspect.iscoroutine(self.coroutine):
            self.coroutine.close()


def passing_for(inner: Any, around: Any) -> Any:
    """``around``, a coroutine or generator, by the name of ``inner``: in warnings, in tracebacks and of tasks."""
    for name in ("__name__", "__qualname__"):
        setattr(around, name, getattr(inner, name, getattr(around, name)))
    return around


def seen_by(function: Callable[..., Any], seen: Callable[[Any], Any]) -> Callable[..., Any]:
    """``function``, plain or async, whose result goes through ``seen``."""

    def seeing(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return passing_for(result, awaiting(Pending(result))) if inspect.isawaitable(result) else seen(result)

    async def awaiting(pending: Pending) -> Any:
        return seen(await pending.coroutine)

    return seeing
