"""Which names of a statement belong to the module around it, where they stand, and when they are read.

`analyse(statement)` walks one module-level statement once, without recursion, and follows Python's scoping rules. The
standard `symtable` says the same (the tests hold the two against each other), but it gives names without positions,
splices inlined comprehensions away from CPython 3.12 on, and knows nothing of attribute chains; renaming and module
attributes need all three.

"Eager" means while the statement itself executes: module level, class bodies, decorators, defaults, comprehensions.
What stands in a function body is "deferred".
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from ell_otel.closure.references import (
    Analysis,
    LocalImport,
    Reference,
    all_arguments,
    names_in,
    nodes_in,
)
from ell_otel.closure.settling import Scope
from ell_otel.closure.uses import Uses


def analyse(statement: ast.AST) -> Analysis:
    """The analysis of a statement, taken as standing at module level."""
    walk = _Walk()
    walk.run(statement)
    return walk.settle()


class _Walk(Uses):
    """One pass down the tree with an explicit stack, then one pass up the scopes."""

    def run(self, statement: ast.AST) -> None:
        self.todo.append((statement, self.scopes[0]))
        todo, handlers = self.todo, _HANDLERS
        while todo:
            node, scope = todo.pop()
            handler = handlers.get(type(node))
            if handler is not None:
                handler(self, node, scope)
            else:
                self.below(node, scope)

    # -- scopes

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        self.refer(scope, node.name, node, "write")
        self._decorators(node.decorator_list, scope)
        outside = self._type_parameters(node, scope)
        self._arguments(node.args, scope, outside)
        self.annotation(node.returns, outside)
        inside = self.inner("function", outside, eager=False)
        inside.takes(node.args)
        self.later(node.body, inside)

    def lambda_(self, node: ast.Lambda, scope: Scope) -> None:
        self._arguments(node.args, scope, scope)
        inside = self.inner("function", scope, eager=False)
        inside.takes(node.args)
        self.later([node.body], inside)

    def class_(self, node: ast.ClassDef, scope: Scope) -> None:
        self.refer(scope, node.name, node, "write")
        self._decorators(node.decorator_list, scope)
        outside = self._type_parameters(node, scope)
        self.later([*node.bases, *node.keywords], outside)
        inside = self.inner("class", outside)
        inside.bound.update(("__module__", "__qualname__", "__class__"))
        inside.body = node.body
        inside.class_name = node.name.lstrip("_")
        self.later(node.body, inside)

    def _decorators(self, decorators: list[ast.expr], scope: Scope) -> None:
        for decorator in decorators:
            function = decorator.func if isinstance(decorator, ast.Call) else decorator
            if scope.eager and isinstance(function, ast.Attribute):
                self._change(function.value, scope)
        self.later(decorators, scope)

    def _type_parameters(self, node: ast.AST, scope: Scope) -> Scope:
        parameters = getattr(node, "type_params", None)
        if not parameters:
            return scope
        inside = self.inner("type", scope)
        inside.bound.update(parameter.name for parameter in parameters)
        for parameter in parameters:
            self.below(parameter, inside)
        return inside

    def type_alias(self, node: ast.AST, scope: Scope) -> None:
        self.later([node.name], scope)  # type: ignore[attr-defined]
        inside = self.inner("type", self._type_parameters(node, scope), eager=False)
        self.later([node.value], inside)  # type: ignore[attr-defined]

    def _arguments(self, arguments: ast.arguments, scope: Scope, annotations: Scope) -> None:
        self.later([*arguments.defaults, *arguments.kw_defaults], scope)
        for argument in all_arguments(arguments):
            self.annotation(argument.annotation, annotations)

    def comprehension(self, node: ast.AST, scope: Scope) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
        inside = self.inner("comprehension", scope)
        first, *rest = generators
        self.later([first.iter], scope)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]  # type: ignore[attr-defined]
        self.later([first.target, *first.ifs, *rest, *results], inside)

    def walrus(self, node: ast.NamedExpr, scope: Scope) -> None:
        holder = scope
        while holder.kind == "comprehension" and holder.parent is not None:
            holder = holder.parent
        self.refer(holder, node.target.id, node.target, "write")
        self.later([node.value], scope)

    def import_(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        for alias in node.names:
            if alias.name == "*":
                continue
            name = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
            found = LocalImport(node, alias, name, scope.eager)
            self.out.imports.append(found)
            self.refer(scope, name, alias, "write")
            scope.imported[name] = found

    def named(self, node: ast.AST, scope: Scope) -> None:
        """`except … as name`, `case … as name`, `case *name`, `case {**name}`."""
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if name:
            self.refer(scope, name, node, "write")
        self.below(node, scope)

    # -- strings and annotations

    def constant(self, node: ast.Constant, scope: Scope) -> None:
        if not isinstance(node.value, (str, bytes)):
            return
        if id(node) not in self.formatted_parts:
            self.out.strings.append(node)
        if scope.annotation and isinstance(node.value, str):
            for root, chain in names_in(node.value):
                scope.references.append(Reference(root, node, chain, "read", False, True))

    def formatted(self, node: ast.AST, scope: Scope) -> None:
        if id(node) not in self.formatted_parts:
            self.out.formatted.append(node)
            self.formatted_parts.update(id(part) for part in nodes_in(node))
        self.below(node, scope)

    def annotated(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None or scope.kind in ("function", "class") or not isinstance(node.target, ast.Name):
            self.later([node.target, node.value], scope)
        self.annotation(node.annotation, scope)

    def annotation(self, node: ast.expr | None, scope: Scope) -> None:
        """Names in an annotation, those inside a string as well, are read but need not be had."""
        if node is not None:
            self.out.annotated = True
            inside = self.inner("type", scope)
            inside.annotation = True
            self.later([node], inside)


_HANDLERS: dict[type[ast.AST], Callable[..., None]] = {
    ast.Name: _Walk.name,
    ast.Attribute: _Walk.attribute,
    ast.Subscript: _Walk.subscript,
    ast.Call: _Walk.call,
    ast.Expr: _Walk.statement_expression,
    ast.Assign: _Walk.assignment,
    ast.For: _Walk.loop,
    ast.AsyncFor: _Walk.loop,
    ast.AugAssign: _Walk.augmented,
    ast.BinOp: _Walk.operation,
    ast.If: _Walk.condition,
    ast.Try: _Walk.attempt,
    ast.Global: _Walk.declaration,
    ast.Nonlocal: _Walk.declaration,
    ast.FunctionDef: _Walk.function,
    ast.AsyncFunctionDef: _Walk.function,
    ast.Lambda: _Walk.lambda_,
    ast.ClassDef: _Walk.class_,
    ast.ListComp: _Walk.comprehension,
    ast.SetComp: _Walk.comprehension,
    ast.DictComp: _Walk.comprehension,
    ast.GeneratorExp: _Walk.comprehension,
    ast.NamedExpr: _Walk.walrus,
    ast.Import: _Walk.import_,
    ast.ImportFrom: _Walk.import_,
    ast.ExceptHandler: _Walk.named,
    ast.MatchAs: _Walk.named,
    ast.MatchStar: _Walk.named,
    ast.MatchMapping: _Walk.named,
    ast.Constant: _Walk.constant,
    ast.JoinedStr: _Walk.formatted,
    ast.AnnAssign: _Walk.annotated,
}
for _name, _handler in (("TypeAlias", _Walk.type_alias), ("TemplateStr", _Walk.formatted)):
    if hasattr(ast, _name):
        _HANDLERS[getattr(ast, _name)] = _handler
