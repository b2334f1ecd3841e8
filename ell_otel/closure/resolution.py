"""From a root statement to everything it rests on: names resolved to slots, slots to statements, by a work list.

Names are resolved in the text first (which statement binds it, which module an import means) and looked at in the live
namespace only for what text cannot tell: names put there at run time, a function or class bound anew from outside,
contents of files read at import. So run-time state never reaches a closure, and a module need not be loaded.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from typing import Any

from ell_otel.closure.effects import Effects
from ell_otel.closure.files import Files
from ell_otel.closure.meanings import Meanings, is_code
from ell_otel.closure.nested import NestedFunctions
from ell_otel.closure.readings import Readings
from ell_otel.closure.rebinding import keep_earlier_bindings
from ell_otel.closure.references import ImportCall, LocalImport, Reference, assigned_attributes, renamed_import_calls
from ell_otel.closure.registration import Registrations
from ell_otel.closure.source import absolute_import
from ell_otel.closure.spaces import MISSING, Kept, Slot, Space
from ell_otel.closure.statements import reads_of
from ell_otel.closure.values import Values


class Resolution(Meanings):
    """The growing closure: spaces with their kept statements, and what was noticed on the way."""

    def __init__(self, names: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.names = names or {}  # values of names of the enclosing function, given by the caller
        self.warnings: dict[str, None] = {}
        self.partial = False
        self.observed: dict[tuple[int, str], tuple[Mapping[str, Any], str, Any]] = {}
        self.roots: list[Slot] = []
        self.extra: list[Slot] = []  # lines of their own, at the end
        self.order: list[Space] = []  # spaces in the order they were first needed
        self.values = Values(self)
        self.nested = NestedFunctions(self)
        self.readings = Readings(self.spaces)
        self._registrations = Registrations(self)
        self._files = Files(self)
        self._effects = Effects(self, self._registrations)
        self._todo: list[Kept] = []
        self._required: set[tuple[int, tuple[str, ...], int | None, bool]] = set()
        self._pending: list[tuple[Slot, tuple[str, ...], int | None, bool, bool]] = []

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
        slot = Slot("value", name, self.common, pieces=self.values.express(value, name))
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
        while self._todo or self._pending or self._effects.keep_changes_between():
            if self._pending:
                self._satisfy(*self._pending.pop())
            elif self._todo:
                self._follow(self._todo.pop())
            if not self._todo and not self._pending:
                self._effects.follow()
                keep_earlier_bindings(self)

    def spaces_with(self, space: Space, word: str) -> list[Space]:
        """The modules that may speak of a name of one of them: itself, the closure's, those imported for effects."""
        return list(dict.fromkeys([space, *self.order, *self._effects.spaces_with(word)]))

    def _follow(self, kept: Kept) -> None:
        space, statement = kept.space, kept.statement
        for found in statement.analysis.imports:
            self._follow_import(kept, found)
        replaced = self._follow_calls(kept)
        for reference in reads_of(statement.analysis, space.index.future_annotations):
            if id(reference.node) in replaced:
                continue
            slot = self.slot(space, reference.name)
            if reference.eager and self.is_builtin_yet(space, reference.name, kept.position):
                slot = kept.outside[id(reference.node)] = self.builtin(reference.name)
            kept.uses.append((reference, slot))
            if reference.node is statement.alias_root and slot.final().kind == "namespace":
                continue  # those who read the name it gives the module say what they read from it
            self._follow_reference(kept, reference, slot)
        for name in statement.binds:
            if not self.readings.only_changes(self.slot(space, name)):
                self._follow_registrations(space, name)

    def _follow_reference(self, kept: Kept, reference: Reference, slot: Slot) -> None:
        space, statement = kept.space, kept.statement
        before = kept.position if reference.eager and slot.space is space else None
        self.note_dotted(space, reference.name, slot, reference.chain)
        dispensable = reference.annotation or reference.doubtful or statement.is_branching
        changing = reference.name in statement.changes and id(reference.node) in statement.changed_nodes
        if slot.kind == "external":
            self._keep_changes_of_installed(space, reference, slot)
        elif not _calls_into(reference, slot) and (reference.use != "change" or not changing):
            for chain in self.chains(space, statement.analysis, reference):
                self.require(slot, chain, before, dispensable, changing)
        if "__subclasses__" in reference.chain:
            self._registrations.ask_for_subclasses(slot.final())
        self.observe(space, reference.name)
        if reference.use == "change" and not reference.eager and (module := slot.final().of) is not None:
            module.assigned |= assigned_attributes(statement.node, reference.name)

    def _keep_changes_of_installed(self, space: Space, reference: Reference, slot: Slot) -> None:
        """Keep what a module changes of an installed one that it uses; of Python's own, where it uses the same part.

        What an installed decorator is put on is not among it: a library's users have that in common, and no more.
        """
        pythons = slot.module.partition(".")[0] in sys.stdlib_module_names and not slot.attribute
        part = "environ" if reference.chain[:1] == ("getenv",) else next(iter(reference.chain), "")
        for position in space.index.changers.get(reference.name, ()):
            statement = space.index.statements[position]
            found = (r for r in statement.analysis.references if r.use == "change" and r.eager)
            parts = {r.chain[:1] for r in found if r.name == reference.name and (r.chain or slot.attribute)}
            if parts and not statement.is_definition and ((part,) in parts or not pythons):
                self.keep_whole(space, position)

    def _follow_import(self, kept: Kept, found: LocalImport) -> None:
        """An import inside a function, a branch or a class body: an installed module's stays as it is."""
        slot = self.imported(kept.space, found.node, found.alias)
        if slot.kind == "external" and not self._is_from_users(kept.space, found.node):
            return
        if not self._is_followed(slot):
            return
        kept.imports.append((found, slot))
        chains = found.chains
        if kept.statement.binds and found.eager:
            chains = [r.chain for r in kept.statement.analysis.references if r.name == found.name and r.use == "read"]
        if not chains and slot.kind == "namespace" and found.name in kept.statement.binds:
            return  # bound at module level: other statements say what they read from it
        for chain in chains or [()]:  # without any, the module itself is what is wanted
            self.require(slot, chain, None, False)

    def _is_followed(self, slot: Slot) -> bool:
        """Whether an import can succeed. Otherwise it stays: its branch is not taken, or catches the ImportError."""
        return self.spaces.can_be_imported(slot.of or slot.space)

    def _is_from_users(self, space: Space, node: ast.Import | ast.ImportFrom) -> bool:
        """Whether an import names a module of the user's, which may hand on what is installed."""
        users = isinstance(node, ast.ImportFrom) and self.spaces.of_module(absolute_import(node, space.package))
        return bool(users)

    def _follow_calls(self, kept: Kept) -> set[int]:
        """The calls that import modules of the user's or read files; the ids of the nodes that are gone with them."""
        calls, importers = kept.statement.analysis.import_calls, kept.space.index.importers
        if importers:
            calls = [*calls, *renamed_import_calls(kept.statement.node, importers)]
        gone = {id(call.root) for call in calls if self._follow_call(kept, call)}
        return gone | self._files.follow(kept)

    def _follow_call(self, kept: Kept, call: ImportCall) -> bool:
        """An `importlib.import_module` of a module of the user's; another's stays as it is."""
        found = self.spaces.of_module(call.module(kept.space.package, kept.space.name))
        if found is None:
            return False
        slot = self.as_object(found)
        kept.calls.append((call, slot))
        if call.node is not kept.statement.alias_root:
            self.require(slot, call.chain, None, False)
        return True

    def _follow_registrations(self, space: Space, name: str) -> None:
        for position in self._registrations.positions(space, name):
            self.keep_whole(space, position)
        for value in self._registrations.registered_in(space, name):
            slot = self.values.code_slot(value)
            if slot is not None:
                self.require(slot, (), None, False)

    # -- what a slot rests on

    def require(
        self, slot: Slot, chain: tuple[str, ...], before: int | None, dispensable: bool, changing: bool = False
    ) -> None:
        """See to it that what stands behind the slot is kept; `chain` are the attributes read from it.

        `before` bounds the statements of its own module that count. What is dispensable may be missing: names in
        annotations, and in branches that may not be taken. `changing` is a name that the statement only changes.
        """
        key = (id(slot), chain, before, changing)
        if key not in self._required:
            self._required.add(key)
            self._pending.append((slot, chain, before, dispensable, changing))

    def _satisfy(
        self, slot: Slot, chain: tuple[str, ...], before: int | None, dispensable: bool, changing: bool
    ) -> None:
        meant = slot.final()
        if meant.kind == "defined" and self.readings.note(meant, changing and bool(chain)):
            self._follow_registrations(meant.space, meant.name)
        if slot.kind == "defined":
            self._satisfy_defined(slot, chain, before)
        elif slot.kind == "alias" and slot.target is not None:
            self._keep_alias(slot, chain)
            self.require(slot.target, chain, None, dispensable, changing)
        elif slot.kind == "namespace" and slot.of is not None:
            self._require_member(slot.of, chain, dispensable, changing)
        elif slot.kind == "value":
            for piece in slot.pieces:
                if isinstance(piece, Slot):
                    self.require(piece, (), None, False)
        elif slot.kind == "unbound" and not dispensable:
            self.incomplete(f"name {slot.name!r}, used in {slot.space.name}, is not defined anywhere it was looked for")

    def _satisfy_defined(self, slot: Slot, chain: tuple[str, ...], before: int | None) -> None:
        index = slot.space.index
        positions = index.bindings(slot.name, before)
        if self.readings.only_changes(slot):
            positions = [p for p in positions if not index.statements[p].decorates_by(slot.name)]
        if not positions:  # bound by functions that declare it `global`
            self.order += [slot.space] if slot.space not in self.order else []
            self._follow_registrations(slot.space, slot.name)
        elif positions == index.bindings(slot.name) and self._keep_by_value(slot, positions):
            return
        for position in positions:
            if index.statements[position].is_import:
                self.keep(slot.space, position).aliases.add(slot.name)
            self.keep_whole(slot.space, position)
            self._require_imported(slot, position, chain)
            self._require_aliased(slot, position, chain)

    def _require_imported(self, slot: Slot, position: int, chain: tuple[str, ...]) -> None:
        """What is read from a module that an import inside a branch bound to the name."""
        statement = slot.space.index.statements[position]
        for found in statement.analysis.imports if chain and not statement.is_definition else ():
            meant = self.imported(slot.space, found.node, found.alias) if found.name == slot.name else slot
            if found.eager and meant is not slot and self._is_followed(meant):
                self.require(meant, chain, None, True)

    def _require_aliased(self, slot: Slot, position: int, chain: tuple[str, ...]) -> None:
        """What is read from a module that a statement gave a second name (`p = shop.prompts`)."""
        space, statement = slot.space, slot.space.index.statements[position]
        root, path = statement.alias_root, statement.alias_chain
        if isinstance(root, ast.Name):
            meant = self.slot(space, root.id)
            if meant.final().kind == "namespace":
                self.require(meant, path + chain, position, False)
        elif isinstance(root, ast.Call):
            for call in statement.analysis.import_calls:
                found = self.spaces.of_module(call.module(space.package, space.name))
                if call.node is root and found is not None:
                    self.require(self.as_object(found), path + chain, None, False)

    def _keep_by_value(self, slot: Slot, positions: list[int]) -> bool:
        """Keep what a name got from files as the content it has, in place of the last statement that binds it."""
        space, name = slot.space, slot.name
        fillers = self._registrations.positions(space, name) if type(space.live(name)) in (dict, list, set) else []
        kept = space.kept.get(positions[-1])
        value = self._files.value_of(space, name, [*positions, *fillers])
        if value is None or (kept is not None and kept.followed):
            return False
        self.keep(space, positions[-1]).values[name] = value
        return True

    def _keep_alias(self, slot: Slot, chain: tuple[str, ...]) -> None:
        """Keep the import that binds the name, and the importing module's changes of what it means."""
        index = slot.space.index
        for position in index.binders.get(slot.name) or [position for position, _ in index.stars]:
            if index.statements[position].is_import:
                self.keep(slot.space, position).aliases.add(slot.name)
        module = slot.final().kind == "namespace"
        for position in index.changers.get(slot.name, ()):
            if index.statements[position].decorates_by(slot.name) and self.readings.only_changes(slot.final()):
                continue
            references = index.statements[position].analysis.references
            chains = [r.chain[:1] for r in references if r.use == "change" and r.name == slot.name and r.eager]
            if not module or (chain and chain[:1] in chains):
                self.keep_whole(slot.space, position)

    def _require_member(self, space: Space, chain: tuple[str, ...], dispensable: bool, changing: bool) -> None:
        if chain:
            names = [chain[0]]
        else:  # the module itself is handed on: everything it binds may be asked of it
            names = sorted(space.index.binders)
            for position, statement in enumerate(space.index.statements):
                if not statement.is_import and (statement.binds or statement.changes):
                    self.keep_whole(space, position)
        for name in names:
            member = space.members.setdefault(name, self.member(space, name))
            self.note_dotted(space, name, member, chain[1:])
            self.observe(space, name)
            self.require(member, chain[1:], None, dispensable, changing)

    # -- what is noticed

    def observe(self, space: Space, name: str) -> None:
        """Remember which function or class was found under a name, for `Closure.is_current`."""
        live = space.live(name)
        if live is not MISSING and is_code(live) and space.namespace is not None:
            self.observed.setdefault((id(space.namespace), name), (space.namespace, name, live))


def _calls_into(reference: Reference, slot: Slot) -> bool:
    """Whether the reference only says that a function of a module is called (`tools.register(x)`, `@tools.program`)."""
    return reference.use == "change" and not reference.chain and slot.final().kind == "namespace"
