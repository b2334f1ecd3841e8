"""The scopes of one statement, and which of them a name belongs to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from ell_otel.closure.references import (
    Analysis,
    LocalImport,
    Reference,
    all_arguments,
    chain_of,
    defaults_of,
    last_name,
    private,
    reads_around,
)


@dataclass(slots=True, eq=False)
class Scope:
    """One scope, and the names that occur in it."""

    kind: str  # module, function, class, comprehension, type
    parent: Scope | None
    eager: bool
    bound: set[str] = field(default_factory=set)
    global_names: set[str] = field(default_factory=set)
    outer_names: set[str] = field(default_factory=set)
    references: list[Reference] = field(default_factory=list)
    imported: dict[str, LocalImport] = field(default_factory=dict)
    body: list[ast.stmt] = field(default_factory=list)
    annotation: bool = False
    class_name: str = ""  # of the class around it, for names private to that
    parts: dict[str, list[tuple[ast.Name, tuple[str, ...]]]] = field(default_factory=dict)  # of what a name is a part
    seconds: dict[str, list[ast.Name]] = field(default_factory=dict)  # second names, with those they are given for
    defaults: set[str] = field(default_factory=set)  # parameters among them

    def takes(self, arguments: ast.arguments) -> None:
        """Parameters are bound from the start, perhaps to what a name outside means."""
        self.bound.update(private(argument.arg, self.class_name) for argument in all_arguments(arguments))
        for argument, default in defaults_of(arguments) if arguments.defaults or arguments.kw_defaults else ():
            if self.second_name(argument.arg, default):
                self.defaults.add(argument.arg)

    def gives(self, value: ast.expr, *targets: ast.expr) -> None:
        """Names are bound to an object that other names lead to, or to parts of it."""
        for target, wholes in [(target, self._parts_of(part)) for target, part in _one_by_one(value, targets)]:
            for name in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                if isinstance(name, ast.Name):
                    self.parts[name.id] = wholes

    def _parts_of(self, value: ast.expr) -> list[tuple[ast.Name, tuple[str, ...]]]:
        wholes = [(root, chain) for root, chain in _wholes(value) if isinstance(root, ast.Name)]
        return wholes + [whole for root, _ in wholes for whole in self.parts.get(root.id, ())]

    def second_name(self, name: str, value: ast.expr) -> bool:
        """Whether a name is given to what another one means, or to an attribute of it (`p = shop.prompts`)."""
        while isinstance(value, ast.Attribute):
            value = value.value
        if isinstance(value, ast.Name):
            self.seconds.setdefault(name, []).append(value)
        return isinstance(value, ast.Name)


def _one_by_one(value: ast.expr, targets: tuple[ast.expr, ...]) -> list[tuple[ast.expr, ast.expr]]:
    """What is given to what: of `a, b = c, d` its parts."""
    found: list[tuple[ast.expr, ast.expr]] = []
    for target in targets:
        both = (target, value)
        several = [each.elts for each in both if isinstance(each, ast.Tuple) and not _has_star(each)]
        if len(several) == 2 and len(several[0]) == len(several[1]):
            found += zip(*several, strict=True)
        else:
            found.append(both)
    return found


def _has_star(value: ast.Tuple) -> bool:
    return any(isinstance(part, ast.Starred) for part in value.elts)


def _wholes(value: ast.expr) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """The names whose objects, or parts of them, an expression hands on, each with its attributes."""
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Tuple, ast.List)):
            todo += node.elts
        elif isinstance(node, ast.Call) and last_name(node.func) in _HANDING_ON:
            todo += [node.func.value] if isinstance(node.func, ast.Attribute) else node.args
        else:
            yield chain_of(node)


_HANDING_ON = frozenset({"items", "values", "get", "enumerate", "zip", "reversed", "sorted", "list", "tuple", "iter"})


class Scopes:
    """The scopes as they are found on the way down; `settle` is the one pass up."""

    def __init__(self) -> None:
        self.out = Analysis()
        self.scopes: list[Scope] = [Scope("module", None, True)]

    def inner(self, kind: str, parent: Scope, eager: bool | None = None) -> Scope:
        """A new scope inside another one."""
        scope = Scope(kind, parent, parent.eager if eager is None else eager, class_name=parent.class_name)
        self.scopes.append(scope)
        return scope

    def refer(self, scope: Scope, name: str, node: ast.AST, use: str, chain: tuple[str, ...] = ()) -> None:
        """Note that a name occurs in a scope."""
        name = private(name, scope.class_name)
        if use == "write":
            scope.bound.add(name)
        scope.references.append(Reference(name, node, chain, use, scope.eager, scope.annotation))

    def settle(self) -> Analysis:
        """Give each reference to the scope that binds its name; what reaches the module is the result."""
        for scope in reversed(self.scopes):
            if scope.parent is None:
                self.out.references = scope.references
                continue
            self.out.local_names |= scope.bound
            self._settle_one(scope, scope.parent)
        return self.out

    def _settle_one(self, scope: Scope, parent: Scope) -> None:
        module = self.scopes[0]
        outer = parent
        while outer.kind == "class" and scope.kind != "type" and outer.parent is not None:
            outer = outer.parent
        if scope.seconds:
            self._read_through(scope)
        for reference in scope.references:
            name = reference.name
            if name == "__class__" and outer is not parent:
                continue  # the class around the method
            if name in scope.global_names:
                module.references.append(reference)
            elif name in scope.outer_names or name not in scope.bound or _is_around(reference, scope):
                outer.references.append(reference)
            elif name in scope.imported and reference.use == "read":
                scope.imported[name].chains.append(reference.chain)
            elif reference.use == "change":
                self.out.changed_locals.add(name)

    def _read_through(self, scope: Scope) -> None:
        """The attributes read through second names, where nothing else is done with those."""
        for name, meant in scope.seconds.items():
            uses = [reference for reference in scope.references if reference.name == name]
            reads = [reference.chain for reference in uses if reference.use == "read"]
            writes = [reference for reference in uses if reference.use == "write"]
            assigned = len(meant) - (name in scope.defaults)
            if reads and all(reads) and len(writes) == assigned and len(reads) + len(writes) == len(uses):
                self.out.read_through.update((id(root), reads) for root in meant)


def _is_around(reference: Reference, scope: Scope) -> bool:
    """Whether a name that a class body binds is the one outside of it nevertheless, at this place."""
    if scope.kind != "class" or reference.use == "write":
        return False
    writes = [found for found in scope.references if found.use == "write" and found.name == reference.name]
    return bool(writes) and reads_around(reference, writes, scope.body)
