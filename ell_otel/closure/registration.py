"""Statements that change a name without naming it: decorators that register, base classes that collect subclasses.

`@register def f` changes `REGISTRY` when `register` does so in its body. Such statements belong to a closure that uses
`REGISTRY`, although neither names the other.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ell_otel.closure.dependencies import Statement
from ell_otel.closure.references import CHANGING_FUNCTIONS, all_arguments, chain_of
from ell_otel.closure.source import Unit
from ell_otel.closure.spaces import MISSING, Slot, Space

if TYPE_CHECKING:
    from ell_otel.closure.resolution import Resolution

# Where a text may change an object through its name: `name[...] = `, `name.append(`, `del name[`, `global name`, and
# where it may do so by another: a parameter whose default is the object.
_CHANGE = re.compile(
    r"(?<![\w.])(\w+)(?:\.\w+|\[[^\]\n]*\])*?(?:\.(?:append|extend|insert|update|setdefault|pop|remove|discard|clear"
    r"|sort|reverse|push|add\w*|set_\w*|register\w*)\s*\(|(?:\[[^\]\n]*\]|\.\w+)\s*(?:[-+*/|&^%@]|//|\*\*|<<|>>)?=(?!=))"
)
_DEFAULT = re.compile(r"\w\s*=\s*([^\W\d]\w*)\s*[,)]")
_GLOBAL = re.compile(r"\bglobal\s+([\w ,\t]+)")
_candidates: WeakKeyDictionary[Unit, dict[str, list[int]]] = WeakKeyDictionary()
_COLLECTING_METHODS = frozenset({"append", "add", "update", "setdefault", "register", "insert"})


class Registrations:
    """What registers in what, over the spaces of one closure."""

    def __init__(self, resolution: Resolution) -> None:
        self._resolution = resolution
        self._collecting: dict[Slot, bool] = {}

    def positions(self, space: Space, name: str) -> list[int]:
        """Positions of the module's own statements that put themselves, or something, into the name's object."""
        return sorted({*self._appliers_of(space, name), *self.passed_on(space, name)})

    def through(self, space: Space, name: str) -> set[str]:
        """Names of the module that change the name's object when they are called, or inherited from."""
        names = {n for position in _writers(space, name) for n in space.index.statements[position].binds}
        return names | {name} if self._collects(space, name) else names

    def ask_for_subclasses(self, slot: Slot) -> None:
        """Note that somebody reads `slot.__subclasses__()`: then every subclass counts."""
        if slot.kind == "defined" and not self._collecting.get(slot):
            self._collecting[slot] = True
            for position in self.positions(slot.space, slot.name):
                self._resolution.keep_whole(slot.space, position)

    def _appliers_of(self, space: Space, name: str) -> Iterator[int]:
        """Statements that, while executing, hand themselves to something that changes the name's object."""
        index, through = space.index, self.through(space, name)
        found: set[int] = set()
        while through:
            for position in index.appliers.get(through.pop(), ()):
                if position not in found and not runs_programs(space, index.statements[position]):
                    found.add(position)
                    if isinstance(index.statements[position].node, ast.ClassDef):  # its subclasses are made alike
                        through |= index.statements[position].binds
        return iter(found)

    def passed_on(self, space: Space, name: str) -> Iterator[int]:
        """Positions of `function(name)` statements whose function changes what it is given."""
        for position, (root, *chain) in space.index.passers.get(name, ()):
            slot = self._resolution.behind(space, (root, *chain))[0]
            if slot.kind in ("builtin", "external"):
                if (chain[-1] if chain else root) in CHANGING_FUNCTIONS:
                    yield position
            elif slot.kind == "defined":
                index = slot.space.index
                if any(index.statements[binder].analysis.changed_locals for binder in index.bindings(slot.name)):
                    yield position

    def _collects(self, space: Space, name: str) -> bool:
        """Whether the name is a class that keeps, or is asked for, those that inherit from it."""
        slot = space.slots.get(name)
        if slot is None or slot.kind != "defined":
            return False
        if slot not in self._collecting:
            self._collecting[slot] = False  # what inherits from itself collects nothing
            positions = space.index.bindings(name)
            nodes = [space.index.statements[position].node for position in positions]
            self._collecting[slot] = any(isinstance(n, ast.ClassDef) and self._is_collecting(space, n) for n in nodes)
        return self._collecting[slot]

    def _is_collecting(self, space: Space, node: ast.ClassDef) -> bool:
        hooks = {"__init_subclass__"}
        if any(_last_part(base) == "type" or _last_part(base).endswith("Meta") for base in node.bases):
            hooks |= {"__new__", "__init__"}
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and member.name in hooks and _stores(member):
                return True
        if any(isinstance(part, ast.Attribute) and part.attr == "__subclasses__" for part in ast.walk(node)):
            return True
        for expression in [*node.bases, *(k.value for k in node.keywords if k.arg == "metaclass")]:
            root, chain = chain_of(expression)
            found = self._resolution.behind(space, (root.id, *chain))[0] if isinstance(root, ast.Name) else None
            if found is not None and found.kind == "defined" and self._collects(found.space, found.name):
                return True
        return False

    def registered_in(self, space: Space, name: str) -> Iterator[Any]:
        """Functions and classes that other modules put into the name's object through a function of this module."""
        live = space.live(name)
        if live is MISSING:
            return
        if isinstance(live, type) and self._collects(space, name) and not issubclass(live, type):
            yield from live.__subclasses__()
        elif isinstance(
            getattr(live, "registry", None), types.MappingProxyType
        ):  # a `functools.singledispatch` function
            found = (function for function in list(live.registry.values()) if callable(function))
            yield from (f for f in found if getattr(f, "__globals__", space.namespace) is not space.namespace)
        elif isinstance(live, (dict, list, set, tuple)) and len(live) <= 1000 and _writers(space, name):
            for value in list(live.values() if isinstance(live, dict) else live):
                members = value if isinstance(value, (tuple, list)) else (value,)
                yield from (m for m in members if callable(m) and getattr(m, "__qualname__", "") != "<lambda>")


def _writers(space: Space, name: str) -> list[int]:
    """Positions of definitions whose functions bind or change the name's object when called."""
    found = set()
    for unit in space.index.units:
        for line in _lines_changing(unit, name):
            position = space.index.statement_at(unit.filename, line)
            if position is None:
                continue
            statement = space.index.statements[position]
            if name in statement.later_writes or _changes_by_default(statement, name):
                found.add(position)
    return sorted(found)


def _lines_changing(unit: Unit, name: str) -> list[int]:
    """Lines of the text that look like a change of the name; a quick first look over the whole text, done once."""
    known = _candidates.get(unit)
    if known is None:
        known = {}
        for pattern in (_CHANGE, _DEFAULT):
            for match in pattern.finditer(unit.text):
                known.setdefault(match[1], []).append(unit.line_at(match.start(1)))
        for match in _GLOBAL.finditer(unit.text):
            for declared in match[1].split(","):
                known.setdefault(declared.strip(), []).append(unit.line_at(match.start()))
        _candidates[unit] = known  # not before it is whole: other threads look here
    return known.get(name, [])


def _changes_by_default(statement: Statement, name: str) -> bool:
    """Whether it is a function that changes a parameter whose default is the name."""
    node = statement.node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    positional = [*node.args.posonlyargs, *node.args.args]
    pairs = [*zip(reversed(positional), reversed(node.args.defaults), strict=False)]
    pairs += [(a, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is not None]
    given = {argument.arg for argument, default in pairs if isinstance(default, ast.Name) and default.id == name}
    return bool(given) and not given.isdisjoint(statement.analysis.changed_locals)


def _stores(function: ast.FunctionDef) -> bool:
    """Whether a hook puts something into a container that outlives the call: not into a parameter beyond the class."""
    passing = {argument.arg for argument in all_arguments(function.args)[1:]}
    for node in ast.walk(function):
        container: ast.AST | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            container = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            container = node.func.value if node.func.attr in _COLLECTING_METHODS else None
        root = chain_of(container)[0] if container is not None else None
        if container is not None and not (isinstance(root, ast.Name) and root.id in passing):
            return True
    return False


def _last_part(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def runs_programs(space: Space, statement: Statement) -> bool:
    """Whether a bare call (`main()`) would run programs: it drives them, they do not rest on it."""
    if not isinstance(statement.node, ast.Expr):
        return False
    for name in statement.applies:
        for position in space.index.bindings(name):
            called = space.index.statements[position].analysis.called_later
            if any(getattr(space.live(n), "__ell_program__", None) for n in called):
                return True
    return False
