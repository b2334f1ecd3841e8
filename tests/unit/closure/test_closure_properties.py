"""Identity on programs drawn from a grammar: what never changes a version, what always does, and what the text does.

Each program has two modules. Its parts use each other by name, through decorators that register, base classes, defaults
and imports, some under one name in both modules; more than the target needs is drawn, so that something is left out.
A longer search: `HYPOTHESIS_EXAMPLES=3000 pytest tests/unit/closure/test_closure_properties.py`.
"""

from __future__ import annotations

import ast
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import pytest
from closure_projects import Project, alone
from hypothesis import given, settings
from hypothesis import strategies as st
from test_closure_canonical import mutations

from ell_otel.closure import Closure, verify
from ell_otel.closure.canonical import notation

pytestmark = pytest.mark.tables

NAMES = ("alpha", "beta", "gamma", "delta")
bounded = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "12")), deadline=None, derandomize=True, database=None
)


@dataclass(frozen=True)
class Program:
    """Statements by module; `own` are independent of each other, and `REGISTRY` and `register` are in `lib`."""

    lib: tuple[str, ...]
    main: tuple[str, ...]
    imported: tuple[str, ...]
    target: str

    def files(self) -> dict[str, str]:
        head = "REGISTRY = []\n\n\ndef register(fn):\n    REGISTRY.append(fn)\n    return fn\n\n\n"
        imports = [f"from lib import {name} as lib_{name}" for name in self.imported]
        lines = ["import lib", "from lib import register, REGISTRY", *imports, *self.main, self.target]
        return {"lib.py": head + "\n".join(self.lib) + "\n", "main.py": "\n".join(lines) + "\n"}


def _definition(name: str, known: tuple[str, ...]) -> st.SearchStrategy[str]:
    """A statement that binds the name, and uses those bound before."""
    uses = st.sampled_from(known) if known else st.just("None")
    number = st.integers(0, 9)
    text = st.text(st.sampled_from("ab '\"\\\n#é{"), max_size=6).map(repr)
    return st.one_of(
        st.builds("{0} = {1}".format, st.just(name), st.one_of(number, text)),
        st.builds("{0} = {{'x': {1}, 'y': [{2}, ({3},)]}}".format, st.just(name), number, text, uses),
        st.builds("def {0}(a={1}, *, {0}=2):\n    '''{3}'''\n    local = [a, {0}, {2}]\n    return local".format,
                  st.just(name), uses, uses, st.sampled_from(["Be terse.", "Say\n      more.", ""])),
        st.builds("@register\ndef {0}(): return {1} if {2} else {3}".format, st.just(name), uses, number, text),
        st.builds("class {0}:\n    size: int = {1}\n    def get(self, k={3}): return [k, self.size, {2}]".format,
                  st.just(name), number, uses, text),
        st.builds("{0} = {1}\nif {2} > 4:\n    {0} = [{1}, {3}]".format, st.just(name), text, number, uses),
        st.builds("{0} = [{2} for {2} in range({1})] + [{3}]".format, st.just(name), number, st.sampled_from(NAMES), uses),
        st.builds("{0} = [{1}]\n{0}.append({2})".format, st.just(name), uses, number),
    )  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> Program:
    lib: list[str] = []
    for position, name in enumerate(NAMES):
        lib.append(draw(_definition(name, NAMES[:position])))
    imported = tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2)))
    known = (*(f"lib_{name}" for name in imported), *(f"lib.{name}" for name in NAMES[:2]), "len", "REGISTRY")
    main: list[str] = []
    for name in NAMES[:3]:
        main.append(draw(_definition(name, known)))
        known = (*known, name)
    used = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
    target = f"def ask(q, n=2):\n    parts = [q, n, {', '.join(used)}]\n    return parts"
    return Program(tuple(lib), tuple(main), imported, target)


@contextmanager
def projects() -> Iterator[Project]:
    with tempfile.TemporaryDirectory() as folder, mock.patch("sys.path", [folder, *__import__("sys").path]):
        project = Project(Path(folder))
        yield project
        project.forget()


def captured(files: dict[str, str]) -> tuple[Closure, str]:
    """The closure of the target, and what the original gives, as text without addresses."""
    with projects() as project, mock.patch("sys.dont_write_bytecode", True):
        for name, text in files.items():
            project.write_file(name, text)
        closure = project.capture()
        return closure, shown(project.load("main").ask("q"))


def shown(value: object, depth: int = 5) -> str:
    """A value as text; functions and classes by what they return, since a renamed function may be among them."""
    if depth == 0:
        return "..."
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(shown(each, depth - 1) for each in value)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shown(each, depth - 1)}" for key, each in value.items()) + "}"
    if isinstance(value, type):
        return f"class {value.__name__} {shown(value().get(), depth - 1)}"
    return f"function {shown(value(), depth - 1)}" if hasattr(value, "__code__") else repr(value)


def version_of(program: Program) -> str:
    return captured(program.files())[0].version


@given(programs())
@bounded
def test_the_text_is_verified_and_does_what_the_original_does(program: Program) -> None:
    closure, original = captured(program.files())
    assert verify(closure.text, closure.version)
    assert not closure.partial
    assert shown(alone(closure).ask("q")) == original
    assert captured(program.files())[0].version == closure.version


@given(programs())
@bounded
def test_formatting_comments_and_line_ends_do_not_count(program: Program) -> None:
    files = program.files()
    version = captured(files)[0].version
    unparsed = {name: ast.unparse(ast.parse(text)) for name, text in files.items()}
    assert captured(unparsed)[0].version == version
    assert captured({name: text.replace("\n", "\r\n") for name, text in unparsed.items()})[0].version == version
    spaced = {name: _commented(text) for name, text in unparsed.items()}
    assert captured(spaced)[0].version == version


def _commented(text: str) -> str:
    """Blank lines and comments before and behind each statement of a module, parentheses around what it assigns."""
    lines: list[str] = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign):
            value = ast.unparse(node.value)
            lines.append(f"\n\n# before\n{ast.unparse(node.targets[0])} = (\n    ({value})\n)  # behind\n")
        else:
            lines.append(f"\n\n# before\n\n{ast.unparse(node)}\n")
    return "".join(lines)


@given(programs())
@bounded
def test_unused_additions_do_not_count(program: Program) -> None:
    more = ("import json", "UNUSED = {'a': [1]}", "def unused(x=UNUSED): return ask, alpha", "class Unused: pass")
    longer = replace(program, lib=("OTHER = 1", *program.lib, "OTHER = 2"), main=(*program.main, *more))
    assert version_of(longer) == version_of(program)


@given(programs())
@bounded
def test_every_change_of_a_kept_statement_counts(program: Program) -> None:
    """Each single mutation of the closure's own text makes another version of it."""
    closure, _ = captured(program.files())
    tree = ast.parse(closure.text)
    form = notation(tree)
    for mutated in mutations(tree):
        if notation(mutated) != form:
            assert not verify(ast.unparse(ast.fix_missing_locations(mutated)), closure.version)


@given(programs(), st.sampled_from(["q, n", "return parts", "n=2", "ask(q"]))
@bounded
def test_an_edit_of_the_target_counts_and_undone_gives_the_old_version_back(program: Program, place: str) -> None:
    edits = {"q, n": "n, q", "return parts": "return (parts, 0)", "n=2": "n=3", "ask(q": "ask(q: str"}
    version = version_of(program)
    assert version_of(replace(program, target=program.target.replace(place, edits[place], 1))) != version
    assert version_of(program) == version


def test_definitions_that_do_not_use_each_other_may_stand_in_any_order() -> None:
    parts = ("A = 1", "def f(): return A", "class C:\n    def get(self): return 2", "D = {'k': 3}")
    target = "def ask(q, n=2): return q, n, f, C, D"
    program = Program(tuple(f"{name} = 0" for name in NAMES), parts, (), target)
    assert version_of(replace(program, main=parts[::-1])) == version_of(program)
