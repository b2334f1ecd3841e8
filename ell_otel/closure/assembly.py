"""The text of a closure, put together: imports first, then the kept statements in order, their modules noted."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass

from ell_otel.closure.canonical import Form, form_of, forms_of
from ell_otel.closure.naming import name_slots
from ell_otel.closure.order import Item, Members, ordered
from ell_otel.closure.parts import Outline, Part, joined
from ell_otel.closure.rendering import expression, statement_text
from ell_otel.closure.resolution import Resolution
from ell_otel.closure.spaces import Kept, Slot, Space, declared_global
from ell_otel.redact import redact

_FUTURE = "from __future__ import annotations"
_FILE = '__file__ = globals().get("__file__", "")'  # which a text that is executed as it stands does not have


@dataclass(frozen=True, slots=True)
class Assembled:
    """A closure's text, the outline and canonical forms of its parts, and the installed modules it imports."""

    text: str
    outline: Outline
    forms: tuple[Form, ...]
    imported: tuple[str, ...]


def assemble(resolution: Resolution, root: Kept | None) -> Assembled:
    """Name, order and write out what was kept."""
    slots = name_slots(resolution, root)
    items = ordered(resolution, root)
    parts: list[Part] = []
    forms: list[Form] = []
    imports = _import_part(slots, items)
    if any(slot.kind == "builtin" and slot.name == "__file__" for slot in slots):
        imports = dataclasses.replace(imports, text=f"{imports.text}\n{_FILE}".lstrip("\n"))
    for part, known in [(imports, None), *(_part(item) for item in items)]:
        if part.text:
            parts.append(part)
            forms += forms_of(part.text) if known is None else [known]
    modules = {slot.module.partition(".")[0] for slot in slots if slot.kind == "external"}
    imported = tuple(sorted(modules - sys.stdlib_module_names))
    return Assembled(*joined(parts), tuple(forms), imported)


def _import_part(slots: list[Slot], items: list[Item]) -> Part:
    lines = [line for slot in slots for line in _import_lines(slot)]
    if any(_postpones_annotations(item) for item in items):
        lines.append(_FUTURE)
    names = tuple(sorted({slot.text_name for slot in slots if slot.kind == "external"}))
    return Part("", names, "\n".join(_merged(lines)))


def _import_lines(slot: Slot) -> list[str]:
    name = slot.text_name
    if slot.kind == "builtin":
        return [f"from builtins import {slot.name} as {name}"] if name not in ("", slot.name) else []
    if slot.kind != "external":
        return []
    if slot.attribute:
        return [f"from {slot.module} import {slot.attribute}" + (f" as {name}" if name != slot.attribute else "")]
    if name == slot.module.partition(".")[0] and slot.name == slot.module:
        paths = sorted(slot.dotted) or [slot.module]
        return [f"import {path}" for path in paths if not any(other.startswith(f"{path}.") for other in paths)]
    return [f"import {slot.module} as {name}"]


def _merged(lines: list[str]) -> list[str]:
    """Import lines sorted, `from` lines of one module joined, the future first."""
    found: dict[str, set[str]] = {}
    plain = set()
    for line in lines:
        start, separator, what = line.partition(" import ")
        if separator and start.startswith("from "):
            found.setdefault(start, set()).add(what)
        else:
            plain.add(line)
    froms = [f"{start} import {', '.join(sorted(names))}" for start, names in found.items()]
    return sorted([*plain, *froms], key=lambda line: (not line.startswith("from __future__"), line.split(" ")[1], line))


def _part(item: Item) -> tuple[Part, Form | None]:
    """A part, with its form where that is the one its statement had already."""
    if isinstance(item, Slot):
        return _slot_part(item), None
    if isinstance(item, Members):
        return _members_part(item), None
    slots, statement = item.space.slots, item.statement
    bound = [slots[name].named().text_name for name in statement.binds if name in slots]
    text, untouched = statement_text(item)
    if untouched and statement.form is None:
        statement.form = form_of(statement.node, statement.analysis)
    return Part(item.space.name, tuple(sorted(filter(None, bound))), text), statement.form if untouched else None


def _slot_part(slot: Slot) -> Part:
    """The line of a value, of a stand-in, or of an alias seen at run time."""
    name = slot.text_name
    if slot.kind == "missing":
        return Part(slot.space.name, (name,), expression(slot.pieces))
    if slot.kind == "alias" and slot.target is not None:
        return Part(slot.space.name, (name,), f"{name} = {slot.target.named().text_name}")
    return Part(slot.space.name, (name,), redact(f"{name} = {expression(slot.pieces)}"))


def _members_part(item: Members) -> Part:
    space = item.space
    name = space.as_object.text_name if space.as_object is not None else space.label
    changing = {key: slot.named() for key, slot in sorted(space.members.items()) if _is_rebound(space, key, slot)}
    members = {key: space.members[key].named() for key in item.names if _has_name(space.members[key])}
    members = {key: slot for key, slot in members.items() if key not in changing}
    if not item.begins:
        return Part(space.name, (name,), "\n".join(f"{name}.{key} = {slot.text_name}" for key, slot in members.items()))
    given = ", ".join(f"{key}={slot.text_name}" for key, slot in members.items())
    kind = "SimpleNamespace"
    if changing:
        looks = ", ".join(f"{key!r}: {_look(slot.text_name)}" for key, slot in changing.items())
        kind = f"type({space.name!r}, (SimpleNamespace,), {{{looks}}})"
    return Part(space.name, (name,), f"{name} = {kind}({given})")


def _look(name: str) -> str:
    """An attribute that is the name of the text, whatever that is bound to when it is asked for."""
    return f"property(lambda _: {name}, lambda _, value: globals().update({name}=value))"


def _is_rebound(space: Space, key: str, slot: Slot) -> bool:
    """Whether a member of a module may be bound to something else while the program runs."""
    final = slot.final()
    return final.kind == "defined" and (key in space.assigned or declared_global(final.space, final.name))


def _has_name(slot: Slot) -> bool:
    return bool(slot.named().text_name) and slot.named().kind != "unbound"


def _postpones_annotations(item: Item) -> bool:
    if not isinstance(item, Kept) or not item.space.index.future_annotations:
        return False
    return item.statement.analysis.annotated
