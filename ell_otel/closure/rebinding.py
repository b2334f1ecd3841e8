"""Names a module binds anew while it executes, and the functions called before: they find what the name was then.

`def f(): return X`, `Y = f()` between `X = 1` and `X = 2` rests on both. A function's names mean what they are bound to
last, unless a statement of the closure calls it earlier; so does a class whose metaclass reads the class's own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ell_otel.closure.spaces import Kept, Slot, Space

if TYPE_CHECKING:
    from ell_otel.closure.resolution import Resolution


def keep_earlier_bindings(resolution: Resolution) -> None:
    """Keep what names were bound to when statements of the closure called functions that read them."""
    for space in resolution.order:
        for name, settled in space.index.rebound.items() if space.cells is None else ():
            slot = space.slots.get(name)
            if slot is None or slot.kind != "defined" or settled not in space.kept:
                continue
            for kept in [kept for position, kept in space.kept.items() if position <= settled]:
                if _reads_by_calling(kept, slot):
                    resolution.require(slot, (), kept.position, True)


def _reads_by_calling(kept: Kept, slot: Slot) -> bool:
    """Whether a statement, while it executes, uses functions or classes that read the name once they are called."""
    todo = [found for reference, found in kept.uses if reference.eager]
    seen: set[Kept] = set()
    while todo:
        for user in _bound_by(todo.pop().final()):
            if user not in seen:
                seen.add(user)
                if any(found is slot and not reference.eager for reference, found in user.uses):
                    return True
                todo += [found for _, found in user.uses]
    return False


def _bound_by(slot: Slot) -> Iterator[Kept]:
    """The statements kept so far that give a name its value."""
    space: Space = slot.space
    for position in space.index.bindings(slot.name) if slot.kind == "defined" else ():
        if position in space.kept:
            yield space.kept[position]
