"""Statements that change a name without naming it: decorators that register, base classes that collect subclasses.

`@register def f` changes `REGISTRY` when `register` does so in its body. Such statements belong to a closure that uses
`REGISTRY`, although neither names the other.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from ell_otel.closure.dependencies import Statement
from ell_otel.closure.source import Unit
from ell_otel.closure.spaces import MISSING, Space

# Where a text may change an object through its name: `name[...] = `, `name.append(`, `del name[`, `global name`.
_CHANGE = re.compile(
    r"(?<![\w.])(\w+)(?:\.\w+|\[[^\]\n]*\])*?(?:\.(?:append|extend|insert|update|setdefault|pop|remove|discard|clear"
    r"|sort|reverse|push|add\w*|set_\w*|register\w*)\s*\(|(?:\[[^\]\n]*\]|\.\w+)\s*(?:[-+*/|&^%@]|//|\*\*|<<|>>)?=(?!=))"
)
_GLOBAL = re.compile(r"\bglobal\s+([\w ,\t]+)")
_candidates: WeakKeyDictionary[Unit, dict[str, list[int]]] = WeakKeyDictionary()


def appliers_of(space: Space, name: str) -> list[int]:
    """Positions of statements that, while executing, hand themselves to something that changes the name's object."""
    index = space.index
    through = {n for position in _writers(space, name) for n in index.statements[position].binds}
    through |= {name} if _collects_subclasses(space, name) else set()
    positions: set[int] = set()
    while through:
        for position in index.appliers.get(through.pop(), ()):
            if position not in positions and not runs_programs(space, index.statements[position]):
                positions.add(position)
                if isinstance(index.statements[position].node, ast.ClassDef):  # its subclasses are made the same way
                    through |= index.statements[position].binds
    return sorted(positions)


def passed_on(space: Space, name: str) -> list[int]:
    """Positions of `function(name)` statements whose function changes what it is given."""
    found = []
    for position, function in space.index.passers.get(name, ()):
        for binder in space.index.bindings(function):
            if space.index.statements[binder].analysis.changed_locals:
                found.append(position)
    return found


def registered_in(space: Space, name: str) -> Iterator[Any]:
    """Functions and classes that other modules put into the name's object through a function of this module."""
    live = space.live(name)
    if live is MISSING:
        return
    if isinstance(live, type) and _collects_subclasses(space, name):
        yield from live.__subclasses__()
    elif isinstance(getattr(live, "registry", None), types.MappingProxyType):  # a `functools.singledispatch` function
        found = (function for function in list(live.registry.values()) if callable(function))
        yield from (f for f in found if getattr(f, "__globals__", space.namespace) is not space.namespace)
    elif isinstance(live, (dict, list, set, tuple)) and len(live) <= 1000 and _writers(space, name):
        for value in list(live.values() if isinstance(live, dict) else live):
            members = value if isinstance(value, (tuple, list)) else (value,)
            yield from (member for member in members if callable(member))


def _writers(space: Space, name: str) -> list[int]:
    """Positions of definitions whose functions bind or change the name when called."""
    found = []
    for unit in space.index.units:
        for line in _lines_changing(unit, name):
            position = space.index.statement_at(unit.filename, line)
            if position is not None and name in space.index.statements[position].later_writes:
                found.append(position)
    return sorted(set(found))


def _lines_changing(unit: Unit, name: str) -> list[int]:
    """Lines of the text that look like a change of the name; a quick first look over the whole text, done once."""
    known = _candidates.get(unit)
    if known is None:
        known = _candidates[unit] = {}
        for match in _CHANGE.finditer(unit.text):
            known.setdefault(match[1], []).append(unit.line_at(match.start()))
        for match in _GLOBAL.finditer(unit.text):
            for declared in match[1].split(","):
                known.setdefault(declared.strip(), []).append(unit.line_at(match.start()))
    return known.get(name, [])


def _collects_subclasses(space: Space, name: str) -> bool:
    """Whether the name is a class whose `__init_subclass__` stores something."""
    for position in space.index.bindings(name):
        node = space.index.statements[position].node
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name == "__init_subclass__":
                    return any(_stores(part) for part in ast.walk(member))
    return False


def _stores(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        return isinstance(node.ctx, ast.Store)
    method = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
    return method in ("append", "add", "update", "setdefault", "register", "insert")


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
