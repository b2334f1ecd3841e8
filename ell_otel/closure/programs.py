"""Which other programs a program rests on."""

from __future__ import annotations

from typing import Any

from ell_otel.closure.resolution import Resolution
from ell_otel.closure.spaces import MISSING, Kept, Slot
from ell_otel.closure.wrappers import unwrapped


def used_programs(resolution: Resolution, subject: Any) -> list[Any]:
    """The programs reached from the roots without going through another program."""
    found: dict[int, Any] = {}
    todo = list(resolution.roots)
    seen: set[Slot] = set()
    while todo:
        slot = todo.pop()
        if slot in seen:
            continue
        seen.add(slot)
        program = _program(slot)
        if program is not None and unwrapped(program) is not subject:
            found.setdefault(id(unwrapped(program)), program)
            continue
        todo += _following(slot)
    return list(found.values())


def _program(slot: Slot) -> Any:
    value = slot.space.live(slot.name) if slot.kind in ("defined", "alias") else MISSING
    if slot.space.cells is not None:
        value = slot.space.cells.get(slot.name, MISSING)
    return value if value is not MISSING and _is_program(value) else None


def _is_program(value: Any) -> bool:
    try:
        return bool(getattr(value, "__ell_program__", None)) and not isinstance(value, type)
    except Exception:  # an object of the user's whose attribute access raises is no program of ours
        return False


def _following(slot: Slot) -> list[Slot]:
    found = [piece for piece in slot.pieces if isinstance(piece, Slot)]
    found += [slot.target] if slot.target is not None else []
    if slot.kind == "defined":
        for position in slot.space.index.bindings(slot.name):
            kept = slot.space.kept.get(position)
            found += _used_by(kept) if kept is not None else []
    return found


def _used_by(kept: Kept) -> list[Slot]:
    found: list[Slot] = []
    for reference, slot in kept.uses:
        final = slot.final()
        found.append(slot)
        for attribute in reference.chain:
            if final.kind != "namespace" or final.of is None:
                break
            member = final.of.members.get(attribute)
            if member is None:
                break
            found.append(member)
            final = member.final()
    found += [slot for _, slot in kept.imports]
    return [slot for slot in found if slot.kind != "namespace"]
