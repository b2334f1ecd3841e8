"""Statements that change a name without naming it: decorators that register, base classes that collect subclasses.

`@register def f` changes `REGISTRY` when `register` does so in its body. Such statements belong to a closure that uses
`REGISTRY`, although neither names the other.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ell_otel.closure.references import CHANGING_FUNCTIONS, all_arguments, chain_of, defaults_of, last_name
from ell_otel.closure.scopes import analyse
from ell_otel.closure.source import Unit
from ell_otel.closure.spaces import MISSING, Slot, Space
from ell_otel.closure.statements import Statement
from ell_otel.closure.wrappers import unwrapped

if TYPE_CHECKING:
    from ell_otel.closure.resolution import Resolution

# Where a text may change an object through its name: `name[...] = `, `name.append(`, `del name[`, `global name`, and
# where it may do so by another: a parameter whose default is the object.
_CHANGE = re.compile(
    r"(?<![\w.])(\w+)(?:\.\w+|\[[^\]\n]*\])*?(?:\.(?:append|extend|insert|update|setdefault|pop|remove|discard|clear"
    r"|sort|reverse|push|add\w*|set_\w*|register\w*)\s*\(|(?:\[[^\]\n]*\]|\.\w+)\s*(?:[-+*/|&^%@]|//|\*\*|<<|>>)?=(?!=))"
)
_PART = re.compile(r"^[ \t]+(?:for\b.*?\bin|\w+[ \t]*=)[ \t]*(?:\w+\([ \t]*)?([^\W\d]\w*)", re.MULTILINE)
_PARTS = re.compile(r"^[ \t]+\w+(?:[ \t]*,[ \t]*\w+)+[ \t]*=(?!=)([^\n]*)", re.MULTILINE)
_GIVEN = re.compile(rf"\b(?:{'|'.join(sorted(CHANGING_FUNCTIONS))})\s*\(\s*(\w+)")
_DEFAULT = re.compile(r"\w\s*=\s*([^\W\d]\w*)\s*[,)]")
_HANDED = re.compile(r"(?<!\w)([^\W\d]\w*+)\s*+[(,)]|\breturn\s+(\w+)\b")
_GLOBAL = re.compile(r"\bglobal\s+([\w ,\t]+)")
_COLLECTING_METHODS = frozenset({"append", "add", "update", "setdefault", "register", "insert"})


class Registrations:
    """What registers in what, over the spaces of one closure."""

    def __init__(self, resolution: Resolution) -> None:
        self._resolution = resolution
        self._collecting: dict[Slot, bool] = {}
        self._calling: dict[tuple[Space, str], dict[Space, list[tuple[Space, str]]]] = {}  # found so far, by module
        self._handing: dict[Unit, dict[str, list[int]]] = {}

    def positions(self, space: Space, name: str) -> list[int]:
        """Positions of the module's own statements that put themselves, or something, into the name's object."""
        acts = (position for position, path in space.index.acts.get(name, ()) if self.acts(space, path))
        return sorted({*self._appliers_of(space, name), *self.passed_on(space, name), *acts})

    def through(self, space: Space, name: str) -> set[tuple[Space, str]]:
        """Functions and classes that change the name's object when they are called, or inherited from."""
        todo = [(space, n) for position in _writers(space, name) for n in space.index.statements[position].binds]
        found = {(space, name)} if self._collects(space, name) else set()
        while todo:
            if (writer := todo.pop()) not in found:
                found.add(writer)
                todo += self._callers(*writer)
        return found

    def _callers(self, space: Space, name: str) -> Iterator[tuple[Space, str]]:
        """Functions that call another one or hand it on, in modules that have to do with the closure."""
        known = self._calling.setdefault((space, name), {})
        for other in self._resolution.spaces_with(space, name):
            if other not in known:
                known[other] = list(self._callers_in(other, space, name))
            yield from known[other]

    def _callers_in(self, other: Space, space: Space, name: str) -> Iterator[tuple[Space, str]]:
        for unit in other.index.units:
            for line in self._lines_handing(unit, name):
                position = other.index.statement_at(unit.filename, line)
                statement = other.index.statements[position] if position is not None else None
                if statement is None or not statement.is_definition:
                    continue
                reads = (r for r in statement.analysis.references if r.use == "read" and not r.eager)
                paths = [(r.name, *r.chain) for r in reads if (r.chain[-1] if r.chain else r.name) == name]
                meant = (self._resolution.behind(other, path) for path in paths)
                if any((slot.space, slot.name, rest) == (space, name, ()) for slot, rest in meant):
                    yield from ((other, n) for n in statement.binds)

    def _lines_handing(self, unit: Unit, name: str) -> list[int]:
        """Lines of the text where a name looks called, handed on or returned; one look tells it of every name."""
        if unit not in self._handing:
            known = self._handing[unit] = {}
            for match in _HANDED.finditer(unit.text):
                known.setdefault(match[1] or match[2], []).append(unit.line_at(match.start()))
        return self._handing[unit].get(name, [])

    def acts(self, space: Space, path: Sequence[str]) -> bool:
        """Whether a method of the user's, called for no value, changes the object it is called on."""
        slot, rest = self._resolution.behind(space, path)
        if len(rest) != 1 or slot.kind != "defined":
            return False
        done, todo = set(), [rest[0]]
        while todo:
            name = todo.pop()
            method = self._method(slot, name) if name not in done else None
            done.add(name)
            if method is not None and (receiver := _receiver(method)):
                inside = analyse(method)
                if receiver in inside.changed_locals:
                    return True
                paths = (called.split(".") for called in inside.called_later)
                todo += [parts[1] for parts in paths if parts[0] == receiver and len(parts) == 2]
        return False

    def _method(self, slot: Slot, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The method of an object or class by its name, its base classes looked through."""
        todo, seen = [slot], set()
        while todo:
            current = todo.pop(0)
            if current in seen or current.kind != "defined":
                continue
            seen.add(current)
            index = current.space.index
            for node in (index.statements[position].node for position in reversed(index.bindings(current.name))):
                if isinstance(node, ast.ClassDef):
                    for member in node.body:
                        if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) and member.name == name:
                            return member
                    todo += self._meant(current.space, node.bases)
                elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
                    todo += self._meant(current.space, [node.value.func])
        return None

    def _meant(self, space: Space, expressions: list[ast.expr]) -> list[Slot]:
        """What dotted names mean."""
        places = (chain_of(expression) for expression in expressions)
        paths = [(root.id, *chain) for root, chain in places if isinstance(root, ast.Name)]
        return [slot for slot, rest in (self._resolution.behind(space, path) for path in paths) if not rest]

    def ask_for_subclasses(self, slot: Slot) -> None:
        """Note that somebody reads `slot.__subclasses__()`: then every subclass counts."""
        if slot.kind == "defined" and not self._collecting.get(slot):
            self._collecting[slot] = True
            for position in self.positions(slot.space, slot.name):
                self._resolution.keep_whole(slot.space, position)

    def _appliers_of(self, space: Space, name: str) -> Iterator[int]:
        """Statements that, while executing, hand themselves to something that changes the name's object."""
        index, through = space.index, {n for s, n in self.through(space, name) if s is space}
        roots = self._resolution.roots[:1]  # the target
        found: set[int] = set()
        seen: set[int] = set()
        while through:
            applied = through.pop()
            for position in index.appliers.get(applied, ()):
                statement = index.statements[position]
                if position in seen or runs_programs(space, statement, roots):
                    continue
                seen.add(position)
                if isinstance(statement.node, ast.ClassDef):  # its subclasses are made alike
                    through |= statement.binds
                if not _only_inherits(statement, applied) or self._collects_subclasses(space, applied):
                    found.add(position)
        return iter(found)

    def _collects_subclasses(self, space: Space, name: str) -> bool:
        self._resolution.slot(space, name)
        return self._collects(space, name)

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
        if any(last_name(base) == "type" or last_name(base).endswith("Meta") for base in node.bases):
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
                yield from (m for m in members if callable(m) and not _is_made_by_a_call(m))


def _is_made_by_a_call(value: Any) -> bool:
    """Whether it has no name at module level: then it is there by the call that made it, which the text shows."""
    name = getattr(unwrapped(value), "__qualname__", "")
    return name == "<lambda>" or "<locals>" in name


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
    found.update(
        position for position in space.index.bindings(name) if _keeps_instances(space.index.statements[position])
    )
    return sorted(found)


def _keeps_instances(statement: Statement) -> bool:
    """Whether it is a class that something is put into when its instances are made (`type(self).all.append(self)`)."""
    node = statement.node
    for member in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(member, ast.FunctionDef) and member.name in ("__new__", "__init__", "__post_init__"):
            receiver = _receiver(member)
            ways = {f"type({receiver})", f"{receiver}.__class__"} | ({receiver} if member.name == "__new__" else set())
            if any(ast.unparse(part).startswith(tuple(f"{way}." for way in ways)) for part in _stored_in(member)):
                return True
    return False


def _only_inherits(statement: Statement, name: str) -> bool:
    """Whether it is a class that names another one as its base, and does not call it."""
    bases = statement.node.bases if isinstance(statement.node, ast.ClassDef) else []
    roots = (chain_of(base)[0] for base in bases)
    return any(isinstance(root, ast.Name) and root.id == name for root in roots)


def _lines_changing(unit: Unit, name: str) -> list[int]:
    """Lines of the text that look like a change of the name; a quick first look over the whole text, done once."""
    known = unit.changing_lines
    if known is None:
        known = {}
        for pattern in (_CHANGE, _DEFAULT, _PART, _GIVEN):
            for match in pattern.finditer(unit.text):
                known.setdefault(match[1], []).append(unit.line_at(match.start(1)))
        for match in _PARTS.finditer(unit.text):
            for name_given in re.findall(r"[^\W\d]\w*", match[1]):
                known.setdefault(name_given, []).append(unit.line_at(match.start(1)))
        for match in _GLOBAL.finditer(unit.text) if "global" in unit.text else ():
            for declared in match[1].split(","):
                known.setdefault(declared.strip(), []).append(unit.line_at(match.start()))
        unit.changing_lines = known  # not before it is whole: other threads look here
    return known.get(name, [])


def _changes_by_default(statement: Statement, name: str) -> bool:
    """Whether it is a function that changes a parameter whose default is the name."""
    node = statement.node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    pairs = defaults_of(node.args)
    given = {argument.arg for argument, default in pairs if isinstance(default, ast.Name) and default.id == name}
    return bool(given) and not given.isdisjoint(statement.analysis.changed_locals)


def _stores(function: ast.FunctionDef) -> bool:
    """Whether a hook puts something into a container that outlives the call: not into a parameter beyond the class."""
    passing = {argument.arg for argument in all_arguments(function.args)[1:]}
    roots = (chain_of(container)[0] for container in _stored_in(function))
    return any(not (isinstance(root, ast.Name) and root.id in passing) for root in roots)


def _stored_in(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The containers a function puts something into."""
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield node.value
        elif isinstance(node, ast.Call) and last_name(node.func) in _COLLECTING_METHODS:
            yield from (node.func.value,) if isinstance(node.func, ast.Attribute) else ()


def _receiver(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The name a method gives what it is called on."""
    names = [argument.arg for argument in (*method.args.posonlyargs, *method.args.args)]
    return names[0] if names and "staticmethod" not in map(last_name, method.decorator_list) else ""


def runs_programs(space: Space, statement: Statement, roots: list[Slot]) -> bool:
    """Whether calls in a statement (`main()`, `print(ask())`) run programs, or the function that is captured.

    Such a statement drives them; they do not rest on it.
    """
    if statement.is_definition:
        return False
    for name in statement.applies:
        if _is_driven(space, name, roots):
            return True
        for position in space.index.bindings(name):
            called = space.index.statements[position].analysis.called_later
            if any(_is_driven(space, n, roots) for n in called):
                return True
    return False


def _is_driven(space: Space, name: str, roots: list[Slot]) -> bool:
    live = space.live(name)
    if isinstance(live, types.FunctionType) and any(slot.space is space and slot.name == name for slot in roots):
        return True
    return live is not MISSING and bool(getattr(live, "__ell_program__", None))
