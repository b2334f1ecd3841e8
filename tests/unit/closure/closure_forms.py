"""Small projects of several modules, each a form in which programs reach what they rest on, from `forms/*.txt`.

    === name
    target MODULE:NAME EXPRESSION     what is captured, what is evaluated in it (`main:ask ask()` unless given)
    stays FILE: OLD -> NEW            an edit that leaves the version as it is
    changes FILE: OLD -> NEW          an edit that makes a new one
    --- FILE
    content

A form that speaks of `shop` without a `shop/prompts.py` of its own has SHOP, where `OTHER` and `unused` are not to be taken along.
Run as a script, this prints the version and the result of each form, for comparing interpreters and hash seeds; given
the name of a folder of `forms`, of those in it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from closure_projects import Project, alone

from ell_otel.closure import Closure, capture

SHOP = {
    "shop/__init__.py": "",
    "shop/prompts.py": "SYSTEM = 'sys'\nOTHER = 'other'\ndef fmt(x): return SYSTEM + x\ndef unused(): return OTHER\n",
}


@dataclass
class Form:
    name: str
    target: str = "main:ask"
    call: str = "ask()"
    edits: list[tuple[str, str, str, str]] = field(default_factory=list)  # stays or changes, file, old, new
    files: dict[str, str] = field(default_factory=dict)

    @property
    def uses_shop(self) -> bool:
        return "shop/prompts.py" not in self.files and any("shop" in text for text in self.files.values())

    def edited(self, file: str, old: str, new: str) -> dict[str, str]:
        """The files after the edit."""
        files = {**(SHOP if self.uses_shop else {}), **self.files}
        assert old in files[file], f"{self.name}: {old!r} is not in {file}"
        return {**files, file: files[file].replace(old, new)}

    def outcome(self, project: Project, files: dict[str, str]) -> tuple[Closure, Any]:
        """The closure of the form's target, and what its expression gives in the project."""
        for name, text in files.items():
            project.write_file(name, text)
        module, _, target = self.target.partition(":")
        with contextlib.chdir(project.directory):
            names = vars(project.load(module))
            closure = capture(eval(target, names))
            return closure, eval(self.call, names)


def forms(folder: str = "") -> list[Form]:
    found: list[Form] = []
    for path in sorted((Path(__file__).with_name("forms") / folder).glob("*.txt")):
        for block in path.read_text(encoding="utf-8").split("=== ")[1:]:
            head, *files = block.split("--- ")
            name, *lines = head.strip().split("\n")
            form = Form(name)
            for line in lines:
                kind, _, rest = line.partition(" ")
                if kind == "target":
                    form.target, _, form.call = rest.partition(" ")
                else:
                    file, _, edit = rest.partition(": ")
                    form.edits.append((kind, file, *edit.split(" -> ")))  # type: ignore[arg-type]
            for file in files:
                file_name, _, content = file.partition("\n")
                form.files[file_name.strip()] = content
            if form.uses_shop:
                form.edits += [("stays", "shop/prompts.py", "'other'", "'changed'")]
                form.edits += [("changes", "shop/prompts.py", "'sys'", "'system'")]
            found.append(form)
    return found


def main() -> None:
    sys.dont_write_bytecode = True
    outcomes = {}
    for form in forms(*sys.argv[1:]):
        with tempfile.TemporaryDirectory() as directory:
            sys.path.insert(0, directory)
            project = Project(Path(directory))
            closure, result = form.outcome(project, form.edited(next(iter(form.files)), "", ""))
            outcomes[form.name] = [closure.version, repr(result)]
            project.forget()
            sys.path.remove(directory)
            assert repr(eval(form.call, vars(alone(closure)))) == repr(result), closure.text
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
