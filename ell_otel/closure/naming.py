"""Which name each slot carries in the text, where several modules share one set of names.

A name keeps its plain form when only one thing claims it. Where two do, the target's module keeps its own, and the
others are prefixed with their module (`shop_prompts__SYSTEM`), all of them, so that nothing depends on which came
first. Built-ins claim their names too: a `sum` of one module must not be taken for the `sum()` of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ell_otel.closure.resolution import Resolution
from ell_otel.closure.spaces import Kept, Slot, Space


def name_slots(resolution: Resolution, root: Kept | None) -> list[Slot]:
    """Give every slot of the closure its `text_name`; the slots, each once."""
    slots = list(dict.fromkeys(slot.named() for slot in _slots(resolution)))
    shadowed = _shadowed(resolution)
    taken = {slot.name for slot in slots}
    for space in resolution.order:
        for kept in space.kept.values():
            if kept.followed:
                taken |= kept.statement.analysis.local_names
    claims: dict[str, list[Slot]] = {}
    for slot in slots:
        claims.setdefault(slot.name, []).append(slot)
    for name, claimants in sorted(claims.items()):
        winner = _winner(name, claimants, root)
        for slot in sorted(claimants, key=_prefixed) if len(claimants) > 1 else claimants:
            target = root is not None and slot.space is root.space and name in root.statement.binds
            plain = slot is winner and (target or name not in shadowed.get(slot, ()))
            slot.text_name = name if plain or slot.kind == "unbound" else _free(_prefixed(slot), taken)
    return slots


def _slots(resolution: Resolution) -> Iterator[Slot]:
    """Every slot the text mentions, the parts of values and the members of modules included."""
    todo: list[Slot] = list(resolution.extra)
    for space in resolution.order:
        for kept in space.kept.values():
            todo += _mentioned(space, kept)
        todo += space.members.values()
    seen: set[Slot] = set()
    while todo:
        slot = todo.pop()
        if slot in seen:
            continue
        seen.add(slot)
        yield slot
        todo += [piece for piece in slot.pieces if isinstance(piece, Slot)]
        todo += [slot.target] if slot.target is not None else []
        if slot.of is not None:
            todo += [*slot.of.members.values(), resolution.external("types", "SimpleNamespace", "SimpleNamespace")]


def _mentioned(space: Space, kept: Kept) -> list[Slot]:
    found = [slot for _, slot in kept.uses] + [slot for _, slot in kept.modules]
    found += [space.slots[name] for name in kept.aliases if name in space.slots]
    if kept.followed and not kept.statement.is_import:
        found += [space.slots[name] for name in kept.statement.binds if name in space.slots]
    return found


def _shadowed(resolution: Resolution) -> dict[Slot, set[str]]:
    """Slots that an import inside a function is rewritten to, and the local names they must not carry there."""
    found: dict[Slot, set[str]] = {}
    for space in resolution.order:
        for kept in space.kept.values():
            for _, slot in kept.modules:
                local = kept.statement.analysis.local_names | kept.statement.binds
                found.setdefault(slot.named(), set()).update(local)
    return found


def _winner(name: str, claimants: list[Slot], root: Kept | None) -> Slot | None:
    if len(claimants) == 1:
        return claimants[0]
    for space in (root.space, root.space.parent) if root is not None else ():
        own = space.slots.get(name) if space is not None else None
        if own is not None and own.named() in claimants:
            return own.named()
    return next((slot for slot in claimants if slot.kind == "builtin"), None)


def _prefixed(slot: Slot) -> str:
    if slot.kind == "builtin":
        label = "builtins"
    elif slot.kind == "external":
        label = re.sub(r"\W", "_", slot.module).strip("_")
    elif slot.kind == "namespace" and slot.of is not None:
        return slot.of.label if slot.of.label != slot.name else f"{slot.of.label}__module"
    else:
        label = slot.space.label
    return f"{label}__{slot.name}"


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
