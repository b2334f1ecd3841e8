"""The lexical closure of a program: the smallest text that rebuilds it, and the version of that text.

Read downwards: `capture` finds the statement that made the target, follows every name it rests on, names and orders
what was kept, writes it out with secrets replaced, and hashes the canonical form of what was written. The version is a
function of the text alone, so `verify` can derive it again from what is stored.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ell_otel.closure.assembly import assemble
from ell_otel.closure.canonical import forms_of, version_of
from ell_otel.closure.currency import Observed
from ell_otel.closure.nested import fingerprint
from ell_otel.closure.parts import Outline, Part
from ell_otel.closure.programs import used_programs
from ell_otel.closure.quiet import deriving
from ell_otel.closure.remembered import remembered
from ell_otel.closure.resolution import Resolution
from ell_otel.closure.source import unit_of_code
from ell_otel.closure.spaces import MISSING, Kept, Slot, program_module
from ell_otel.closure.wrappers import unwrapped


@dataclass(frozen=True, slots=True)
class Use:
    """A program that another one rests on."""

    name: str
    version: str


@dataclass(frozen=True)
class Closure:
    """A program's text with everything it needs, and what is known about it.

    `text` runs alone, installed packages given. `version` is `c1:` and the SHA-256 of its canonical form. `partial`
    says that something could not be had; `warnings` names it. `file` and `line` say where the target stands and are no
    part of its identity. `parts` are the text's statements in order.
    """

    name: str
    module: str
    qualname: str
    text: str
    version: str
    uses: tuple[Use, ...] = ()
    warnings: tuple[str, ...] = ()
    partial: bool = False
    file: str | None = None
    line: int | None = None
    imported: tuple[str, ...] = ()  # installed top-level modules the text imports, the standard library left out
    _outline: Outline = field(default=Outline([], []), repr=False, compare=False)
    _observed: Observed = field(default_factory=Observed, repr=False, compare=False)

    def is_current(self) -> bool:
        """Whether every function and class it rests on is still the one bound where it was found. About a µs.

        In a notebook or prompt also whether no cell run since binds or changes a name it rests on.
        """
        return self._observed.unchanged()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The text's statements, in order."""
        return self._outline.parts(self.text)

    @remembered
    def packages(self) -> Mapping[str, str]:
        """The installed modules the text imports, each with its distribution's version, or "" when it has none."""
        return {name: _installed_version(name) for name in self.imported}


def capture(target: Any, *, names: Mapping[str, Any] | None = None) -> Closure:
    """The closure of a function, method, class, lambda, partial, callable object or program.

    `names` may give values of local names of the function around a nested program which its decorator or its defaults
    read; they are not to be had otherwise. Raises TypeError when the target cannot be called; whatever else is wrong
    with it ends up in `warnings`.
    """
    if not callable(target) and not isinstance(target, (staticmethod, classmethod, property)):
        kind = type(target).__name__
        message = f"cannot capture an object of type {kind}: pass a function, a method, a class or a program"
        raise TypeError(message)
    try:
        with deriving():
            resolution, closure = _without_uses(target, names)
            uses = {_use(program) for program in used_programs(resolution, unwrapped(target))}
    except Exception as error:  # whatever it is, it must not reach the user's call; the warning tells of it
        return _stand_in(target, error)
    if not uses:
        return closure
    return dataclasses.replace(closure, uses=tuple(sorted(uses, key=lambda use: (use.name, use.version))))


def _use(program: Any) -> Use:
    _, closure = _without_uses(program, None)
    return Use(closure.name, closure.version)


def _without_uses(target: Any, names: Mapping[str, Any] | None) -> tuple[Resolution, Closure]:
    """The closure, without asking for the versions of the programs it uses: so recursion between programs ends."""
    resolution = Resolution(names)
    subject = _subject(target)
    root = _root(resolution, target, subject)
    resolution.follow_all()
    assembled = assemble(resolution, root)
    module, qualname = _identity(subject)
    qualname = _bound_name(target, subject) or qualname
    file, line = _place(root, subject)
    closure = Closure(
        name=f"{module}.{qualname}",
        module=module,
        qualname=qualname,
        text=assembled.text,
        version=version_of(assembled.forms),
        warnings=tuple(resolution.warnings),
        partial=resolution.partial,
        file=file,
        line=line,
        imported=assembled.imported,
        _outline=assembled.outline,
        _observed=Observed.of(resolution.observed.values(), resolution.order),
    )
    return resolution, closure


def _subject(target: Any) -> Any:
    """The function or class that a target is about: decorators, methods and partials taken off."""
    inner = unwrapped(target)
    if isinstance(inner, (type, types.FunctionType, types.BuiltinFunctionType)):
        return inner
    return type(inner)


def _root(resolution: Resolution, target: Any, subject: Any) -> Kept | None:
    """Keep the statement that made the target, and what a partial or a receiver adds to it."""
    if getattr(getattr(subject, "__code__", None), "co_name", "") == "<module>":
        return _top_level(resolution, subject)
    bound = _bound_name(target, subject)
    space = resolution.spaces.of_globals(subject_globals(subject)) if bound else None
    slot = resolution.slot(space, bound) if space is not None and bound else resolution.values.code_slot(subject)
    if slot is None:
        resolution.incomplete(f"nothing is known of the source of {subject!r}")
        return None
    root = _kept_for(resolution, slot, None if bound else subject)
    resolution.add_root(slot)
    if root is None:
        resolution.extra.append(slot)
    if root is not None and slot.final().space.live(slot.final().name) is not MISSING:
        resolution.observe(slot.final().space, slot.final().name)
    if isinstance(target, types.MethodType):
        receiver = target.__self__
        owner = resolution.values.code_slot(receiver if isinstance(receiver, type) else type(receiver))
        if owner is not None:
            resolution.add_root(owner)
    elif isinstance(target, functools.partial) and not bound:
        resolution.add_value(f"{getattr(subject, '__name__', 'target')}_partial", target)
    return root


def _top_level(resolution: Resolution, subject: types.FunctionType) -> Kept | None:
    """Keep what a module, script or cell does by itself; definitions and imports only where that needs them."""
    space = resolution.spaces.of_globals(subject.__globals__)
    unit = unit_of_code(subject.__code__, subject.__globals__) if space is not None else None
    if space is None or unit is None:
        resolution.incomplete(f"nothing is known of the source of {subject.__module__}")
        return None
    kept = []
    for position, statement in enumerate(space.index.statements):
        same = statement.unit is unit or statement.unit.text.rstrip() == unit.text.rstrip()
        if same and not statement.is_definition and not statement.is_import:
            kept.append(resolution.keep_whole(space, position))
            resolution.roots += [resolution.slot(space, name) for name in sorted(statement.analysis.names("read"))]
    return kept[-1] if kept else None


def _bound_name(target: Any, subject: Any) -> str:
    """The module-level name of a partial or a callable object, looked for where its function or class lives."""
    if isinstance(target, (type, types.FunctionType, types.MethodType)) or target is subject:
        return ""
    if isinstance(target, functools.partial) or type(target) is subject:
        return next((name for name, value in list(subject_globals(subject).items()) if value is target), "")
    return ""


def subject_globals(subject: Any) -> Mapping[str, Any]:
    """The namespace a function or class was made in."""
    namespace = getattr(subject, "__globals__", None)
    if isinstance(namespace, dict):
        return namespace
    module = sys.modules.get(str(getattr(subject, "__module__", "")))
    return vars(module) if module is not None else {}


def _kept_for(resolution: Resolution, slot: Slot, subject: Any) -> Kept | None:
    final = slot.final()
    if final.kind != "defined":
        return None
    index = final.space.index
    position = next(p for p in reversed(index.bindings(final.name)) if final.name in index.statements[p].binds)
    code = getattr(subject, "__code__", None)
    if code is not None:
        own = index.statement_at(index.statements[position].unit.filename, code.co_firstlineno)
        position = position if own is None or final.space.has_cells else own
    return resolution.keep_whole(final.space, position)


def _identity(subject: Any) -> tuple[str, str]:
    """Module and qualified name as programs carry them."""
    module = getattr(subject, "__module__", None) or "__main__"
    qualname = getattr(subject, "__qualname__", type(subject).__qualname__)
    return program_module(module, subject_globals(subject)), qualname


def _place(root: Kept | None, subject: Any) -> tuple[str | None, int | None]:
    code = getattr(subject, "__code__", None)
    if code is not None:
        return code.co_filename, code.co_firstlineno
    if root is not None:
        return root.statement.unit.filename, root.statement.first_line
    return None, None


def _stand_in(target: Any, error: Exception) -> Closure:
    """The closure of a target that could not be captured: its name, and what its code object tells."""
    subject = _subject(target)
    module, qualname = _identity(subject)
    known = f"{module}.{qualname}, known by {fingerprint(subject)}"
    text = f"raise NotImplementedError({known!r})\n"
    warning = f"{module}.{qualname} could not be captured: {type(error).__name__}: {error}"
    version = version_of(forms_of(text))
    return Closure(f"{module}.{qualname}", module, qualname, text, version, warnings=(warning,), partial=True)


def _installed_version(module: str) -> str:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        version = getattr(sys.modules.get(module), "__version__", "")
        return version if isinstance(version, str) else ""
