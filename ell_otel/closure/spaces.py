"""The namespaces a closure flattens into one text, and what each of their names stands for.

A `Space` is one namespace: a user's module, or the cells of a function made inside another function. A `Slot` is one
name of a space and says what stands behind it. `Spaces` finds the space of a module or of a function's globals;
installed modules have none. Nothing here imports a module: one that is not loaded yet is found by its spec and read.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ell_otel.closure.dependencies import Index, index_of, index_of_cells
from ell_otel.closure.installed import is_installed
from ell_otel.closure.references import ImportCall, LocalImport, Reference
from ell_otel.closure.remembered import remembered
from ell_otel.closure.source import Unit, file_of, interactive_cells, unit_of_file
from ell_otel.closure.statements import Statement

MISSING: Any = type("_Missing", (), {"__repr__": lambda self: "<missing>"})()
_LONG = 64  # so many aliases in a row may be a circle


@dataclass(eq=False)
class Slot:
    """One name of one space.

    kind        what `name` stands for
    ----------  -----------------------------------------------------------------------------
    builtin     a built-in, or a name every module has (`__name__`)
    unbound     nothing that could be found
    external    `module` (or `attribute` of it), which is installed and imported
    defined     statements of `space`
    alias       another slot, `target`; bound by an import statement, or seen at run time
    namespace   the module `of`, rebuilt as an object carrying the members that are used
    value       an expression made from a run-time value: strings and the slots between them
    missing     a stand-in definition for code whose source cannot be had
    """

    kind: str
    name: str
    space: Space
    module: str = ""
    attribute: str = ""
    dotted: set[str] = field(default_factory=set)
    find: Callable[[], Slot] | None = None  # of an alias: its target, looked for when first asked
    leave: Callable[[list[Slot]], None] | None = None  # of an import: end a circle of aliases that it is in
    of: Space | None = None
    pieces: list[str | Slot] = field(default_factory=list)
    may_share: bool = False  # an alias bound to one thing only, by plain imports
    observed: bool = False  # an alias no statement binds: seen at run time
    text_name: str = ""

    @remembered
    def target(self) -> Slot | None:
        """What an alias stands for, one step on."""
        return self.find() if self.find is not None else None

    @remembered
    def shares_name(self) -> bool:
        """Whether an alias needs no line of its own, its name being its target's."""
        target = self.target
        if target is None or not self.may_share or self.name != target.name or target.space.cells is not None:
            return False
        return not declared_global(target.space, target.name)

    def final(self) -> Slot:
        """The slot at the end of a chain of aliases."""
        slot, steps = self, 0
        while slot.kind == "alias" and slot.target is not None:
            slot, steps = slot.target, steps + 1
            if steps % _LONG == 0:
                self._end_circle()
        return slot

    def aim(self, target: Slot) -> None:
        """Have an alias stand for something else from now on."""
        self.become(Slot("alias", "", self.space, find=lambda: target))

    def become(self, other: Slot) -> None:
        """Have a name stand for what another, of no use otherwise, does."""
        self.kind, self.find, self.pieces = other.kind, other.find, other.pieces
        vars(self).pop("target", None)
        vars(self).pop("shares_name", None)

    def _end_circle(self) -> None:
        """`from .main import *` in a package brings back what `main` had imported from the package."""
        slot, passed = self, dict[Slot, None]()
        while slot.kind == "alias" and slot.target is not None and slot not in passed:
            passed[slot] = None
            slot = slot.target
        if slot in passed:
            circle = list(passed)[list(passed).index(slot) :]
            next(each.leave for each in circle if each.leave is not None)(circle)

    def named(self) -> Slot:
        """The slot whose name in the text this one shares."""
        slot = self
        while slot.kind == "alias" and slot.shares_name and slot.target is not None:
            slot = slot.target
        return slot


@dataclass(eq=False)
class Kept:
    """A statement in the closure: which slots its references mean, what must stand before it."""

    space: Space
    position: int
    statement: Statement
    uses: list[tuple[Reference, Slot]] = field(default_factory=list)
    imports: list[tuple[LocalImport, Slot]] = field(default_factory=list)
    calls: list[tuple[ImportCall, Slot]] = field(default_factory=list)
    outside: dict[int, Slot] = field(default_factory=dict)  # by node: names not bound yet, which mean built-ins
    aliases: set[str] = field(default_factory=set)  # names taken from a plain import statement
    effects: list[Space] = field(default_factory=list)  # modules it executes for what they do to the closure
    contents: list[tuple[ast.Call, str]] = field(default_factory=list)  # calls that read files, with what they gave
    values: dict[str, str] = field(default_factory=dict)  # names given by value instead (file contents)
    followed: bool = False

    @property
    def modules(self) -> list[tuple[LocalImport | ImportCall, Slot]]:
        """What it imports from the user's own modules other than by a plain import at module level."""
        return [*self.imports, *self.calls]


@dataclass(eq=False)
class Space:
    """One namespace; `kept` fills up while the closure is walked."""

    name: str
    package: str
    namespace: Mapping[str, Any] | None
    index: Index
    parent: Space | None = None  # of a nested function: the module around it
    cells: dict[str, Any] | None = None
    outer_names: frozenset[str] = frozenset()  # names bound by the functions around a nested one
    kept: dict[int, Kept] = field(default_factory=dict)
    slots: dict[str, Slot] = field(default_factory=dict)
    members: dict[str, Slot] = field(default_factory=dict)
    as_object: Slot | None = None
    assigned: set[str] = field(default_factory=set)  # attributes of the module that functions of others assign

    @property
    def label(self) -> str:
        """The prefix of names that had to be told apart."""
        return re.sub(r"\W", "_", self.name).strip("_") or "module"

    @property
    def docstring(self) -> str | None:
        """The text the module begins with, where it is one file."""
        return ast.get_docstring(self.index.units[0].tree, clean=False) if len(self.index.units) == 1 else None

    @property
    def has_cells(self) -> bool:
        """Whether it is a notebook's, whose texts are the cells as they were typed."""
        return any(unit.filename.startswith("<cell ") for unit in self.index.units)

    def live(self, name: str) -> Any:
        """The object bound to the name now, or MISSING."""
        return MISSING if self.namespace is None else self.namespace.get(name, MISSING)

    def extend(self, unit: Unit) -> None:
        """Take in another text that ran in this namespace; positions known so far stay valid."""
        if unit.filename not in {known.filename for known in self.index.units}:
            statements = [*self.index.statements, *index_of(unit).statements]
            self.index = Index(statements, self.index.future_annotations or index_of(unit).future_annotations)


class Spaces:
    """The spaces of one closure, each made once."""

    def __init__(self) -> None:
        self._by_module: dict[str, Space | None] = {}
        self._by_globals: dict[int, Space] = {}

    def of_module(self, name: str) -> Space | None:
        """The space of a user's module by its absolute name; None when it is installed or cannot be found."""
        if name not in self._by_module:
            self._by_module[name] = self._find(name)
        return self._by_module[name]

    def of_globals(self, namespace: Mapping[str, Any]) -> Space | None:
        """The space of a function's `__globals__`; None when they are an installed module's."""
        known = self._by_globals.get(id(namespace))
        if known is not None:
            return known
        name = namespace.get("__name__")
        module = sys.modules.get(name) if isinstance(name, str) else None
        if isinstance(name, str) and module is not None and vars(module) is namespace:
            return self.of_module(name)
        name = name if isinstance(name, str) and name not in ("builtins", "") else "__main__"
        file = file_of(namespace)
        if is_installed(name, namespace, file, []):
            return None
        space = self._by_globals[id(namespace)] = self._make(name, namespace, file)
        return space

    def can_be_imported(self, space: Space) -> bool:
        """Whether the installed modules are there that a module imports which nothing has imported yet."""
        statements = space.index.statements if space.namespace is None else []
        modules: set[str] = set()
        for node in (statement.node for statement in statements if statement.is_import):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module)
        absent = (name for name in sorted(modules - sys.modules.keys()) if _spec_without_import(name) is None)
        return next(absent, None) is None

    def _find(self, name: str) -> Space | None:
        module = sys.modules.get(name)
        if module is None:
            return self._find_unloaded(name)
        namespace = vars(module)
        file = file_of(namespace)
        paths = [str(path) for path in namespace.get("__path__", None) or ()]
        if is_installed(name, namespace, file, paths):
            return None
        space = self._make(name, namespace, file)
        self._by_globals[id(namespace)] = space
        return space

    def _make(self, name: str, namespace: Mapping[str, Any], file: str | None) -> Space:
        package = namespace.get("__package__") or (name if "__path__" in namespace else name.rpartition(".")[0])
        unit = unit_of_file(file) if file is not None and not file.endswith((".pyc", ".so")) else None
        script = namespace.get("__name__") == "__main__"
        index = index_of(unit, script) if unit is not None else index_of_cells(interactive_cells(namespace))
        return Space(program_module(name, namespace), package, namespace, index)

    def _find_unloaded(self, name: str) -> Space | None:
        """A user's module that nothing has imported yet (an import inside a function that has not run)."""
        spec = _spec_without_import(name)
        if spec is None or is_installed(name, None, spec.origin, list(spec.submodule_search_locations or ())):
            return None
        is_package = spec.submodule_search_locations is not None
        unit = unit_of_file(spec.origin) if spec.origin and spec.has_location else None
        if unit is None and not is_package:
            return None
        index = index_of(unit) if unit is not None else Index([], False)
        return Space(name, name if is_package else name.rpartition(".")[0], None, index)


def declared_global(space: Space, name: str) -> bool:
    """Whether a function of the module binds the name by `global`: then its value is run-time state."""
    units = [unit for unit in space.index.units if "global " in unit.text]
    pattern = rf"\bglobal\b[^\n;#]*\b{re.escape(name)}\b"
    return any(re.search(pattern, unit.text) for unit in units)


def program_module(name: str, namespace: Mapping[str, Any]) -> str:
    """A module's name as programs carry it: `__main__` is named after its spec or its script, where it has one.

    So are a script in a process that `multiprocessing` spawned and what `runpy` was given.
    """
    if name not in ("__main__", "__mp_main__", "<run_path>"):
        return name
    spec = namespace.get("__spec__")
    if spec is not None and getattr(spec, "name", "__main__") != "__main__":
        return str(spec.name).removesuffix(".__main__")
    file = file_of(namespace)
    if file is None or file[:1] == "<":
        return name
    directory, base = os.path.split(file)
    module = os.path.splitext(base)[0]
    if module == "__main__":  # of a folder, or of an archive
        return os.path.basename(os.path.abspath(directory)).removesuffix(".pyz")
    return module


def _spec_without_import(name: str) -> importlib.machinery.ModuleSpec | None:
    """The spec of a module, its parents found the same way, so that no package's `__init__` runs."""
    path: list[str] | None = None
    spec: importlib.machinery.ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = _ask_finders(".".join(parts[:depth]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


def _ask_finders(name: str, path: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        try:
            spec = find_spec(name, path, None) if find_spec else None
        except Exception:  # a foreign finder's fault must not reach the user: the module counts as not found by it
            spec = None
        if isinstance(spec, importlib.machinery.ModuleSpec):
            return spec
    return None
