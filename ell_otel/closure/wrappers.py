"""What stands behind a wrapper: decorators that name what they wrap, methods, partials, programs of ours."""

from __future__ import annotations

import functools
import types
from typing import Any

_PLAIN = frozenset(
    {str, bytes, int, float, bool, types.NoneType, list, dict, tuple, set}
)  # ask for no attribute in vain


def unwrapped(value: Any) -> Any:
    """The function behind decorators that say what they wrap, methods and partials; classes stay classes."""
    if type(value) in _PLAIN:
        return value
    seen = set()
    while not isinstance(value, type) and id(value) not in seen:
        seen.add(id(value))
        inner = _inside(value)
        if inner is None:
            break
        value = inner
    return value


def _inside(value: Any) -> Any:
    if isinstance(value, types.FunctionType):
        return getattr(value, "__wrapped__", None)  # not `__dict__`, which would make one for each function
    if isinstance(value, (types.MethodType, staticmethod, classmethod)):
        return value.__func__
    if isinstance(value, (functools.partial, functools.partialmethod)):
        return value.func
    if isinstance(value, property):
        return value.fget
    try:
        inner = object.__getattribute__(value, "__wrapped__")
    except Exception:  # a foreign object's own attribute access may raise anything; then it wraps nothing for us
        inner = None
    return inner if callable(inner) else None
