"""Scripts however they are started, and notebooks whose cells are run again, rebound and timed."""

from __future__ import annotations

import json
import sys
import textwrap
import types

import pytest
from closure_projects import Project, alone

from ell_otel.closure import capture

HELPERS = "K = 2\nOTHER = 3\ndef helper(x): return x * K\n"
PROGRAM = "import helpers\nLIMIT = 3\ndef ask(x): return helpers.helper(x) + LIMIT\n"
SHOW = """
def show(fn):
    import json
    from ell_otel.closure import capture
    c = capture(fn)
    print(json.dumps([c.name, c.partial, c.version]))
"""
APP = PROGRAM + SHOW
SPAWN = (
    "import multiprocessing\ndef child(): show(ask)\nif __name__ == '__main__':\n"
    "    process = multiprocessing.get_context('spawn').Process(target=child)\n    process.start()\n    process.join()\n"
)


@pytest.mark.parametrize(
    ("files", "arguments", "name"),
    [
        ({"app.py": APP, "r.py": "import app\napp.show(app.ask)"}, ["r.py"], "app"),
        ({"app.py": APP + "show(ask)"}, ["app.py"], "app"),
        ({"app.py": APP + "if __name__ == '__main__':\n    show(ask)"}, ["app.py"], "app"),
        ({"pkg/__init__.py": "", "pkg/app.py": APP + "show(ask)"}, ["-m", "pkg.app"], "pkg.app"),
        ({"pkg/__init__.py": "", "pkg/__main__.py": APP + "show(ask)"}, ["-m", "pkg"], "pkg"),
        ({"tool/helpers.py": HELPERS, "tool/__main__.py": APP + "show(ask)"}, ["tool"], "tool"),
        ({}, ["-c", APP + "show(ask)"], "__main__"),
        ({}, ["-W", "ignore", "-Bc", APP + "show(ask)", "-c"], "__main__"),
        ({}, ["-c" + APP + "show(ask)"], "__main__"),
        ({"app.py": APP + SPAWN}, ["app.py"], "app"),
        ({"app.py": APP + "show(ask)", "r.py": "import runpy\nrunpy.run_path('app.py')"}, ["r.py"], "app"),
        (
            {"app.py": APP + "show(ask)", "r.py": "exec(compile(open('app.py').read(), 'app.py', 'exec'))"},
            ["r.py"],
            "r",
        ),
    ],
)
def test_however_a_program_is_started_its_version_is_the_one_it_has_when_imported(
    project: Project, files: dict[str, str], arguments: list[str], name: str
) -> None:
    project.write(helpers=HELPERS, app=PROGRAM)
    version = project.capture("app").version
    for file, text in files.items():
        project.write_file(file, text)
    assert json.loads(project.run(*arguments)) == [f"{name}.ask", False, version]


class Notebook:
    """A namespace as IPython leaves it: cells are noted before they are executed."""

    def __init__(self, *cells: str) -> None:
        self.module = types.ModuleType("__main__")
        vars(self.module)["_ih"] = [""]
        for cell in cells:
            self.run(cell)

    def run(self, cell: str, noted: str = "") -> None:
        history = vars(self.module)["_ih"]
        history.append(noted or cell)
        name = "<timed exec>" if noted else f"<ipython-input-{len(history)}>"
        exec(compile(cell, name, "exec"), vars(self.module))


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made = Notebook("K = 1\nP = {}\ndef helper(x): return x + K, P", "def ask(x): return helper(x)")
    monkeypatch.setitem(sys.modules, "__main__", made.module)
    return made


@pytest.mark.parametrize(
    "cell",
    [
        "K = 7",
        "K += 1",
        "P['a'] = 1",
        "P.update(a=1)",
        "del K\nK = 2",
        "def helper(x): return K",
        "from math import pi as K",
    ],
)
def test_a_later_cell_that_binds_or_changes_a_name_of_the_closure_is_noticed(book: Notebook, cell: str) -> None:
    before = capture(book.module.ask)
    assert before.is_current()
    book.run(cell)
    assert not before.is_current()
    after = capture(book.module.ask)
    assert after.is_current()
    assert after.version != before.version
    assert alone(after).ask(3) == book.module.ask(3)


@pytest.mark.parametrize("cell", ["ask(3)", "other = K + 1", "print(K, P)", "def unused(K): P = K\n", "not python ("])
def test_a_later_cell_that_leaves_its_names_alone_changes_nothing(book: Notebook, cell: str) -> None:
    before = capture(book.module.ask)
    book.module._ih.append(cell)
    assert before.is_current()
    assert capture(book.module.ask).version == before.version


@pytest.mark.parametrize("magic", ["time", "capture", "prun", "debug"])
def test_a_cell_under_a_magic_that_runs_it_is_part_of_the_program(book: Notebook, magic: str) -> None:
    plain = capture(book.module.ask)
    cell = "def helper(x):\n    return [x]\n"
    book.run(cell, noted=f"get_ipython().run_cell_magic({magic!r}, '', {cell!r})")
    assert not plain.is_current()
    closure = capture(book.module.ask)
    assert (closure.partial, alone(closure).ask(2)) == (False, [2])


def test_the_program_itself_may_stand_in_a_timed_cell(book: Notebook) -> None:
    version = capture(book.module.ask).version
    cell = "ignored = 1\ndef ask(x): return helper(x)"
    book.run(cell, noted=f"get_ipython().run_cell_magic('time', '', {cell!r})")
    assert capture(book.module.ask).version == version


def test_a_prompt_that_keeps_its_texts_is_a_notebook(project: Project) -> None:
    """As CPython's own prompt does from 3.13 on: a text for each input, under a name of its own."""
    project.write_file(
        "prompt.py",
        textwrap.dedent(
            """
            import linecache, sys
            from ell_otel.closure import capture
            sys.ps1 = ">>> "
            del __file__
            inputs = ["K = 1", "def ask(): return K", "c = capture(ask)", "print(c.partial, c.is_current())",
                      "other = 2", "print(c.is_current())", "K = 2", "print(c.is_current(), 'K = 2' in capture(ask).text)"]
            for number, text in enumerate(inputs):
                name = f"<python-input-{number}>"
                linecache.cache[name] = (len(text), None, [text + "\\n"], "<stdin>")
                exec(compile(text + "\\n", name, "single"), globals())
            """
        ),
    )
    assert project.run("prompt.py").split() == ["False", "True", "True", "False", "True"]
