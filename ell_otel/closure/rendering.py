"""A kept statement as it stands in the closure's text: its own characters, with a few places replaced.

Replacements are made at positions taken from the syntax tree, never by searching the text. Where a position cannot be
trusted (names inside f-strings before CPython 3.12, names that have no position of their own) the statement is
written anew from its tree instead: the same program, in plain formatting.
"""

from __future__ import annotations

import ast
import copy
import re

from ell_otel.closure.parsing import parse_expression, parse_quietly
from ell_otel.closure.references import LocalImport, Reference
from ell_otel.closure.secrets import Changes, change_edits, changed, redacted_comments, secret_changes
from ell_otel.closure.source import Unit
from ell_otel.closure.spaces import Kept, Slot
from ell_otel.redact import redact

Edit = tuple[int, int, str]
_DEFINED_NAME = re.compile(r"(?:async\s+)?(?:def|class)\s+(\w+)")
_SHOWS_ITSELF = re.compile(r"=\s*(?:![rsa]\s*)?(?::[^\n]*)?\}")  # f"{name=}", whose text is part of what it gives
_COMMENT_LINE = re.compile(r"[ \t]*#")


def expression(pieces: list[str | Slot]) -> str:
    """A value's pieces with the slots' names put in."""
    return "".join(piece if isinstance(piece, str) else piece.named().text_name for piece in pieces)


def statement_text(kept: Kept) -> tuple[str, bool]:
    """The text of a kept statement, redacted, renamed where it must be, dedented to module level.

    And whether it is the statement as it stood, so that the text's syntax tree is the statement's own.
    """
    if kept.values and not kept.followed:
        return _by_value(kept), False
    if kept.statement.is_import:
        return alias_lines(kept), False
    unit, node = kept.statement.unit, kept.statement.node
    start, end = _extent(kept)
    secrets = secret_changes(unit, node, kept.statement.analysis)
    hidden = change_edits(unit, secrets)
    renames = _renames(kept)
    if any(edit is None or _inside(edit, hidden) for _, edit in renames):
        return _unparsed(kept, renames, secrets), False
    edits = hidden + [edit for _, edit in renames if edit is not None]
    edits += [_import_edit(unit, group) for group in _grouped(kept.imports)]
    edits += [(*unit.span(call.node), slot.named().text_name) for call, slot in kept.calls]
    edits += [(*unit.span(call), value) for call, value in kept.contents]
    decorators = [_edited(unit, *unit.span(decorator), edits, 0) for decorator in _own_decorators(kept)]
    text = ""
    if decorators:
        text = _edited(unit, start, unit.line_start(kept.statement.first_line), edits, _indent(kept))
        start = unit.line_start(node.lineno)
    text = redacted_comments(text + _edited(unit, start, end, edits, _indent(kept)))
    if kept.statement.made_up:
        name = kept.space.slots["lambda_"].named().text_name
        return f"{name} = ({text})" if "\n" in text else f"{name} = {text}", False
    return text + _own_names(kept, decorators), not edits and not _indent(kept)


def alias_lines(kept: Kept) -> str:
    """What a plain import of the user's own module becomes: a line for each name that is not carried over as it is."""
    lines = []
    for name in sorted(kept.aliases):
        slot = kept.space.slots[name]
        if slot.kind == "alias" and slot.target is not None and slot.named() is slot:
            target = slot.target.named().text_name
            lines += [f"{slot.text_name} = {target}"] if target != slot.text_name else []
        elif slot.kind == "defined":
            lines.append(_kept_import(kept, name))
    return "\n".join(lines)


def _kept_import(kept: Kept, name: str) -> str:
    """An import of a name that other statements bind too: it keeps its place in the order."""
    own = kept.space.slots[name].named().text_name
    for found, slot in kept.imports:
        if found.name == name:
            return f"{own} = {slot.named().text_name}"
    node = kept.statement.node
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return ""
    alias = next(a for a in node.names if name in (a.asname, a.name, a.name.partition(".")[0]))
    if isinstance(node, ast.Import):
        return f"import {alias.name}" + (f" as {own}" if alias.asname or own != name else "")
    return f"from {node.module} import {alias.name}" + (f" as {own}" if alias.name != own else "")


def _by_value(kept: Kept) -> str:
    """`NAME = <content of the file>` in place of the statement that read it."""
    node, unit = kept.statement.node, kept.statement.unit
    annotation = ""
    if isinstance(node, ast.AnnAssign):
        start, end = unit.span(node.annotation)
        annotation = f": {unit.text[start:end]}"
    lines = []
    for name in sorted(kept.values):
        slot = kept.space.slots[name].named()
        lines.append(redact(f"{slot.text_name}{annotation} = {kept.values[name]}"))
    start, end = unit.span(node)
    secrets = change_edits(unit, secret_changes(unit, node, kept.statement.analysis))
    original = redact(_edited(unit, start, end, secrets, 0)).split("\n")
    return "\n".join([f"# {line}" for line in original] + lines)


def _extent(kept: Kept) -> tuple[int, int]:
    """Start and end of the statement with its decorators, the comment lines right above and the one behind it."""
    unit, node = kept.statement.unit, kept.statement.node
    if kept.statement.made_up:
        return unit.span(node)
    first = kept.statement.first_line
    start = unit.line_start(first)
    before = unit.text[start : unit.offset(node.lineno, node.col_offset)] if first == node.lineno else ""
    if before.strip():
        start = unit.offset(node.lineno, node.col_offset)
    else:
        while first > 1 and _COMMENT_LINE.match(unit.line(first - 1)) and not unit.line(first - 1).startswith("#!"):
            first -= 1
        start = unit.line_start(first)
    end = unit.span(node)[1]
    rest = unit.text[end : unit.line_start(kept.statement.last_line + 1) - 1]
    return start, end + len(rest) if rest.lstrip().startswith("#") else end


def _indent(kept: Kept) -> int:
    decorators = getattr(kept.statement.node, "decorator_list", None)
    return int(decorators[0].col_offset - 1 if decorators else kept.statement.node.col_offset)


def _edited(unit: Unit, start: int, end: int, edits: list[Edit], indent: int) -> str:
    """The text between two offsets with the edits made and, where it was indented, moved to the margin."""
    if indent and "\n" not in unit.text[unit.line_start(unit.line_at(start)) : start]:
        edits = edits + _dedents(unit, start, end, indent)
    out: list[str] = []
    place = start
    for first, last, replacement in sorted(set(edits)):
        if first >= place and last <= end:
            out += [unit.text[place:first], replacement]
            place = last
    out.append(unit.text[place:end])
    return "".join(out)


def _dedents(unit: Unit, start: int, end: int, indent: int) -> list[Edit]:
    inside = _string_lines(unit, start, end)
    found: list[Edit] = []
    for line in range(unit.line_at(start), unit.line_at(max(start, end - 1)) + 1):
        begin = unit.line_start(line)
        blank = len(unit.line(line)) - len(unit.line(line).lstrip(" \t\f"))
        if line not in inside and blank and begin >= start:
            found.append((begin, begin + min(blank, indent), ""))
    return found


def _string_lines(unit: Unit, start: int, end: int) -> set[int]:
    """Lines that begin inside a string: their leading blanks are the program's own."""
    first, last = unit.line_at(start), unit.line_at(end)
    found: set[int] = set()
    for outer in unit.tree.body:
        if outer.lineno <= last and (outer.end_lineno or 0) >= first:
            for node in ast.walk(outer):
                text = isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
                if text or type(node).__name__ in ("JoinedStr", "TemplateStr"):
                    found.update(range(node.lineno + 1, (node.end_lineno or 0) + 1))  # type: ignore[attr-defined]
    return found


def _renames(kept: Kept) -> list[tuple[Reference, Edit | None]]:
    """For each reference that carries another name in the text: the edit, or None where its place is not certain."""
    found: list[tuple[Reference, Edit | None]] = []
    unit = kept.statement.unit
    spans = [(*unit.span(node), "") for node in kept.statement.analysis.formatted]
    shown = [span for span in spans if _SHOWS_ITSELF.search(unit.text, span[0], span[1])]
    local_imports = {id(found_import.alias) for found_import, _ in kept.imports}
    for reference in kept.statement.analysis.references:
        if reference.use in ("change", "pass", "act"):
            continue
        slot = kept.outside.get(id(reference.node)) or kept.space.slots.get(reference.name)
        text_name = slot.named().text_name if slot is not None else ""
        if text_name in ("", reference.name) or id(reference.node) in local_imports:
            continue
        if kept.statement.made_up and reference.use == "write":
            continue
        edit = _rename(kept.statement.unit, reference, text_name)
        found.append((reference, None if edit is not None and _inside(edit, shown) else edit))
    return found


def _rename(unit: Unit, reference: Reference, new: str) -> Edit | None:
    node, name = reference.node, reference.name
    if isinstance(node, ast.Name):
        start, end = unit.span(node)
        return (start, end, new) if unit.text[start:end] == name else None
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        match = _DEFINED_NAME.match(unit.text, unit.offset(node.lineno, node.col_offset))
        return (match.start(1), match.end(1), new) if match and match[1] == name else None
    if isinstance(node, ast.Global):
        start, end = unit.span(node)
        match = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)").search(unit.text, start + len("global"), end)
        return (match.start(), match.end(), new) if match else None
    if isinstance(node, ast.alias):
        start, end = unit.span(node)
        return (start, end, f"{node.name} as {new}")
    return None


def _inside(edit: Edit, others: list[Edit]) -> bool:
    return any(first <= edit[0] and edit[1] <= last for first, last, _ in others)


def _unparsed(kept: Kept, renames: list[tuple[Reference, Edit | None]], secrets: Changes) -> str:
    """The statement written anew from its tree, with its names changed there."""
    memo: dict[int, object] = {}
    tree = changed(kept.statement.node, secrets, memo)
    for reference, _ in renames:
        slot = kept.space.slots[reference.name]
        _rename_node(memo[id(reference.node)], reference.name, slot.named().text_name)
    for group in _grouped(kept.imports):
        _replace_import(tree, memo[id(group[0][0].node)], group)
    for call, slot in kept.calls:
        _replace_expression(tree, memo[id(call.node)], ast.Name(slot.named().text_name))
    for read, value in kept.contents:
        _replace_expression(tree, memo[id(read)], parse_expression(value))
    decorators = []
    if _own_decorators(kept) and isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef)):
        decorators, tree.decorator_list = [ast.unparse(decorator) for decorator in tree.decorator_list], []
    return ast.unparse(tree) + _own_names(kept, decorators)


def _replace_expression(tree: ast.AST, old: object, new: ast.expr) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list):
                value[:] = [new if item is old else item for item in value]


def _rename_node(node: object, old: str, new: str) -> None:
    if isinstance(node, ast.Name):
        node.id = new
    elif isinstance(node, ast.Global):
        node.names = [new if name == old else name for name in node.names]
    elif isinstance(node, ast.alias):
        node.asname = new
    elif isinstance(node, ast.MatchMapping):
        node.rest = new
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if f"{{{old}" in node.value or f"%({old})" in node.value:
            node.value = re.sub(rf"(?<=[{{(]){old}(?!\w)", new, node.value)
            return
        parsed = parse_expression(node.value.strip())
        for part in ast.walk(parsed):
            if isinstance(part, ast.Name) and part.id == old:
                part.id = new
        node.value = ast.unparse(parsed)
    elif hasattr(node, "name"):
        node.name = new


def _grouped(imports: list[tuple[LocalImport, Slot]]) -> list[list[tuple[LocalImport, Slot]]]:
    """Local imports by the statement they stand in."""
    groups: dict[int, list[tuple[LocalImport, Slot]]] = {}
    for found, slot in imports:
        groups.setdefault(id(found.node), []).append((found, slot))
    return list(groups.values())


def _import_edit(unit: Unit, group: list[tuple[LocalImport, Slot]]) -> Edit:
    """An import inside a function or branch, as assignments from the names its modules have in the text."""
    start, end = unit.span(group[0][0].node)
    return start, end, "; ".join(_assignments(group))


def _assignments(group: list[tuple[LocalImport, Slot]]) -> list[str]:
    node = group[0][0].node
    ours = {id(found.alias) for found, _ in group}
    others = [alias for alias in node.names if id(alias) not in ours]
    lines = [
        f"{found.name} = {_meant(found, slot.named().text_name)}" for found, slot in group if slot.named().text_name
    ]
    lines = [line for line in lines if line.split(" = ")[0] != line.split(" = ")[1]]
    if others:
        rest = copy.copy(node)
        rest.names = others
        lines.append(ast.unparse(rest))
    return lines or ["pass"]


def _meant(found: LocalImport, name: str) -> str:
    """The name of the text that a local import brings; where it carries that name itself, by way of the module."""
    return f"globals()[{name!r}]" if name == found.name and not found.eager else name


def _replace_import(tree: ast.AST, node: object, group: list[tuple[LocalImport, Slot]]) -> None:
    replacement = parse_quietly("\n".join(_assignments(group))).body
    for parent in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(parent, field, None)
            if isinstance(body, list) and node in body:
                position = body.index(node)
                body[position : position + 1] = replacement


def _own_names(kept: Kept, decorators: list[str]) -> str:
    """A renamed class or function keeps the name it goes by (in a `repr`, a schema, a traceback).

    Its decorators, where they were taken off it, are called after that, so that they see that name too.
    """
    node = kept.statement.node
    new = _new_name(kept)
    if not new or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return ""
    lines = [f"\n{new}.__name__ = {new}.__qualname__ = {node.name!r}"]
    value = new
    for decorator in reversed(decorators):
        value = f"{decorator}({value})" if re.fullmatch(r"[\w.]+", decorator) else f"({decorator})({value})"
    return "\n".join([*lines, f"{new} = {value}"] if decorators else lines)


def _own_decorators(kept: Kept) -> list[ast.expr]:
    """The decorators that are taken off, because the function had to be renamed."""
    node = kept.statement.node
    taken = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _new_name(kept)
    return node.decorator_list if taken else []  # type: ignore[attr-defined]


def _new_name(kept: Kept) -> str:
    """The name a definition was given in the text; nothing when it keeps its own."""
    name = getattr(kept.statement.node, "name", "")
    slot = kept.space.slots.get(name)
    new = slot.named().text_name if name and slot is not None else ""
    return new if new != name else ""
