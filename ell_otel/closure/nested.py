"""Functions and classes as objects: the statement that made them, wherever it stands.

A function made inside another one has no module-level statement of its own. It gets a space of its own, whose only
statement is its definition, brought to module level, and whose other names are its closure cells, by value.
"""

from __future__ import annotations

import ast
import hashlib
import types
from typing import TYPE_CHECKING, Any

from ell_otel.closure.dependencies import Index
from ell_otel.closure.source import Unit, unit_of_code
from ell_otel.closure.spaces import MISSING, Slot, Space
from ell_otel.closure.statements import Statement
from ell_otel.closure.wrappers import unwrapped

if TYPE_CHECKING:
    from ell_otel.closure.resolution import Resolution

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class NestedFunctions:
    """The slots of function and class objects met in one closure, each made once."""

    def __init__(self, resolution: Resolution) -> None:
        self._resolution = resolution
        self._known: dict[int, tuple[Any, Slot | None]] = {}
        self._local_spaces: list[Space] = []

    def function_slot(self, function: types.FunctionType) -> Slot | None:
        """The slot whose statement made the function; an import when it is installed; None when that has no name."""
        return self._once(function, self._function_slot)

    def class_slot(self, cls: type) -> Slot | None:
        """The slot of a class made inside a function, or in a module that has no source."""
        return self._once(cls, self._class_slot)

    def _once(self, value: Any, make: Any) -> Slot | None:
        if id(value) not in self._known:
            self._known[id(value)] = (value, None)  # a reference to itself through its cells finds the name below
            self._known[id(value)] = (value, make(value))
        return self._known[id(value)][1]

    def _function_slot(self, function: types.FunctionType) -> Slot | None:
        space = self._resolution.spaces.of_globals(function.__globals__)
        root, _, rest = function.__qualname__.partition(".")
        if space is None:
            known = function.__globals__.get(root) is not None and not rest and function.__module__
            return self._resolution.external(function.__module__, root, root) if known else None
        code = function.__code__
        unit = unit_of_code(code, function.__globals__)
        if unit is None and root in space.index.binders and not rest and space.has_cells:
            return self._resolution.slot(space, root)  # a magic compiled the cell under a name of its own
        if unit is None:
            return self.without_source(space, function.__qualname__, function)
        position = self.position_of(space, unit, code)
        if position is None:
            return (
                self._resolution.slot(space, root)
                if root in space.index.binders
                else (self.without_source(space, function.__qualname__, function))
            )
        statement = space.index.statements[position]
        if "<locals>" not in function.__qualname__:
            bound = root if root in statement.binds else next(iter(sorted(statement.binds)), "")
            if bound and position in space.index.bindings(bound):
                return self._resolution.slot(space, bound)
        node = _inner_node(statement, code, function.__qualname__)
        if node is None:
            return self.without_source(space, function.__qualname__, function)
        given = _defaults_of(function, node).items()
        local = statement.analysis.local_names - space.index.binders.keys()
        cells = {name: value for name, value in given if name in local} | cells_of(function)
        return self._nested_slot(space, statement, node, function.__qualname__, cells)

    def position_of(self, space: Space, unit: Unit, code: types.CodeType) -> int | None:
        """The position in the space of the statement the code object was compiled from."""
        same = [u for u in space.index.units if u is unit or u.text.rstrip() == unit.text.rstrip()]
        if not same:
            space.extend(unit)
        filename = same[-1].filename if same else unit.filename
        return space.index.statement_at(filename, code.co_firstlineno)

    def _class_slot(self, cls: type) -> Slot | None:
        functions = [f for f in map(_function_of, vars(cls).values()) if f is not None]
        functions = [f for f in functions if f.__qualname__.startswith(cls.__qualname__ + ".")]
        for function in functions:
            space = self._resolution.spaces.of_globals(function.__globals__)
            unit = unit_of_code(function.__code__, function.__globals__)
            if space is None or unit is None:
                continue
            position = self.position_of(space, unit, function.__code__)
            statement = space.index.statements[position] if position is not None else None
            node = _inner_node(statement, function.__code__, cls.__qualname__) if statement else None
            if statement is not None and node is not None:
                cells = {name: value for f in functions for name, value in cells_of(f).items() if name != "__class__"}
                cells |= {base.__name__: base for base in cls.__bases__ if "<locals>" in base.__qualname__}
                return self._nested_slot(space, statement, node, cls.__qualname__, cells)
        return self._class_by_name(cls)

    def _class_by_name(self, cls: type) -> Slot | None:
        """A local class without methods: found by its name in its module's text."""
        space = self._resolution.spaces.of_module(cls.__module__)
        if space is None:
            return None
        local, outer = cls.__qualname__.rpartition("<locals>.")[2], cls.__qualname__.partition(".")[0]
        for statement in (space.index.statements[p] for p in space.index.bindings(outer)):
            for node in ast.walk(statement.node):
                if isinstance(node, ast.ClassDef) and node.name == local and node is not statement.node:
                    return self._nested_slot(space, statement, node, cls.__qualname__, {})
        return self.without_source(space, cls.__qualname__, cls)

    def _nested_slot(
        self, parent: Space, outer: Statement, node: ast.stmt | ast.Lambda, qualname: str, cells: dict[str, Any]
    ) -> Slot:
        name = getattr(node, "name", "lambda_")
        statement = Statement(outer.unit, node if isinstance(node, ast.stmt) else _as_statement(node))
        statement.made_up = not isinstance(node, ast.stmt)
        path = ".".join(part for part in qualname.split(".")[:-1] if part != "<locals>")
        space = self._shared_space(parent, path, name, cells)
        if space is None:
            space = Space(
                f"{parent.name}.{path}" if path else parent.name,
                parent.package,
                parent.namespace,
                Index([], parent.index.future_annotations),
                parent=parent,
                cells={},
                outer_names=frozenset(outer.analysis.local_names) - frozenset(parent.index.binders),
            )
            self._local_spaces.append(space)
        space.cells = {**(space.cells or {}), **cells}
        space.index = Index([*space.index.statements, statement], space.index.future_annotations)
        return space.slots.setdefault(name, Slot("defined", name, space))

    def _shared_space(self, parent: Space, path: str, name: str, cells: dict[str, Any]) -> Space | None:
        """The space of functions made by the same run of the same function, which share their cells."""
        for space in self._local_spaces:
            known = space.cells or {}
            same = space.parent is parent and space.name == f"{parent.name}.{path}" and name not in space.index.binders
            if same and all(known.get(key, value) is value for key, value in cells.items()):
                return space
        return None

    def classify(self, space: Space, name: str) -> Slot:
        """The slot of a name in the space of a nested function: itself, a cell, or the module's."""
        cells, parent = space.cells or {}, space.parent or space
        if name in cells:
            value = cells[name]
            if value is MISSING:
                return Slot("unbound", name, space)
            return self._resolution.values.slot(space, name, value)
        if name in space.index.binders:
            return Slot("defined", name, space)
        if name in self._resolution.names:
            return self._resolution.values.slot(space, name, self._resolution.names[name])
        if name in space.outer_names and parent.live(name) is MISSING:
            self._resolution.incomplete(f"the value of {name!r}, a local name of {space.name}, is not known")
            return Slot("value", name, space, pieces=[repr(f"<unknown {name}>")])
        return self._resolution.slot(parent, name)

    def without_source(self, space: Space, qualname: str, value: Any) -> Slot:
        """A stand-in for a function or class whose source cannot be had; its text names what is known of it."""
        root = qualname.partition(".")[0]
        local = qualname.rpartition(".")[2]
        name = (root if "<locals>" not in qualname else local).strip("<>")
        self._resolution.incomplete(f"the source of {space.name}.{qualname} cannot be had")
        if name in space.slots and "<locals>" not in qualname:
            return space.slots[name]
        known = f"source of {space.name}.{qualname} not available; known by {fingerprint(value)}"
        slot = Slot("missing", name, space)
        if isinstance(value, type):
            slot.pieces = ["class ", slot, f":\n    {known!r}"]
        else:
            raises = f"    raise NotImplementedError({f'source of {name} not available'!r})"
            slot.pieces = ["def ", slot, f"(*args, **kwargs):\n    {known!r}\n{raises}"]
        return space.slots.setdefault(name, slot)


def fingerprint(value: Any) -> str:
    """A digest of what is known of code without source: argument names, names and constants, nested code included."""
    digest = hashlib.sha256()
    codes = (
        [f.__code__ for f in map(_function_of, vars(value).values()) if f]
        if isinstance(value, type)
        else ([value.__code__] if isinstance(value, types.FunctionType) else [])
    )
    while codes:
        code = codes.pop()
        plain = [repr(c) for c in code.co_consts if isinstance(c, (str, bytes, int, float, type(None)))]
        facts = (code.co_name, code.co_varnames[: code.co_argcount], sorted(code.co_names), sorted(set(plain)))
        digest.update(repr(facts).encode("utf-8", "backslashreplace"))
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return "sha256:" + digest.hexdigest()


def cells_of(function: types.FunctionType) -> dict[str, Any]:
    """The closure cells of a function by name; MISSING for one not filled yet."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            found[name] = MISSING
    return found


def _defaults_of(function: types.FunctionType, node: ast.stmt | ast.Lambda) -> dict[str, Any]:
    """The values of names that a nested function's defaults are."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return {}
    pairs = [*zip(node.args.defaults, function.__defaults__ or (), strict=False)]
    given = function.__kwdefaults__ or {}
    pairs += [
        (d, given[a.arg])
        for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if a.arg in given and d
    ]
    return {default.id: value for default, value in pairs if isinstance(default, ast.Name)}


def _function_of(value: Any) -> types.FunctionType | None:
    inner = unwrapped(value)
    return inner if isinstance(inner, types.FunctionType) else None


def _inner_node(statement: Statement, code: types.CodeType, qualname: str) -> ast.stmt | ast.Lambda | None:
    """The definition inside a statement that a code object comes from: the outermost one below the last function."""
    local = qualname.rpartition("<locals>.")[2].partition(".")[0]
    line = code.co_firstlineno
    if local == "<lambda>":
        return _lambda_node(statement, code)
    best: ast.stmt | None = None
    for node in ast.walk(statement.node):
        if isinstance(node, _NAMED) and node.name == local:
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            if first <= line <= (node.end_lineno or line):
                best = node
    return best


def _lambda_node(statement: Statement, code: types.CodeType) -> ast.Lambda | None:
    """The lambda a code object comes from; of several on a line, the one whose body the code's positions lie in."""
    found = [n for n in ast.walk(statement.node) if isinstance(n, ast.Lambda) and n.lineno == code.co_firstlineno]
    names = code.co_varnames[: code.co_argcount]
    found = [n for n in found if tuple(a.arg for a in (*n.args.posonlyargs, *n.args.args)) == names] or found
    if len(found) > 1:
        places = {(p[0], p[2]) for p in code.co_positions() if p[0] is not None and p[2] is not None}
        inside = [n for n in found if (n.body.lineno, n.body.col_offset) in places or _covers(n, places)]
        found = inside or found
    return found[-1] if found else None


def _covers(node: ast.Lambda, places: set[tuple[int, int]]) -> bool:
    body = node.body
    real = {place for place in places if place != (node.lineno, 0)}  # where the code object itself begins
    start, end = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    return bool(real) and all(start <= place <= end for place in real)


def _as_statement(node: ast.expr) -> ast.stmt:
    """`lambda_ = <lambda>`: a statement that carries the lambda's own position."""
    target = ast.copy_location(ast.Name("lambda_", ast.Store()), node)
    return ast.copy_location(ast.Assign([target], node), node)
