"""Programs that say of themselves what their closures must be, and the changes made to each of them.

A table is a text: `# form: what it shows` begins a program's `main.py`, `# file: NAME` another of its modules, and
`# call: EXPRESSION`, `# target: NAME` and `# warns` say how it is called, what is captured (`ask`, unless said), and
that the capture is partial. A module-level statement that ends in `# unused` does not belong to the closure; every
other one does. So each program is its own list of change pairs: a change of any constant or body, or the loss of a
statement, must change the version where the statement belongs to the closure, and must not where it does not.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from closure_projects import Project, alone

from ell_otel.closure import Closure, verify

_DIRECTIVE = re.compile(r"^# (form|file|call|target|warns):? ?(.*)\n", re.MULTILINE)


@dataclass
class Form:
    """One program of a table."""

    name: str
    files: dict[str, str] = field(default_factory=dict)
    call: str = "ask()"
    target: str = "ask"
    warns: bool = False


@dataclass(frozen=True)
class Change:
    """A program with one thing changed, and whether what was changed belongs to its closure."""

    what: str
    files: dict[str, str]
    counts: bool


def forms_of_table(table: str) -> list[Form]:
    """The programs of a table."""
    forms: list[Form] = []
    found = list(_DIRECTIVE.finditer(table))
    ends = [*(directive.start() for directive in found[1:]), len(table)]
    for directive, end in zip(found, ends, strict=True):
        kind, value, body = directive[1], directive[2].strip(), table[directive.end() : end]
        if kind == "form":
            forms.append(Form(value))
        if kind in ("form", "file"):
            forms[-1].files["main.py" if kind == "form" else value] = body.strip("\n") + "\n"
        elif kind == "warns":
            forms[-1].warns = True
            forms[-1].files["main.py"] += body
        else:
            setattr(forms[-1], kind, value)
    return forms


def check(project: Project, form: Form) -> Closure:
    """Everything that must hold of the program itself, formatting and comments included."""
    closure = captured(project, form.files, form.target)
    assert form.warns == closure.partial, closure.warnings
    assert form.warns or not closure.warnings
    assert verify(closure.text, closure.version)
    original = eval(form.call, vars(project.load("main")))
    names = vars(alone(closure))
    names.setdefault(form.target, names.get(closure.qualname.rpartition(".")[2]))
    assert eval(form.call, names) == original, closure.text
    modules = {name: text for name, text in form.files.items() if name.endswith(".py")}
    respaced = {name: f"# a comment\n\n{text}\n# another\n" for name, text in modules.items()}
    unparsed = {name: ast.unparse(ast.parse(text)) + "\n" for name, text in modules.items()}
    for files in (respaced, unparsed):
        assert captured(project, {**form.files, **files}, form.target).version == closure.version
    return closure


def check_changes(project: Project, form: Form, closure: Closure) -> int:
    """Every change of the program changes the version, or does not, as the program says. How many there were."""
    count = 0
    for change in changes_of(form):
        try:
            changed = captured(project, change.files, form.target)
        except Exception:  # the changed program cannot be imported: it is none
            continue
        count += 1
        assert (changed.version != closure.version) == change.counts, f"{change.what}\n{closure.text}"
    return count


def captured(project: Project, files: dict[str, str], target: str) -> Closure:
    for name, text in files.items():
        project.write_file(name, text)
    return project.capture("main", target)


def changes_of(form: Form) -> Iterator[Change]:
    """The programs that differ from this one in a constant, in a body, by a statement, by the order of two functions."""
    for name, text in form.files.items():
        if not name.endswith(".py"):
            continue
        tree = ast.parse(text)
        for position, statement in enumerate(tree.body):
            lines = text.split("\n")[statement.lineno - 1 : statement.end_lineno]
            if any(line.endswith("# loose") for line in lines):
                continue
            counts = not any(line.endswith("# unused") for line in lines)
            for what, changed in _variants(statement):
                body = [*tree.body[:position], *changed, *tree.body[position + 1 :]]
                yield Change(f"{name}: {what}", {**form.files, name: _text(body)}, counts)
            following = tree.body[position + 1 : position + 2]
            if following and _is_free(statement) and _is_free(following[0]) and statement.name != following[0].name:
                body = [*tree.body[:position], *following, statement, *tree.body[position + 2 :]]
                yield Change(f"{name}: order of {statement.name}", {**form.files, name: _text(body)}, False)


def _is_free(statement: ast.stmt) -> Any:
    """Whether it is a function whose definition executes nothing else."""
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) or statement.decorator_list:
        return False
    return not statement.args.defaults and not any(statement.args.kw_defaults)


def _variants(statement: ast.stmt) -> Iterator[tuple[str, list[ast.stmt]]]:
    constants = [n for n in ast.walk(statement) if isinstance(n, ast.Constant) and type(n.value) in (str, int)]
    for number, constant in enumerate(constants):
        memo: dict[int, Any] = {}
        changed = copy.deepcopy(statement, memo)
        value: Any = constant.value
        memo[id(constant)].value = value + 1 if isinstance(value, int) else value + "_"
        yield f"constant {number}, {value!r}, of {ast.unparse(statement)}", [changed]
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        changed = copy.deepcopy(statement)
        changed.body.append(ast.parse("added = 0").body[0])
        yield f"body of {statement.name}", [changed]
    if not (isinstance(statement, ast.ImportFrom) and statement.module == "__future__"):
        yield f"without {ast.unparse(statement)}", []


def _text(body: list[ast.stmt]) -> str:
    return ast.unparse(ast.Module(body, [])) + "\n"
