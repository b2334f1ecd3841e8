"""One module-level statement: what it binds, changes, calls and hands itself to.

A `Statement` is the grain of a closure: it is kept whole or not at all. Deep analysis (`Statement.analysis`) is done
only for statements that a closure asks about, once per process.
"""

from __future__ import annotations

import ast
import itertools
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

    def decorates_by(self, name: str) -> bool:
        """Whether it changes the name's object only in that its decorators are methods of it."""
        return self.is_definition and name not in self.binds

    @remembered
    def changed_nodes(self) -> frozenset[int]:
        """The ids of the names whose objects it changes there, its decorators' among them."""
        return frozenset(id(r.node) for r in self.analysis.references if r.use == "change" and r.eager)

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


def reads_of(analysis: Analysis, future_annotations: bool) -> list[Reference]:
    """References that need something to be there; annotations count as deferred where they are not evaluated."""
    found = []
    for reference in analysis.references:
        if reference.use in ("read", "change"):
            if reference.annotation and future_annotations:
                reference.eager = False
            found.append(reference)
    return found
