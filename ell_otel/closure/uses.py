"""What a statement does with names: reads, writes, changes, calls and imports, each given to the scope it stands in."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ell_otel.closure.references import (
    CHANGING_FUNCTIONS,
    READING_CALLS,
    ImportCall,
    Reference,
    chain_of,
    changes_its_object,
    child_fields,
    import_call,
    last_name,
    loaded_module,
    named_attribute,
    names_filled_in,
    private,
    reads_file,
)
from ell_otel.closure.settling import Scope, Scopes


class Uses(Scopes):
    """The nodes still to be visited, each with its scope, and what is noted of those that use names."""

    def __init__(self) -> None:
        super().__init__()
        self.todo: list[tuple[ast.AST, Scope]] = []
        self.formatted_parts: set[int] = set()
        self.guarded: set[int] = set()
        self.called_chains: dict[int, tuple[str, ...]] = {}  # attributes read from what a call gives

    def below(self, node: ast.AST, scope: Scope) -> None:
        """Visit what a node consists of next."""
        todo = self.todo
        for name in child_fields(node):
            value = getattr(node, name, None)
            if type(value) is list:
                for item in reversed(value):
                    if isinstance(item, ast.AST):
                        todo.append((item, scope))
            elif isinstance(value, ast.AST):
                todo.append((value, scope))

    def later(self, nodes: Iterable[ast.AST | None], scope: Scope) -> None:
        """Visit the nodes next, in their order."""
        for node in reversed(list(nodes)):
            if node is not None:
                self.todo.append((node, scope))

    # -- names and attributes

    def name(self, node: ast.Name, scope: Scope) -> None:
        if isinstance(node.ctx, ast.Load):
            self.refer(scope, node.id, node, "read")
            if id(node) in self.guarded:
                scope.references[-1].doubtful = True
        else:
            self.refer(scope, node.id, node, "write")

    def attribute(self, node: ast.Attribute, scope: Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(node, scope)
        chain: tuple[str, ...] = (node.attr,)
        root = node.value
        while isinstance(root, ast.Attribute):
            chain, root = (root.attr, *chain), root.value
        if isinstance(root, ast.Name):
            self.refer(scope, root.id, root, "read", chain)
        else:
            self.called_chains[id(root)] = chain
            self.later([root], scope)

    def subscript(self, node: ast.Subscript, scope: Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(node, scope)
        if scope.annotation and last_name(node.value) == "Literal":
            self.later([node.value], scope)
        elif scope.annotation and last_name(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
            self.later([node.value, node.slice.elts[0]], scope)
            self.later(node.slice.elts[1:], scope.parent or scope)
        else:
            self._by_string(node.value, node.slice, type(node.ctx) is ast.Load, scope)
            self._imports(loaded_module(node, self.called_chains.get(id(node), ()), scope.eager))
            self.later([node.value, node.slice], scope)

    def _by_string(self, namespace: ast.AST, key: ast.AST, loads: bool, scope: Scope, doubtful: bool = False) -> None:
        """`globals()["NAME"]` is the module's name, wherever it stands."""
        called = isinstance(namespace, ast.Call) and isinstance(namespace.func, ast.Name) and namespace.func.id
        if called == "globals" and isinstance(key, ast.Constant) and isinstance(key.value, str):
            use = "read" if loads else "write"
            self.scopes[0].references.append(Reference(key.value, key, (), use, scope.eager, False, doubtful))

    def call(self, node: ast.Call, scope: Scope) -> None:
        function = node.func
        if isinstance(function, ast.Attribute):
            if changes_its_object(function.attr):
                self._change(function.value, scope)
            self._filled_in(node, scope)
            if function.attr in ("get", "setdefault") and node.args:
                self._by_string(function.value, node.args[0], True, scope, doubtful=True)
        called = last_name(function)
        if called in CHANGING_FUNCTIONS and node.args and not scope.eager:
            self._change(node.args[0], scope)
        if isinstance(function, ast.Name):
            (self.out.called if scope.eager else self.out.called_later).add(function.id)
        elif isinstance(function, ast.Attribute):
            root, chain = chain_of(function)
            if isinstance(root, ast.Name):
                (self.out.called if scope.eager else self.out.called_later).add(".".join((root.id, *chain)))
        self._reads_file(node, called, scope)
        self._imports(import_call(node, self.called_chains.get(id(node), ()), scope.eager))
        named = named_attribute(node)
        if named is not None:
            self.refer(scope, named[0].id, named[0], "read", named[1])
            self.later([function], scope)
        else:
            self.below(node, scope)

    def _reads_file(self, node: ast.Call, called: str, scope: Scope) -> None:
        if (called in READING_CALLS or called == "map") and reads_file(node):
            self.out.reading += [node] if scope.eager else []
            self.out.reads_file_when_called |= not scope.eager
        if called == "map" and node.args and isinstance(node.args[0], ast.Name):
            self.out.mapped.add(node.args[0].id)

    def condition(self, node: ast.If, scope: Scope) -> None:
        """What only a type checker reads is not executed."""
        body = [] if last_name(node.test) == "TYPE_CHECKING" else node.body
        self.later([node.test, *body, *node.orelse], scope)

    def attempt(self, node: ast.Try, scope: Scope) -> None:
        """Names that need not be there: who uses them catches the NameError."""
        if any(handler.type is not None and last_name(handler.type) == "NameError" for handler in node.handlers):
            self.guarded.update(id(part) for statement in node.body for part in ast.walk(statement))
        self.below(node, scope)

    def operation(self, node: ast.BinOp, scope: Scope) -> None:
        if isinstance(node.op, ast.Mod):
            self._filled_in(node, scope)
        self.below(node, scope)

    def _filled_in(self, node: ast.AST, scope: Scope) -> None:
        text, names = names_filled_in(node) or (node, [])
        for name in names:
            self.scopes[0].references.append(Reference(name, text, (), "read", scope.eager, False, True))

    def _imports(self, call: ImportCall | None) -> None:
        self.out.import_calls += [call] if call is not None else []

    def statement_expression(self, node: ast.Expr, scope: Scope) -> None:
        """A function called for no value may be there for what it does to its arguments (`fill(PROMPTS)`).

        And a method for what it does to its object.
        """
        call = node.value
        root, chain = chain_of(call.func) if isinstance(call, ast.Call) else (node, ())
        if isinstance(call, ast.Call) and isinstance(root, ast.Name) and scope.kind == "module":
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            for argument in given[:1] if last_name(call.func) in CHANGING_FUNCTIONS else given:
                if isinstance(argument, ast.Name):
                    self.refer(scope, argument.id, argument, "pass", (root.id, *chain))
            if chain:
                self.refer(scope, root.id, root, "act", chain)
        self.later([node.value], scope)

    def _change(self, expression: ast.AST, scope: Scope) -> None:
        root, chain = chain_of(expression)
        if isinstance(root, ast.Name):
            self.refer(scope, root.id, root, "change", chain)
            for whole, path in scope.parts.get(root.id, ()):
                self.refer(scope, whole.id, whole, "change", path)

    def assignment(self, node: ast.Assign, scope: Scope) -> None:
        """In a function, what is changed through `part = TABLE["a"]` is changed of the table."""
        if scope.kind != "module":
            scope.gives(node.value, *node.targets)
            if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                scope.second_name(node.targets[0].id, node.value)
        self.later([*node.targets, node.value], scope)

    def loop(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        """What is changed through a loop's variable is changed of what the loop goes through."""
        scope.gives(node.iter, node.target)
        self.later([node.target, node.iter, *node.body, *node.orelse], scope)

    def augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        if isinstance(node.target, ast.Name):
            self.refer(scope, node.target.id, ast.copy_location(ast.Name(node.target.id), node.target), "read")
        self.later([node.target, node.value], scope)

    def declaration(self, node: ast.Global | ast.Nonlocal, scope: Scope) -> None:
        target = scope.global_names if isinstance(node, ast.Global) else scope.outer_names
        names = [private(name, scope.class_name) for name in node.names]
        target.update(names)
        for name in names:
            scope.references.append(Reference(name, node, (), "declare", scope.eager))
