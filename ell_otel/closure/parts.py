"""The parts of a closure's text, and how the text is set from them.

A closure stays in memory as long as its program, so it holds its text once. Where its parts stand in it is an
`Outline`: two numbers and a line of names for each part, a small fraction of what the parts themselves would take.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass

_BLOCK = re.compile(r"^(?:@|async |class |def |if |for |with |try:|while |match )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a closure's text: the module it came from (empty for the imports), the names it binds."""

    module: str
    names: tuple[str, ...]
    text: str


class Outline:
    """Where each part begins and ends in the text, and its module and names."""

    __slots__ = ("_labels", "_places")

    def __init__(self, places: list[int], parts: list[Part]) -> None:
        self._places = array("I", places)
        self._labels = "\0".join(  # the names, and the module where it is another than before
            " ".join(part.names) + (f"\t{part.module}" if part.module != before else "")
            for before, part in zip(["", *(part.module for part in parts)], parts, strict=False)
        )

    def parts(self, text: str) -> tuple[Part, ...]:
        """The parts of the text this is the outline of."""
        if not self._places:
            return ()
        found = []
        module = ""
        for number, label in enumerate(self._labels.split("\0")):
            names, changes, new = label.partition("\t")
            module = new if changes else module
            begin, end = self._places[2 * number], self._places[2 * number + 1]
            found.append(Part(module, tuple(names.split()), text[begin:end]))
        return tuple(found)


def joined(parts: list[Part]) -> tuple[str, Outline]:
    """The parts with blank lines as people set them, and a comment where the module changes, if there are several."""
    modules = {part.module for part in parts if part.module}
    lines: list[str] = []
    places: list[int] = []
    place = 0
    previous: Part | None = None
    for part in parts:
        before = _lines_between(previous, part, len(modules) > 1)
        place += sum(len(line) + 1 for line in before)
        places += [place, place + len(part.text)]
        place += len(part.text) + 1
        lines += [*before, part.text]
        previous = part
    return "\n".join(lines) + "\n", Outline(places, parts)


def _lines_between(previous: Part | None, part: Part, named: bool) -> list[str]:
    """The blank lines before a part, and the comment that names its module."""
    lines: list[str] = []
    changes = previous is None or part.module != previous.module
    if previous is not None:
        block = _is_block(part) or _is_block(previous)
        lines += ["", ""] if block else [""] if changes else []
    if changes and part.module and named:
        lines.append(f"# from {part.module}")
    return lines


def _is_block(part: Part) -> bool:
    """Whether the part is a definition or a compound statement, which stands between blank lines."""
    return part.module != "" and _BLOCK.search(part.text) is not None
