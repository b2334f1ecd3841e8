"""Whether a closure still describes the code that runs: a check of identities, made on every call of a program."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ell_otel.closure.dependencies import index_of
from ell_otel.closure.source import cell_history, interactive_cells
from ell_otel.closure.spaces import Space
from ell_otel.closure.wrappers import unwrapped


class Observed:
    """The functions and classes found under the names a closure rests on.

    Functions are remembered by their code objects, classes weakly, so nothing of the user's is kept alive; values that
    are neither are not looked at, but for the cells of a notebook, whose text tells what they bind. A namespace is held
    through its module, or through a function that lives in it.
    """

    __slots__ = ("_cells", "_plain", "_wrapped")

    def __init__(self) -> None:
        self._plain: tuple[tuple[Any, tuple[str, ...], tuple[CodeType, ...]], ...] = ()
        self._wrapped: tuple[tuple[Any, str, Any], ...] = ()
        self._cells: tuple[_Cells, ...] = ()

    @classmethod
    def of(cls, found: Iterable[tuple[Mapping[str, Any], str, Any]], spaces: Iterable[Space]) -> Observed:
        """From (namespace, name, function or class) triples, and the namespaces the closure has statements of."""
        observed = cls()
        observed._cells = tuple(
            _Cells(space.namespace, frozenset(space.slots))
            for space in spaces
            if space.namespace is not None and cell_history(space.namespace) is not None
        )
        plain: dict[int, tuple[Any, list[str], list[CodeType]]] = {}
        wrapped = []
        for namespace, name, value in found:
            holder = _holder(namespace, value)
            if type(value) is FunctionType and not hasattr(value, "__wrapped__"):
                _, names, codes = plain.setdefault(id(namespace), (holder, [], []))
                names.append(name)
                codes.append(value.__code__)
            else:
                wrapped.append((holder, name, _identity(value)))
        observed._plain = tuple((holder, tuple(names), tuple(codes)) for holder, names, codes in plain.values())
        observed._wrapped = tuple(wrapped)
        return observed

    def unchanged(self) -> bool:
        """Whether each name is still bound to the same code."""
        try:
            for holder, names, codes in self._plain:
                namespace = holder().__dict__
                for name, code in zip(names, codes):  # noqa: B905 - `strict` would be a fifth of the time
                    if namespace[name].__code__ is not code:
                        return False
            for holder, name, identity in self._wrapped:
                if not _matches(holder().__dict__[name], identity):
                    return False
        except (KeyError, AttributeError):
            return False
        return not self._cells or all(cells.unchanged() for cells in self._cells)


class _Cells:
    """The cells run so far in a notebook or prompt. Later ones matter when they bind or change a name of the closure.

    Cells are looked at when there are more of them than before, so a call costs the comparison of two numbers.
    """

    __slots__ = ("_history", "_length", "_names", "_namespace", "_units")

    def __init__(self, namespace: Mapping[str, Any], names: frozenset[str]) -> None:
        self._namespace = namespace  # of `__main__`, which outlives every closure
        self._names = names
        self._history = cell_history(namespace) or ()
        self._length = len(self._history)
        self._units = len(interactive_cells(namespace))

    def unchanged(self) -> bool:
        if len(self._history) == self._length:
            return True
        units = interactive_cells(self._namespace)
        indexes = [index_of(unit, True) for unit in units[self._units :]]
        if len(units) < self._units or any(self._names & (index.binders.keys() | index.changers) for index in indexes):
            return False
        self._length, self._units = len(self._history), len(units)
        return True


class _Namespace:
    """Stands for globals that no module in `sys.modules` owns (an `exec`): found again through a function of theirs."""

    __slots__ = ("_function",)

    def __init__(self, function: FunctionType) -> None:
        self._function = weakref.ref(function)

    def __call__(self) -> _Namespace:
        return self

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        function = self._function()
        return function.__globals__ if function is not None else {}


def _holder(namespace: Mapping[str, Any], value: Any) -> Any:
    module = sys.modules.get(str(namespace.get("__name__")))
    if isinstance(module, ModuleType) and vars(module) is namespace:
        return weakref.ref(module)
    inner = unwrapped(value)
    return _Namespace(inner) if isinstance(inner, FunctionType) else lambda: None


def _identity(value: Any) -> Any:
    inner = unwrapped(value)
    if isinstance(inner, FunctionType):
        return (weakref.ref(value) if _weakly(value) else None, inner.__code__)
    return (weakref.ref(value), None)


def _weakly(value: Any) -> bool:
    try:
        weakref.ref(value)
    except TypeError:
        return False
    return True


def _matches(value: Any, identity: Any) -> bool:
    reference, code = identity
    if reference is not None and reference() is value:
        return True
    return code is not None and getattr(unwrapped(value), "__code__", None) is code
