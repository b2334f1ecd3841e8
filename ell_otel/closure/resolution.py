"""From a root statement to everything it rests on: names resolved to slots, slots to statements, by a work list.

Names are resolved in the text first (which statement binds it, which module an import means) and looked at in the live
namespace only for what text cannot tell: names put there at run time, a function or class bound anew from outside,
contents of files read at import. So run-time state never reaches a closure, and a module need not be loaded.
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from ell_otel.closure.dependencies import Index, Statement, reads_of
from ell_otel.closure.nested import NestedFunctions
from ell_otel.closure.registration import appliers_of, passed_on, registered_in
from ell_otel.closure.scopes import LocalImport
from ell_otel.closure.source import absolute_import
from ell_otel.closure.spaces import MISSING, Kept, Slot, Space, Spaces, declared_global
from ell_otel.closure.values import Values, is_plain, literal, without_secrets
from ell_otel.closure.wrappers import unwrapped

_MODULE_NAMES = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__builtins__", "__path__"}
    | {"__cached__", "__dict__", "__annotations__"}
)


class Resolution:
    """The growing closure: spaces with their kept statements, and what was noticed on the way."""

    def __init__(self, names: Mapping[str, Any] | None = None) -> None:
        self.spaces = Spaces()
        self.names = names or {}  # values of names of the enclosing function, given by the caller
        self.warnings: dict[str, None] = {}
        self.partial = False
        self.observed: dict[tuple[int, str], tuple[Mapping[str, Any], str, Any]] = {}
        self.roots: list[Slot] = []
        self.extra: list[Slot] = []  # lines of their own, at the end
        self.order: list[Space] = []  # spaces in the order they were first needed
        self.values = Values(self)
        self.nested = NestedFunctions(self)
        self._shared: dict[tuple[str, ...], Slot] = {}
        self._common = Space("types", "", None, Index([], False))
        self._todo: list[Kept] = []
        self._required: set[tuple[int, tuple[str, ...], int | None]] = set()
        self._pending: list[tuple[Slot, tuple[str, ...], int | None, bool]] = []

    def incomplete(self, warning: str) -> None:
        """Note a part that could not be had."""
        self.warnings.setdefault(warning)
        self.partial = True

    def add_root(self, slot: Slot) -> None:
        """Take a slot into the closure for its own sake."""
        self.roots.append(slot)
        self.require(slot, (), None, False)

    def add_value(self, name: str, value: Any) -> None:
        """Take an object that no statement binds into the closure, under a name of its own."""
        slot = Slot("value", name, self._common, pieces=self.values.express(value, name))
        self.extra.append(slot)
        self.add_root(slot)

    # -- keeping statements

    def keep(self, space: Space, position: int) -> Kept:
        kept = space.kept.get(position)
        if kept is None:
            kept = space.kept[position] = Kept(space, position, space.index.statements[position])
            if space not in self.order:
                self.order.append(space)
        return kept

    def keep_whole(self, space: Space, position: int) -> Kept:
        kept = self.keep(space, position)
        if not kept.followed:
            kept.followed = True
            kept.values.clear()
            self._todo.append(kept)
        return kept

    def follow_all(self) -> None:
        """Until nothing is left to follow: every reference of every kept statement is resolved and kept too."""
        while self._todo or self._pending:
            if self._pending:
                self._satisfy(*self._pending.pop())
            else:
                self._follow(self._todo.pop())

    def _follow(self, kept: Kept) -> None:
        space, statement = kept.space, kept.statement
        for found in statement.analysis.imports:
            self._follow_import(kept, found)
        for reference in reads_of(statement.analysis, space.index.future_annotations):
            slot = self.slot(space, reference.name)
            kept.uses.append((reference, slot))
            before = kept.position if reference.eager and slot.space is space else None
            self._note_dotted(space, reference.name, slot, reference.chain)
            self.require(slot, reference.chain, before, reference.annotation or statement.is_branching)
            self.observe(space, reference.name)
        for name in statement.binds:
            self.slot(space, name)
            self._follow_registrations(space, name)

    def _follow_import(self, kept: Kept, found: LocalImport) -> None:
        """An import inside a function, a branch or a class body: an installed module's stays as it is."""
        slot = self._imported(kept.space, found.node, found.alias)
        if slot.kind == "external":
            return
        kept.imports.append((found, slot))
        chains = found.chains
        if kept.statement.binds and found.eager:
            chains = [r.chain for r in kept.statement.analysis.references if r.name == found.name and r.use == "read"]
        if not chains and slot.kind == "namespace" and found.name in kept.statement.binds:
            return  # bound at module level: other statements say what they read from it
        for chain in chains or [()]:  # without any, the module itself is what is wanted
            self.require(slot, chain, None, False)

    def _follow_registrations(self, space: Space, name: str) -> None:
        for position in [*appliers_of(space, name), *passed_on(space, name)]:
            self.keep_whole(space, position)
        for value in registered_in(space, name):
            slot = self.values.code_slot(value)
            if slot is not None:
                self.require(slot, (), None, False)

    # -- what a name stands for

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
        if positions:
            binders = [p for p in positions if name in space.index.statements[p].binds]
            if self._rebound(space, name, live, space.index.statements[binders[-1]]):
                return self.values.slot(space, name, live)
            if all(space.index.statements[position].is_import for position in binders):
                return self._by_import(space, name, binders[-1])
            return Slot("defined", name, space)
        for _, node in reversed(space.index.stars):
            if self._star_provides(absolute_import(node, space.package), name):
                return self._by_star(space, name, node)
        return self._without_text(space, name, live)

    def _without_text(self, space: Space, name: str, live: Any) -> Slot:
        """A name no statement of the module binds."""
        if name in _MODULE_NAMES or (live is MISSING and hasattr(builtins, name)):
            return self.builtin(name)
        if live is MISSING or declared_global(space, name):
            return Slot("unbound", name, space)
        return self.values.slot(space, name, live)

    def builtin(self, name: str) -> Slot:
        return self._shared.setdefault(("builtin", name), Slot("builtin", name, self._common))

    def external(self, module: str, attribute: str, name: str) -> Slot:
        """The slot of an installed module, or of a name from one; equal imports share it."""
        fresh = Slot("external", name, self._common, module=module, attribute=attribute)
        return self._shared.setdefault(("external", module, attribute, name), fresh)

    def as_object(self, space: Space) -> Slot:
        """The slot of a user's module used as an object."""
        if space.as_object is None:
            space.as_object = Slot("namespace", space.name.rpartition(".")[2], self._common, of=space)
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
        alone = len(space.index.binders.get(name, ())) == 1
        return Slot("alias", name, space, find=lambda: self._unless_rebound(space, name, found()), may_share=alone)

    def _unless_rebound(self, space: Space, name: str, slot: Slot) -> Slot:
        """The slot an import means, unless the importing module's name was bound anew to other code."""
        live, there = space.live(name), slot.space.live(slot.name) if slot.kind != "namespace" else MISSING
        if _is_code(live) and there is not MISSING and live is not there and not _same_code(live, there):
            return self.values.slot(space, name, live)
        return slot

    def _by_star(self, space: Space, name: str, node: ast.ImportFrom) -> Slot:
        found = self._importing(space, node, ast.alias(name, None))
        return Slot("alias", name, space, find=found, may_share=True) if callable(found) else found

    def _imported(self, space: Space, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Slot:
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
                value = getattr(module, name, MISSING) if module is not None else MISSING
                if value is not MISSING:
                    return self.values.slot(space, name, value)
        return self.slot(space, name)

    def _star_source(self, space: Space, name: str) -> bool:
        modules = (absolute_import(node, space.package) for _, node in space.index.stars)
        return any(self._star_provides(module, name) for module in modules)

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
        if live is MISSING or not _is_code(live):
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
        known = {unit.filename for unit in space.index.units}
        elsewhere = code.co_filename not in known and not any(f.startswith("<cell ") for f in known)
        return bool(code.co_qualname != name or elsewhere)

    # -- what a slot rests on

    def require(self, slot: Slot, chain: tuple[str, ...], before: int | None, dispensable: bool) -> None:
        """See to it that what stands behind the slot is kept; `chain` are the attributes read from it.

        `before` bounds the statements of its own module that count. What is dispensable may be missing: names in
        annotations, and in branches that may not be taken.
        """
        key = (id(slot), chain, before)
        if key not in self._required:
            self._required.add(key)
            self._pending.append((slot, chain, before, dispensable))

    def _satisfy(self, slot: Slot, chain: tuple[str, ...], before: int | None, dispensable: bool) -> None:
        if slot.kind == "defined":
            for position in slot.space.index.bindings(slot.name, before):
                self._keep_binding(slot, position)
                self._require_imported(slot, position, chain)
        elif slot.kind == "alias" and slot.target is not None:
            self._keep_alias(slot, chain)
            self.require(slot.target, chain, None, dispensable)
        elif slot.kind == "namespace" and slot.of is not None:
            self._require_member(slot.of, chain)
        elif slot.kind == "value":
            for piece in slot.pieces:
                if isinstance(piece, Slot):
                    self.require(piece, (), None, False)
        elif slot.kind == "unbound" and not dispensable and not declared_global(slot.space, slot.name):
            self.incomplete(f"name {slot.name!r}, used in {slot.space.name}, is not defined anywhere it was looked for")

    def _require_imported(self, slot: Slot, position: int, chain: tuple[str, ...]) -> None:
        """What is read from a module that an import inside a branch bound to the name."""
        statement = slot.space.index.statements[position]
        for found in statement.analysis.imports if chain and not statement.is_definition else ():
            if found.eager and found.name == slot.name:
                self.require(self._imported(slot.space, found.node, found.alias), chain, None, True)

    def _keep_binding(self, slot: Slot, position: int) -> None:
        """Keep a statement for one of its names; a file read at import is kept as the content it gave."""
        space, name = slot.space, slot.name
        statement = space.index.statements[position]
        if statement.is_import:
            self.keep(space, position).aliases.add(name)
            self.keep_whole(space, position)
            return
        live = space.live(name)
        reads = not statement.is_definition and self._reads_file(space, statement)
        kept = space.kept.get(position)
        if reads and not (kept and kept.followed) and is_plain(live) and name in statement.binds:
            self.keep(space, position).values[name] = literal(without_secrets(live, name))
            return
        if reads and not is_plain(live):
            self.warnings.setdefault(f"{space.name}.{name} is read from a file whose content is not in the closure")
        self.keep_whole(space, position)

    def _reads_file(self, space: Space, statement: Statement) -> bool:
        """Whether executing the statement reads a file, itself or through functions of the user's it calls."""
        todo, seen = [(space, statement, True)], set()
        while todo:
            here, current, eager = todo.pop()
            if id(current) in seen:
                continue
            seen.add(id(current))
            analysis = current.analysis
            if analysis.reads_file or (not eager and analysis.reads_file_when_called):
                return True
            for name in analysis.called if eager else analysis.called_later:
                slot = self.slot(here, name).final()
                if slot.kind == "defined":
                    todo += [
                        (slot.space, slot.space.index.statements[p], False)
                        for p in slot.space.index.bindings(slot.name)
                        if isinstance(slot.space.index.statements[p].node, (ast.FunctionDef, ast.AsyncFunctionDef))
                    ]
        return False

    def _keep_alias(self, slot: Slot, chain: tuple[str, ...]) -> None:
        """Keep the import that binds the name, and the importing module's changes of what it means."""
        index = slot.space.index
        for position in index.binders.get(slot.name) or [position for position, _ in index.stars]:
            if index.statements[position].is_import:
                self.keep(slot.space, position).aliases.add(slot.name)
        module = slot.final().kind == "namespace"
        for position in index.changers.get(slot.name, ()):
            references = index.statements[position].analysis.references
            chains = [r.chain[:1] for r in references if r.use == "change" and r.name == slot.name and r.eager]
            if not module or (chain and chain[:1] in chains):
                self.keep_whole(slot.space, position)

    def _require_member(self, space: Space, chain: tuple[str, ...]) -> None:
        if chain:
            names = [chain[0]]
        else:  # the module itself is handed on: everything it binds may be asked of it
            names = sorted(space.index.binders)
            for position, statement in enumerate(space.index.statements):
                if not statement.is_import and not isinstance(statement.node, ast.Expr):
                    self.keep_whole(space, position)
        for name in names:
            member = space.members.setdefault(name, self.member(space, name))
            self._note_dotted(space, name, member, chain[1:])
            self.observe(space, name)
            self.require(member, chain[1:], None, False)

    def _note_dotted(self, space: Space, name: str, slot: Slot, chain: tuple[str, ...]) -> None:
        """For `import a.b`, which binds `a`: keep those of the module's dotted imports that the attributes ask for."""
        if slot.kind != "external" or slot.attribute or slot.name != slot.module:
            return
        statements = (space.index.statements[position] for position in space.index.binders.get(name, ()))
        nodes = (statement.node for statement in statements)
        paths = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names if _root(a) == name]
        asked = [path for path in paths if tuple(path.split(".")[1:]) == chain[: path.count(".")]]
        slot.dotted.update(asked or paths[-1:] or [slot.module])

    # -- what is noticed

    def observe(self, space: Space, name: str) -> None:
        """Remember which function or class was found under a name, for `Closure.is_current`."""
        live = space.live(name)
        if live is not MISSING and _is_code(live) and space.namespace is not None:
            self.observed.setdefault((id(space.namespace), name), (space.namespace, name, live))


def _root(alias: ast.alias) -> str:
    """The name an alias of a plain `import` binds, if it binds the top-level module."""
    return "" if alias.asname else alias.name.partition(".")[0]


def _is_code(value: Any) -> bool:
    return isinstance(value, type) or isinstance(unwrapped(value), FunctionType)


def _same_code(one: Any, other: Any) -> bool:
    first, second = unwrapped(one), unwrapped(other)
    return first is second or getattr(first, "__code__", first) is getattr(second, "__code__", second)
