"""The order of a closure's statements: the order in which Python would have executed them.

A module's statements come where the first import of the module stands, as on a real import, each module's in the order
of its text. Two things move: a statement that another one needs while executing is brought forward when an import
cycle would have it later, and the target goes last where nothing needs it earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ell_otel.closure.resolution import Resolution
from ell_otel.closure.spaces import Kept, Slot, Space


@dataclass(frozen=True, slots=True)
class Members:
    """A line that makes a module an object, or gives an object begun before some more of its members."""

    space: Space
    names: tuple[str, ...]
    begins: bool


Item = Kept | Slot | Members  # a statement, the line of a value or alias, the line of a module as an object
_Task = Iterator["_Task"]


def ordered(resolution: Resolution, root: Kept | None) -> list[Item]:
    """Everything that makes up the text, in order."""
    return _Order(resolution, root).run()


class _Order:
    """Tasks are generators that yield the tasks to be finished before they go on: no recursion, so no depth limit."""

    def __init__(self, resolution: Resolution, root: Kept | None) -> None:
        self._spaces = resolution.order
        self._extra = resolution.extra
        self._root = root
        self._items: list[Item] = []
        self._done: set[Kept | Slot | Space] = set()
        self._open: set[Space] = set()
        self._postponed: list[Space] = []
        self._given: dict[Space, set[str]] = {}
        self._called: set[Kept] = set()

    def run(self) -> list[Item]:
        root, last = self._root, self._root is not None and not self._needed_early(self._root)
        if root is not None and last:
            self._done.add(root)
        starts = [root.space] if root is not None else []
        for space in [*starts, *self._spaces]:
            self._finish(self._space(space))
        if root is not None and last:
            self._done.discard(root)
            self._finish(self._statement(root))
        for slot in self._extra:
            self._finish(self._slot(slot, True, None))
        return self._items

    def _finish(self, task: _Task) -> None:
        stack = [task]
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
            else:
                stack.append(following)

    def _space(self, space: Space) -> _Task:
        if space in self._done:
            return
        self._done.add(space)
        self._open.add(space)
        if space.parent is not None:
            yield self._space(space.parent)
        for position in sorted(space.kept):
            yield self._statement(space.kept[position])
        self._open.discard(space)
        if space.members:
            for name in sorted(space.members):
                yield self._slot(space.members[name], True, None)
            self._give(space, set(space.members))
        while self._postponed and not self._open:
            yield self._space(self._postponed.pop())

    def _statement(self, kept: Kept) -> _Task:
        if kept in self._done:
            return
        self._done.add(kept)
        yield self._imports(kept)
        for reference, slot in kept.uses:
            yield self._slot(slot, reference.eager, kept)
            if reference.eager and reference.chain:
                yield self._members(slot.final(), reference.chain)
        self._items.append(kept)

    def _imports(self, kept: Kept) -> _Task:
        """The modules a statement imports; one imported inside a function waits where it needs this one in turn."""
        for name in sorted(kept.aliases):
            slot = kept.space.slots.get(name)
            if slot is not None and slot.target is not None:
                yield self._slot(slot.target, True, None)
        for space in kept.effects:
            yield self._space(space)
        for found, slot in kept.modules:
            if found.eager or not self._reaches(_space_of(slot), kept.space):
                yield self._slot(slot, found.eager, None)
            else:
                self._postponed.append(_space_of(slot))

    def _slot(self, slot: Slot, eager: bool, user: Kept | None) -> _Task:
        """See that what a name stands for comes first, as far as that matters: `eager` uses need it done."""
        if slot.kind in ("value", "missing") or slot.observed:
            if slot in self._done:
                return
            self._done.add(slot)
            for piece in [*slot.pieces, *([slot.target] if slot.target else [])]:
                if isinstance(piece, Slot) and piece is not slot:
                    yield self._slot(piece, True, None)
            if not slot.shares_name:
                self._items.append(slot)
        elif slot.kind == "namespace" and slot.of is not None:
            yield self._space(slot.of)
            if eager and user is None and slot.of not in self._given:
                self._give(slot.of, set())
        elif slot.kind in ("defined", "alias"):
            yield self._space(slot.space)
            if eager:
                yield self._pulled(slot, user)

    def _members(self, slot: Slot, chain: tuple[str, ...]) -> _Task:
        """The attributes read from a module that is not complete yet: they are given to its object beforehand."""
        for attribute in chain:
            if slot.kind != "namespace" or slot.of is None or attribute not in slot.of.members:
                return
            member = slot.of.members[attribute]
            if slot.of in self._open:
                yield self._slot(member, True, None)
                self._give(slot.of, {attribute})
            slot = member.final()

    def _give(self, space: Space, names: set[str]) -> None:
        begins = space not in self._given
        fresh = names - self._given.setdefault(space, set())
        self._given[space] |= fresh
        if begins or fresh:
            self._items.append(Members(space, tuple(sorted(fresh)), begins))

    def _pulled(self, slot: Slot, user: Kept | None) -> _Task:
        """The statements behind a name needed now, where an import cycle has not brought them yet.

        And those behind the names that functions among them need once they are called.
        """
        before = user.position if user is not None and user.space is slot.space else None
        for position in slot.space.index.bindings(slot.name, before):
            kept = slot.space.kept.get(position)
            if kept is not None and kept is not user and (before is None or position < before):
                yield self._statement(kept)
                if before is None and slot.space in self._open and kept not in self._called:
                    self._called.add(kept)
                    for _, used in kept.uses:
                        yield self._slot(used.final(), True, None)

    def _reaches(self, start: Space, goal: Space) -> bool:
        """Whether the first module's statements use the second one's, directly or through others."""
        todo, seen = [start], set()
        while todo:
            space = todo.pop()
            if space is goal:
                return True
            if space in seen or space in self._done:
                continue
            seen.add(space)
            for kept in space.kept.values():
                todo += [_space_of(slot) for _, slot in kept.uses]
                todo += [_space_of(slot) for _, slot in kept.modules]
                targets = (space.slots[name].target for name in kept.aliases if name in space.slots)
                todo += [_space_of(target) for target in targets if target is not None]
        return False

    def _needed_early(self, root: Kept) -> bool:
        """Whether a module as an object has it, or a statement needs it, itself or through functions that it calls."""
        names = root.statement.binds
        users: dict[Slot, list[tuple[Kept, bool]]] = {}
        for space in self._spaces:
            if any(slot.final().space is root.space and slot.final().name in names for slot in space.members.values()):
                return True
            for kept in space.kept.values():
                for reference, slot in kept.uses if kept is not root else ():
                    users.setdefault(slot.final(), []).append((kept, reference.eager))
        todo, seen = [slot for slot in users if slot.space is root.space and slot.name in names], set()
        direct = set(todo)
        while todo:
            slot = todo.pop()
            for kept, eager in users.get(slot, ()) if slot not in seen else ():
                if eager and (slot in direct or kept.statement.applies):
                    return True
                todo += [kept.space.slots[name].final() for name in kept.statement.binds if name in kept.space.slots]
            seen.add(slot)
        return False


def _space_of(slot: Slot) -> Space:
    return slot.of if slot.of is not None else slot.space
