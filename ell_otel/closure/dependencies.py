"""The module-level statements of a module, what each binds, and which statements a name of the module rests on.

A `Statement` is the grain of a closure: it is kept whole or not at all. An `Index` lists the statements of one module
(for a notebook: of all its cells, oldest first). Deep analysis (`Statement.analysis`) is done only for statements that
a closure asks about, once per process.
"""

from __future__ import annotations

import ast
import itertools
from bisect import bisect_right
from typing import Any

from ell_otel.closure.references import Analysis, Reference, chain_of, changes_its_object
from ell_otel.closure.remembered import remembered
from ell_otel.closure.scopes import analyse
from ell_otel.closure.source import Unit

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


class Statement:
    """One module-level statement. `guarded` ones stood in the body of `if __name__ == "__main__":`."""

    def __init__(self, unit: Unit, node: ast.stmt, guarded: bool = False) -> None:
        self.unit = unit
        self.node = node
        self.guarded = guarded
        self.form: Any = None  # its canonical form, once `assembly` has made it
        self.made_up = False  # `lambda_ = <lambda>`: only the value stands in the text
        kind = type(node)
        self.is_definition = kind in _DEFINITIONS
        self.is_plain = kind in _FUNCTIONS and not node.decorator_list  # type: ignore[attr-defined]  # only binds a name
        self.is_import = kind in _IMPORTS  # a plain one, rebuilt alias by alias rather than kept as it stands

    @remembered
    def analysis(self) -> Analysis:
        return analyse(self.node)

    @remembered
    def first_line(self) -> int:
        decorators = getattr(self.node, "decorator_list", None)
        return int(decorators[0].lineno if decorators else self.node.lineno)

    @property
    def last_line(self) -> int:
        return self.node.end_lineno or self.node.lineno

    @property
    def is_branching(self) -> bool:
        """Whether parts of it may never be executed."""
        return isinstance(self.node, (ast.If, ast.Try, ast.TryStar, ast.Match, ast.For, ast.While))

    @remembered
    def settles(self) -> bool:
        """Whether it binds its names whatever happened before: no augmented assignment, no branch, no `del`."""
        node = self.node
        return self.is_definition or self.is_import or isinstance(node, (ast.Assign, ast.AnnAssign, ast.With))

    @remembered
    def binds(self) -> frozenset[str]:
        """The module's names it binds, deletes or augments."""
        node = self.node
        if isinstance(node, _DEFINITIONS):
            return frozenset((node.name,))
        if isinstance(node, ast.Import):
            return frozenset(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            return frozenset(alias.asname or alias.name for alias in node.names if alias.name != "*")
        if isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            if not self.unit.has_walrus:
                return frozenset(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, (ast.Expr, ast.Pass)) and not self.unit.has_walrus:
            return frozenset()
        return frozenset(self.analysis.names("write", eager=True))

    @remembered
    def aliases(self) -> list[tuple[str, str]]:
        """The names whose object, or a part of it, it gives another name; with that name."""
        node = self.node
        if not isinstance(node, ast.Assign):
            return []
        targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
        found = list(itertools.permutations(targets, 2)) if len(targets) > 1 else []  # `A = B = []`
        root = chain_of(node.value)[0]
        return found + [(root.id, target) for target in targets] if isinstance(root, ast.Name) else found

    @remembered
    def changes(self) -> frozenset[str]:
        """The module's names whose objects it changes while it executes."""
        node = self.node
        if isinstance(node, _IMPORTS) or (isinstance(node, _DEFINITIONS) and not node.decorator_list):
            return frozenset()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return frozenset()
        if isinstance(node, _DEFINITIONS):
            return frozenset(_decorator_objects(node))
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and not _may_change(node):
            return frozenset()
        return frozenset(self.analysis.names("change", eager=True))

    @remembered
    def applies(self) -> frozenset[str]:
        """Names it hands itself or something else to while it executes: decorators, base classes, functions called."""
        return frozenset(path[0] for path in (*self.calls, *self._bases))

    @remembered
    def calls(self) -> frozenset[tuple[str, ...]]:
        """The dotted names of the functions it calls while it executes; of a definition, those of its decorators."""
        node = self.node
        if isinstance(node, _DEFINITIONS):
            found = {path for decorator in node.decorator_list if (path := _path_of(decorator))}
            values = (part.value for part in node.body if isinstance(part, (ast.Assign, ast.AnnAssign)))
            return frozenset(found.union(*map(_called_in, values)) if isinstance(node, ast.ClassDef) else found)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)):
            return frozenset(_called_in(node.value))
        return frozenset() if self.is_import else frozenset(tuple(name.split(".")) for name in self.analysis.called)

    @property
    def is_act(self) -> bool:
        """Whether it calls a method for no value (`box.fill(1)`)."""
        return self._is_call and isinstance(self.node.value.func, ast.Attribute)  # type: ignore[attr-defined]

    @property
    def _bases(self) -> list[tuple[str, ...]]:
        """The dotted names of the classes it inherits from, and of what its keywords (`metaclass=`) give."""
        expressions = [*getattr(self.node, "bases", ())]
        if isinstance(self.node, ast.ClassDef):
            expressions += [keyword.value for keyword in self.node.keywords]
        return [path for expression in expressions if (path := _path_of(expression))]

    @property
    def _is_call(self) -> bool:
        return isinstance(self.node, ast.Expr) and isinstance(self.node.value, ast.Call)

    @remembered
    def alias_root(self) -> ast.AST | None:
        """Where the value of `p = shop.prompts` begins: the statement may give a module a second name."""
        node = self.node
        if isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            root = chain_of(node.value)[0]
            if isinstance(root, ast.Name) or any(call.node is root for call in self.analysis.import_calls):
                return root
        return None

    @property
    def alias_chain(self) -> tuple[str, ...]:
        """The attributes that lead from there to the module."""
        return chain_of(self.node.value)[1] if isinstance(self.node, ast.Assign) else ()

    @remembered
    def passes(self) -> frozenset[tuple[str, tuple[str, ...]]]:
        """Names it passes to a function called for no value, each with the function's name and attributes."""
        if not (self._is_call or self.is_branching or isinstance(self.node, ast.With)):
            return frozenset()
        return frozenset((r.name, r.chain) for r in self.analysis.references if r.use == "pass")

    @property
    def star_imports(self) -> list[ast.ImportFrom]:
        """The `from … import *` it is, or has in its branches."""
        if not self.unit.has_star_import or not (self.is_import or self.is_branching):
            return []
        nodes = [self.node] if self.is_import else list(ast.walk(self.node))
        return [node for node in nodes if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]

    @remembered
    def later_writes(self) -> frozenset[str]:
        """The module's names that functions in it bind or change when called."""
        uses = {"write", "change"}
        return frozenset(r.name for r in self.analysis.references if r.use in uses and not r.eager)


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


def _decorator_objects(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[str]:
    """Roots of decorators that are methods (`@render.register(int)`): the object is changed by it."""
    found = []
    for decorator in node.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        root, chain = chain_of(function)
        if chain and isinstance(root, ast.Name):
            found.append(root.id)
    return found


def _path_of(expression: ast.AST) -> tuple[str, ...]:
    """The dotted name an expression begins with: `lib.tool` of `lib.tool("name")(function)`; empty without one."""
    root, chain = chain_of(expression)
    while isinstance(root, ast.Call):
        root, chain = chain_of(root.func)
    return (root.id, *chain) if isinstance(root, ast.Name) else ()


def _called_in(value: ast.expr | None) -> set[tuple[str, ...]]:
    """The dotted names of the functions an expression calls while it is evaluated."""
    found: set[tuple[str, ...]] = set()
    todo: list[ast.AST] = [value] if value is not None else []
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Call) and (path := _path_of(node)):
            found.add(path)
        if not isinstance(node, (ast.Constant, ast.Name, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    return found


def _may_change(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if not all(isinstance(target, ast.Name) for target in targets):
        return True
    value = node.value
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and changes_its_object(value.func.attr)


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def reads_of(analysis: Analysis, future_annotations: bool) -> list[Reference]:
    """References that need something to be there; annotations count as deferred where they are not evaluated."""
    found = []
    for reference in analysis.references:
        if reference.use in ("read", "change"):
            if reference.annotation and future_annotations:
                reference.eager = False
            found.append(reference)
    return found
