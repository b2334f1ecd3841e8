"""The module-level statements of a module by what they bind and change: which of them a name of the module rests on.

An `Index` lists the statements of one module (for a notebook: of all its cells, oldest first).
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from typing import Any

from ell_otel.closure.remembered import remembered
from ell_otel.closure.source import Unit
from ell_otel.closure.statements import Statement


class Index:
    """The statements of one module by what they bind and change; positions are indexes into `statements`."""

    def __init__(self, statements: list[Statement], future_annotations: bool) -> None:
        self.statements = statements
        self.future_annotations = future_annotations
        self.units = tuple(dict.fromkeys(statement.unit for statement in statements))
        self.binders: dict[str, list[int]] = {}
        self.changers: dict[str, list[int]] = {}
        self.appliers: dict[str, list[int]] = {}
        self.passers: dict[str, list[tuple[int, tuple[str, ...]]]] = {}  # with the function the name is passed to
        self.acts: dict[str, list[tuple[int, tuple[str, ...]]]] = {}  # methods called for no value, with their names
        self.aliases: dict[str, list[tuple[int, str]]] = {}  # `alias = name`, `alias = name["part"]`
        self.calling: list[int] = []  # statements that call a function for no value
        self.stars: list[tuple[int, ast.ImportFrom]] = []
        for position, statement in enumerate(statements):
            for name in statement.binds:
                self.binders.setdefault(name, []).append(position)
            if not statement.is_plain:
                self._note(position, statement)

    def _note(self, position: int, statement: Statement) -> None:
        """What a statement does besides binding names."""
        for name, alias in statement.aliases:
            self.aliases.setdefault(name, []).append((position, alias))
        for name in statement.changes:
            self.changers.setdefault(name, []).append(position)
        if statement.calls and not statement.guarded:
            self.calling.append(position)
        if statement.guarded and not statement.binds:
            return
        for name in statement.applies:
            self.appliers.setdefault(name, []).append(position)
        if statement.is_act:
            for path in statement.calls:
                self.acts.setdefault(path[0], []).append((position, path))
        for name, function in statement.passes:
            self.passers.setdefault(name, []).append((position, function))
        self.stars += [(position, node) for node in statement.star_imports]

    @remembered
    def reaching_out(self) -> tuple[int, ...]:
        """Positions of statements that may change what another module binds: they change or call an imported name."""
        if not self.changers and not self.calling:
            return ()
        imported = {n for n, places in self.binders.items() if any(self.statements[p].is_import for p in places)}
        found = {p for name, places in self.changers.items() if name in imported or self.stars for p in places}
        for position in self.calling:
            if any(path[0] in imported or self.stars for path in self.statements[position].calls):
                found.add(position)
        return tuple(sorted(found))

    @remembered
    def importers(self) -> frozenset[str]:
        """Other names that `importlib.import_module` is imported under."""
        nodes = (s.node for s in self.statements if isinstance(s.node, ast.ImportFrom) and s.node.module == "importlib")
        aliases = (alias for node in nodes for alias in node.names if alias.name == "import_module")
        return frozenset(alias.asname for alias in aliases if alias.asname)

    @remembered
    def rebound(self) -> dict[str, int]:
        """Names bound anew after something else was bound to them, with the position that settles each."""
        several = {name: self.bindings(name) for name, positions in self.binders.items() if len(positions) > 1}
        return {name: found[0] for name, found in several.items() if found[0] > self.binders[name][0]}

    def bindings(self, name: str, before: int | None = None) -> list[int]:
        """Positions of the statements that together give `name` its value, in order.

        Backwards from the end (or from `before`) to the last statement that settles it, then every later change.
        """
        positions = self.binders.get(name, [])
        if len(positions) < 2 and name not in self.changers and name not in self.aliases:
            return positions
        earlier = [p for p in positions if before is None or p < before] or positions
        found: list[int] = []
        for position in reversed(earlier):
            found.append(position)
            if self.statements[position].settles:
                break
        if found:
            found += self._changes_since(found[-1], name)
        return sorted(set(found))

    def _changes_since(self, settled: int, name: str) -> list[int]:
        """Later statements that change the name's object, under this name or under another one given to it."""
        found: set[int] = set()
        path: Any = None
        todo: list[tuple[str, int, int, Any]] = [(name, settled, len(self.statements), path)]
        seen = {name}
        while todo:
            known, since, until, path = todo.pop()
            changes = {position for position in self.changers.get(known, ()) if since < position < until}
            found |= changes
            for position, alias in self.aliases.get(known, ()):
                if since <= position < until and alias not in seen:
                    seen.add(alias)
                    rebound = (p for p in self.binders[alias] if p > position and self.statements[p].settles)
                    todo.append((alias, position, next(rebound, len(self.statements)), (position, path)))
            while changes and path is not None:  # the statements by which the name got the one that is changed
                position, path = path
                found.add(position)
        return list(found)

    def statement_at(self, filename: str, line: int) -> int | None:
        """The position of the statement of that file that covers the line."""
        lines, positions = self._lines.get(filename, ([], []))
        place = bisect_right(lines, line) - 1
        if place >= 0 and line <= self.statements[positions[place]].last_line:
            return positions[place]
        return None

    @remembered
    def _lines(self) -> dict[str, tuple[list[int], list[int]]]:
        """By file: the first lines of its statements, ascending, and their positions."""
        found: dict[str, tuple[list[int], list[int]]] = {}
        for position, statement in enumerate(self.statements):
            lines, positions = found.setdefault(statement.unit.filename, ([], []))
            lines.append(statement.first_line)
            positions.append(position)
        return found


def index_of(unit: Unit, as_script: bool = False) -> Index:
    """The index of a module that is one unit, made once; `as_script` when it ran as `__main__`."""
    if as_script not in unit.indexes:
        unit.indexes[as_script] = Index(_statements_of(unit, as_script), _has_future(unit))
    index: Index = unit.indexes[as_script]
    return index


def index_of_cells(units: list[Unit]) -> Index:
    """The index of a module whose text came in several units."""
    statements = [statement for unit in units for statement in index_of(unit, True).statements]
    return Index(statements, any(_has_future(unit) for unit in units))


def _statements_of(unit: Unit, as_script: bool) -> list[Statement]:
    """The top-level statements; of a script, those under its guard among them as if they stood at top level."""
    found: list[Statement] = []
    for node in unit.tree.body:
        if isinstance(node, ast.If) and not node.orelse and _is_script_guard(node.test):
            found += [Statement(unit, inner, guarded=True) for inner in node.body if as_script]
        elif not (isinstance(node, ast.If) and _last(node.test) == "TYPE_CHECKING" and not node.orelse):
            found.append(Statement(unit, node))
    return found


def _is_script_guard(test: ast.expr) -> bool:
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return False
    sides = [test.left, test.comparators[0]]
    return any(isinstance(s, ast.Name) and s.id == "__name__" for s in sides) and any(
        isinstance(s, ast.Constant) and s.value == "__main__" for s in sides
    )


def _has_future(unit: Unit) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in unit.tree.body
    )


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
