"""Replacing functions of other packages, so that all of it can be taken back: ``restore`` leaves the originals.

Nothing is imported for it: a package that is not imported yet is patched right after it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from ell_otel.telemetry.guard import guarded

Hook = Callable[[ModuleType], bool | None]
"""Patches a package that has just been imported, or was before. False: it came too early, before the import's end."""

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""What runs in the place of a function: gets the function, the instance it is bound to, and the arguments."""

_ABSENT: Final = object()
_lock = threading.RLock()
_hooks: dict[tuple[str, Hook], bool] = {}  # whether it is wanted; wrapt forgets none
_undo: list[Callable[[], None]] = []
_ours: list[Any] = []


def on_import(package: str, hook: Hook) -> None:
    """Run ``hook`` with the module ``package`` as soon as that is imported: now, if it is. Once, however often asked.

    What the hook raises is told, not raised: the import is the application's. One that came too early is run by whoever
    asks for it next.
    """
    with _lock:
        if _hooks.get((package, hook)):
            return
        asked_before = (package, hook) in _hooks
        _hooks[package, hook] = True

    def imported(module: ModuleType) -> None:
        with guarded(f"instrumenting {package}"):
            if _hooks.get((package, hook)):
                _hooks[package, hook] = hook(module) is not False

    if not asked_before:
        import wrapt

        wrapt.register_post_import_hook(imported, package)
    elif package in sys.modules:
        imported(sys.modules[package])


def wrap(owner: Any, name: str, wrapper: Wrapper) -> None:
    """Have ``wrapper`` run in the place of the function ``owner.name``; nothing where there is no such attribute.

    The result behaves like the function for ``inspect``, ``isinstance`` and attribute access.
    """
    import wrapt

    if hasattr(owner, name):
        original = vars(owner).get(name, _ABSENT)
        replace(owner, name, wrapt.FunctionWrapper(getattr(owner, name) if original is _ABSENT else original, wrapper))


def replace(owner: Any, name: str, value: Any) -> None:
    """Set ``owner.name`` until ``restore``."""
    original = vars(owner).get(name, _ABSENT)

    def undo() -> None:
        found = vars(owner).get(name)
        # One that took its own patch of ours off again may have left ours as wrapt binds it to the class.
        if found is not value and getattr(found, "_self_parent", None) is not value:
            return  # somebody has patched it after us, and holds on to ours; it is not for us to take theirs away
        if original is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, original)

    setattr(owner, name, value)
    _ours.append(value)
    afterwards(undo)


def is_patched(owner: Any, name: str) -> bool:
    """Whether ``owner.name`` is one of ours now."""
    return any(value is vars(owner).get(name) for value in _ours)


def is_ours(function: object) -> bool:
    """Whether ``function``, perhaps bound to an instance, is one that ``wrap`` has put in the place of another."""
    import wrapt

    if not isinstance(function, (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper)):
        return False
    parent = getattr(function, "_self_parent", None)
    return any(value is function or value is parent for value in _ours)


def afterwards(undo: Callable[[], None]) -> None:
    """Have ``restore`` run ``undo``: for what another library's instrumentation has patched on our behalf."""
    with _lock:
        _undo.append(undo)


def restore() -> None:
    """Take everything back, the latest first. Packages imported from now on are left alone."""
    with _lock:
        undone, _undo[:], _ours[:] = _undo[::-1], [], []
        _hooks.update(dict.fromkeys(_hooks, False))
    for undo in undone:
        with guarded("taking a patch back"):
            undo()
