"""What a name of a user's module stands for: a slot.

Names are resolved in the text first (which statement binds it, which module an import means) and looked at in the live
namespace only for what text cannot tell: names put there at run time, a function or class bound anew from outside.
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ell_otel.closure.dependencies import Index
from ell_otel.closure.references import Analysis, Reference
from ell_otel.closure.source import absolute_import
from ell_otel.closure.spaces import MISSING, Slot, Space, Spaces, declared_global
from ell_otel.closure.statements import Statement
from ell_otel.closure.wrappers import unwrapped

if TYPE_CHECKING:
    from ell_otel.closure.nested import NestedFunctions
    from ell_otel.closure.values import Values

_MODULE_NAMES = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__builtins__", "__path__"}
    | {"__cached__", "__dict__", "__annotations__"}
)


class Meanings:
    """The slots of one closure, each made once. `values` and `nested` answer for what no statement binds."""

    values: Values
    nested: NestedFunctions

    def __init__(self) -> None:
        self.spaces = Spaces()
        self.common = Space("types", "", None, Index([], False))  # of the slots that belong to no module
        self._shared: dict[tuple[str, ...], Slot] = {}
        self._led: dict[Slot, bool] = {}  # out of a circle; whether by what it is at run time

    def slot(self, space: Space, name: str) -> Slot:
        slot = space.slots.get(name)
        if slot is None:
            slot = self._classify(space, name)  # which may find that the name is the one of a nested definition
            slot = space.slots.setdefault(name, slot)
        return slot

    def _classify(self, space: Space, name: str) -> Slot:
        if space.cells is not None:
            return self.nested.classify(space, name)
        live = space.live(name)
        positions = space.index.bindings(name)
        for place, node in reversed(space.index.stars):
            if (not positions or place > positions[-1]) and self._star_brings(space, node, name):
                return self._by_star(space, name, node)
        if positions:
            binders = [p for p in positions if name in space.index.statements[p].binds]
            if self._rebound(space, name, live, space.index.statements[binders[-1]]):
                return self.values.slot(space, name, live)
            if all(space.index.statements[position].is_import for position in binders):
                return self._by_import(space, name, binders[-1])
            return Slot("defined", name, space)
        return self._without_text(space, name, live)

    def _without_text(self, space: Space, name: str, live: Any) -> Slot:
        """A name no statement of the module binds."""
        if name == "__doc__" and space.docstring is not None:
            return Slot("value", name, space, pieces=self.values.express(space.docstring, f"{space.name}.{name}"))
        if name in _MODULE_NAMES or (live is MISSING and hasattr(builtins, name)):
            return self.builtin(name)
        if declared_global(space, name):
            return Slot("defined", name, space)  # by functions, once they are called
        if live is MISSING:
            return Slot("unbound", name, space)
        return self.values.slot(space, name, live)

    def builtin(self, name: str) -> Slot:
        return self._shared.setdefault(("builtin", name), Slot("builtin", name, self.common))

    def is_builtin_yet(self, space: Space, name: str, position: int) -> bool:
        """Whether a built-in's name, which the module binds only later, is still the built-in (`text = str = str`)."""
        binders = space.index.binders.get(name, [-1])
        return space.cells is None and position <= binders[0] and hasattr(builtins, name)

    def external(self, module: str, attribute: str, name: str) -> Slot:
        """The slot of an installed module, or of a name from one; equal imports share it."""
        fresh = Slot("external", name, self.common, module=module, attribute=attribute)
        return self._shared.setdefault(("external", module, attribute, name), fresh)

    def as_object(self, space: Space) -> Slot:
        """The slot of a user's module used as an object."""
        if space.as_object is None:
            space.as_object = Slot("namespace", space.name.rpartition(".")[2], self.common, of=space)
            self.external("types", "SimpleNamespace", "SimpleNamespace")
        return space.as_object

    def _by_import(self, space: Space, name: str, position: int) -> Slot:
        node = space.index.statements[position].node
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            return Slot("defined", name, space)
        aliases = [a for a in node.names if name in (a.asname or a.name, a.name.partition(".")[0])]
        alias = next((a for a in aliases if (a.asname or a.name) == name), aliases[0])
        found = self._importing(space, node, alias)
        if not callable(found):
            return found
        binders = space.index.binders.get(name, ())
        same = len(binders) == 1 or all(_binds_package(space.index.statements[p].node, name) for p in binders)
        find = functools.partial(self._meant_by_import, space, name, found)
        return Slot("alias", name, space, find=find, may_share=same, leave=self._leave)

    def _meant_by_import(self, space: Space, name: str, found: Callable[[], Slot]) -> Slot:
        """The slot an import means, unless the importing module's name was bound anew to other code."""
        slot = found()
        live, there = space.live(name), slot.space.live(slot.name) if slot.kind != "namespace" else MISSING
        if is_code(live) and there is not MISSING and live is not there and not _same_code(live, there):
            return self.values.slot(space, name, live)
        return slot

    def _by_star(self, space: Space, name: str, node: ast.ImportFrom) -> Slot:
        found = self._importing(space, node, ast.alias(name, None))
        if not callable(found):
            return found
        return Slot("alias", name, space, find=found, may_share=True, leave=self._leave)

    def _leave(self, circle: list[Slot]) -> None:
        """End a circle of imports: where one of its names was imported from elsewhere before, it still means that.

        Without such a name somebody has set one of them at run time, and it means what it is now. What leads into a
        circle again all the same (a class of native code that calls itself a part of the package it is imported
        into) has no source to be followed to.
        """
        before = {s: self._imported_before(s.space, s.name, circle) for s in circle if s not in self._led}
        self._led.update(dict.fromkeys(before, False))
        if any(before.values()):
            for slot, target in before.items():
                if target is not None:
                    slot.aim(target)
            return
        slot = min(circle, key=lambda slot: (self._led[slot], slot.space.name, slot.name))
        slot.become(Slot("unbound", "", slot.space) if self._led[slot] else self._at_run_time(slot.space, slot.name))
        self._led[slot] = True

    def _at_run_time(self, space: Space, name: str) -> Slot:
        live = space.live(name)
        if live is MISSING:
            return Slot("unbound", name, space)
        code = self.nested.class_slot(live) if isinstance(live, type) else None
        return self.values.slot(space, name, live) if code is None else Slot("alias", name, space, find=lambda: code)

    def _imported_before(self, space: Space, name: str, circle: list[Slot]) -> Slot | None:
        places = [*space.index.binders.get(name, ()), *(place for place, _ in space.index.stars)]
        for node in (space.index.statements[place].node for place in sorted(places, reverse=True)):
            names = node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            for alias in names:
                if name == (alias.asname or alias.name) or (alias.name == "*" and self._star_brings(space, node, name)):
                    found = self.imported(space, node, ast.alias(name) if alias.name == "*" else alias)
                    if found not in circle:
                        return found
        return None

    def imported(self, space: Space, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Slot:
        """The slot an import alias means, not counting the alias's own name."""
        found = self._importing(space, node, alias)
        return found() if callable(found) else found

    def _importing(
        self, space: Space, node: ast.Import | ast.ImportFrom, alias: ast.alias
    ) -> Slot | Callable[[], Slot]:
        """The slot of an installed module's import, or how to find the one of the user's own."""
        if isinstance(node, ast.Import):
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            found = self.spaces.of_module(name)
            if found is None:
                return self.external(name, "", alias.asname or name)
            return functools.partial(self.as_object, found)
        module = absolute_import(node, space.package)
        found = self.spaces.of_module(module)
        if found is None:
            return self.external(module, alias.name, alias.asname or alias.name)
        submodule = self.spaces.of_module(f"{module}.{alias.name}") if found is space else None
        if submodule is not None:  # a package's own `from . import part`
            return functools.partial(self.as_object, submodule)
        return functools.partial(self.member, found, alias.name)

    def member(self, space: Space, name: str) -> Slot:
        """The slot an attribute of a user's module means: one of its names, or a submodule."""
        if not space.index.binders.get(name) and not self._star_source(space, name):
            submodule = self.spaces.of_module(f"{space.name}.{name}")
            if submodule is not None:
                return self.as_object(submodule)
            if space.live(name) is MISSING and "__getattr__" in space.index.binders:
                module = sys.modules.get(space.name)
                value = _lazily(module, name)
                if value is not MISSING:
                    return self.values.slot(space, name, value)
        return self.slot(space, name)

    def behind(self, space: Space, path: Sequence[str]) -> tuple[Slot, tuple[str, ...]]:
        """What a dotted name means as far as it leads through modules of the user's, and the attributes left over."""
        slot = self.slot(space, path[0]).final()
        for place, attribute in enumerate(path[1:], 1):
            if slot.kind != "namespace" or slot.of is None:
                return slot, tuple(path[place:])
            slot = self.member(slot.of, attribute).final()
        return slot, ()

    def note_dotted(self, space: Space, name: str, slot: Slot, chain: tuple[str, ...]) -> None:
        """For `import a.b`, which binds `a`: keep those of the module's dotted imports that the attributes ask for."""
        if slot.kind != "external" or slot.attribute or slot.name != slot.module:
            return
        statements = (space.index.statements[position] for position in space.index.binders.get(name, ()))
        nodes = (statement.node for statement in statements)
        paths = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names if _top(a) == name]
        asked = [path for path in paths if tuple(path.split(".")[1:]) == chain[: path.count(".")]]
        slot.dotted.update(asked or paths[-1:] or [slot.module])

    def chains(self, space: Space, analysis: Analysis, reference: Reference) -> list[tuple[str, ...]]:
        """The attributes read through a reference: of a module that is given a local name, those read through that."""
        through = analysis.read_through.get(id(reference.node))
        if not through or self.slot(space, reference.name).final().kind != "namespace":
            return [reference.chain]
        chains = [reference.chain + chain for chain in through]
        found = all(self.behind(space, (reference.name, *chain))[0].kind != "unbound" for chain in chains)
        return chains if found else [reference.chain]

    def _star_source(self, space: Space, name: str) -> bool:
        return any(self._star_brings(space, node, name) for _, node in space.index.stars)

    def _star_brings(self, space: Space, node: ast.ImportFrom, name: str) -> bool:
        return self._star_provides(absolute_import(node, space.package), name)

    def _star_provides(self, module: str, name: str) -> bool:
        """Whether `from module import *` brings the name, through further star imports as well."""
        todo, seen = [module], set()
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            loaded = sys.modules.get(current)
            if loaded is not None:
                exported = getattr(loaded, "__all__", None)
                public = name in exported if exported is not None else not name.startswith("_")
                if public and name in vars(loaded):
                    return True
                continue
            space = self.spaces.of_module(current)
            if space is not None and not name.startswith("_"):
                if name in space.index.binders:
                    return True
                todo += [absolute_import(node, space.package) for _, node in space.index.stars]
        return False

    def _rebound(self, space: Space, name: str, live: Any, statement: Statement) -> bool:
        """Whether the name was bound anew, from outside the module's text, to a function or class of other text."""
        node = statement.node
        if live is MISSING or not is_code(live):
            return False
        if isinstance(node, ast.Assign):
            if isinstance(node.value, ast.Constant):
                return True
            there = space.live(node.value.id) if isinstance(node.value, ast.Name) else live
            return there is not MISSING and not _same_code(there, live)
        if not statement.is_definition or node.decorator_list:  # type: ignore[attr-defined]
            return False
        if isinstance(live, type):
            return live.__qualname__ != name
        code = unwrapped(live).__code__
        elsewhere = code.co_filename not in {unit.filename for unit in space.index.units} and not space.has_cells
        return bool(code.co_qualname != name or elsewhere)


def _lazily(module: ModuleType | None, name: str) -> Any:
    """What the module's own `__getattr__` gives."""
    try:
        return getattr(module, name, MISSING)
    except Exception:  # the user's function may raise anything; then the name is not to be had
        return MISSING


def is_code(value: Any) -> bool:
    return isinstance(value, type) or isinstance(unwrapped(value), FunctionType)


def _same_code(one: Any, other: Any) -> bool:
    first, second = unwrapped(one), unwrapped(other)
    return first is second or getattr(first, "__code__", first) is getattr(second, "__code__", second)


def _binds_package(node: ast.AST, name: str) -> bool:
    """Whether a statement is `import name.part`: however many there are, all bind the same package."""
    return isinstance(node, ast.Import) and all(
        alias.asname is None for alias in node.names if alias.name.partition(".")[0] == name or alias.asname == name
    )


def _top(alias: ast.alias) -> str:
    """The name an alias of a plain `import` binds, if it binds the top-level module."""
    return "" if alias.asname else alias.name.partition(".")[0]
