"""The golden corpus: programs with the closure text and version each must have.

A `.case` file has sections: `--- file NAME` (the program's modules), `--- target MODULE:NAME`, `--- call EXPRESSION`
(evaluated in the original module and in the text executed alone: the results must be equal), `--- warnings`, and what
is pinned: `--- version` and `--- text`. `python tests/golden/closure/golden.py` fills in what is missing;
a pinned section is never changed by it: a change of one means a new tag (`c2:`), or an error.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "cases"
_SECTION = re.compile(r"^--- (\w+) ?(.*)$", re.MULTILINE)


@dataclass
class Case:
    """One program of the corpus, and what is pinned of its closure."""

    path: Path
    files: dict[str, str] = field(default_factory=dict)
    target: str = ""
    call: str = ""
    pinned: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Case:
        case = cls(path)
        content = path.read_text(encoding="utf-8")
        sections = list(_SECTION.finditer(content))
        ends = [*(section.start() for section in sections[1:]), len(content)]
        for section, end in zip(sections, ends, strict=True):
            kind, argument, body = section[1], section[2], content[section.end() + 1 : end]
            if kind == "file":
                case.files[argument] = body
            elif kind in ("target", "call"):
                setattr(case, kind, argument)
            else:
                case.pinned[kind] = body.rstrip("\n")
        return case

    def outcome(self) -> tuple[dict[str, str], Any, Any]:
        """The sections as they are now, the original's result, and the result of the text alone."""
        from ell_otel.closure import capture

        modules, here = set(sys.modules), os.getcwd()
        with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as empty:
            for name, body in self.files.items():
                path = Path(directory, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(body, encoding="utf-8")
            sys.path.insert(0, directory)
            os.chdir(directory)
            try:
                importlib.invalidate_caches()
                module_name, _, name = self.target.partition(":")
                module = importlib.import_module(module_name)
                closure = capture(eval(name, vars(module)))
                expected = eval(self.call, vars(module)) if self.call else None
                repeated = capture(eval(name, vars(module)))
                assert repeated.version == closure.version, "running the program changed its version"
            finally:
                sys.path.remove(directory)
                for loaded in set(sys.modules) - modules:
                    if str(getattr(sys.modules[loaded], "__file__", "") or "").startswith(directory) or (
                        loaded.partition(".")[0] in {Path(f).parts[0] for f in self.files}
                    ):
                        del sys.modules[loaded]
                os.chdir(here)
            os.chdir(empty)
            try:
                result = eval(self.call, run_alone(closure.text)) if self.call else None
            finally:
                os.chdir(here)
        uses = "".join(f"\nuses {use.name}" for use in closure.uses)
        now = {"warnings": "\n".join(closure.warnings) + uses, "version": closure.version}
        return {**now, "text": closure.text.rstrip("\n")}, expected, result

    def write(self, now: dict[str, str]) -> None:
        """Add the sections that are not pinned yet."""
        content = self.path.read_text(encoding="utf-8")
        for kind, body in now.items():
            if kind not in self.pinned:
                content = content.rstrip("\n") + f"\n--- {kind}\n{body}\n"
        self.path.write_text(content, encoding="utf-8")


def run_alone(text: str) -> dict[str, Any]:
    """The names of a fresh module in which the text was executed."""
    module = types.ModuleType("alone")
    sys.modules["alone"] = module
    try:
        exec(compile(text, "<alone>", "exec", dont_inherit=True), vars(module))
    finally:
        del sys.modules["alone"]
    return vars(module)


def cases() -> list[Case]:
    return [Case.read(path) for path in sorted(CASES.glob("*.case"))]


if __name__ == "__main__":
    for one in cases():
        if {"warnings", "version", "text"} - one.pinned.keys():
            current, original, alone = one.outcome()
            same = "" if original == alone else f"  DIFFERS: {original!r} alone {alone!r}"
            print(f"{one.path.stem}: {current['version'][:12]}{same}")
            if not same:
                one.write(current)
