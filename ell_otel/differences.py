"""What changed between two versions: statement by statement, and within a statement word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

Operation = Literal["same", "removed", "added"]
Word = tuple[Operation, str]
"""A run of text and what happened to it. The texts that are not ``added`` make up the text before, and so on."""

_TOKEN: Final = re.compile(r"\w+|[^\S\n]+|\n|[^\w\s]")


class PartLike(Protocol):
    """A kept statement: ``ell.otel.v1.Part``, or a closure's own."""

    @property
    def module(self) -> str: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Change:
    """One statement that differs. ``part`` is what it binds, with its module; ``before`` or ``after`` may be empty."""

    part: str
    kind: Literal["added", "removed", "changed"]
    before: str
    after: str
    words: tuple[Word, ...]


def compare(before: Sequence[PartLike], after: Sequence[PartLike]) -> list[Change]:
    """The statements in which two closures differ, in the order of the newer one, removed ones last."""
    old, new = _by_name(before), _by_name(after)
    changes = []
    for part, text in new.items():
        if part not in old:
            changes.append(Change(part, "added", "", text, (("added", text),)))
        elif old[part] != text:
            changes.append(Change(part, "changed", old[part], text, tuple(words(old[part], text))))
    changes += [
        Change(part, "removed", text, "", (("removed", text),)) for part, text in old.items() if part not in new
    ]
    return changes


def words(before: str, after: str) -> Iterator[Word]:
    """The way from ``before`` to ``after``: by lines first, which is fast, then by words where lines were replaced."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        removed, added = "".join(old[i:j]), "".join(new[k:m])
        if tag == "equal":
            yield "same", removed
        elif tag == "replace":
            yield from _within(_TOKEN.findall(removed), _TOKEN.findall(added))
        elif tag == "delete":
            yield "removed", removed
        else:
            yield "added", added


def _within(old: list[str], new: list[str]) -> Iterator[Word]:
    """Word by word. A blank between two changes belongs to both, so that a replaced phrase is one change, not many."""
    removed, added = "", ""
    opcodes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for tag, i, j, k, m in opcodes:
        same = "".join(old[i:j]) if tag == "equal" else ""
        if tag == "equal" and (not same.isspace() or "\n" in same or not (removed or added) or j == len(old)):
            yield from _change(removed, added)
            removed, added = "", ""
            yield "same", same
        else:
            removed += "".join(old[i:j])
            added += "".join(new[k:m])
    yield from _change(removed, added)


def _change(removed: str, added: str) -> Iterator[Word]:
    if removed:
        yield "removed", removed
    if added:
        yield "added", added


def _by_name(parts: Sequence[PartLike]) -> dict[str, str]:
    """Texts by what they bind. Several statements may bind one name (a list that is appended to): they go together."""
    texts: dict[str, str] = {}
    for part in parts:
        name = ", ".join(part.names) or part.text.partition("\n")[0]
        key = f"{part.module}.{name}" if part.module else name
        texts[key] = f"{texts[key]}\n{part.text}" if key in texts else part.text
    return texts
