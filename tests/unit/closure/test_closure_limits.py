"""Forms known to be wrong. Each test says what should hold, and fails; one that begins to pass must leave this file."""

from __future__ import annotations

from typing import Any

import pytest
from closure_projects import Project, alone

from ell_otel.closure import capture


@pytest.mark.xfail(
    strict=True, reason="which of an unloaded module's lazy names are which is not to be read from its text"
)
def test_a_lazy_name_of_a_package_that_is_not_loaded_is_found(project: Project) -> None:
    lazy = (
        "import importlib\ndef __getattr__(name): return getattr(importlib.import_module('.prompts', __name__), name)\n"
    )
    project.write_file("shop/__init__.py", lazy)
    project.write(shop__prompts="SYSTEM = 's'\n", main="def ask():\n    from shop import SYSTEM\n    return SYSTEM\n")
    assert not project.capture().partial


@pytest.mark.xfail(strict=True, reason="names in strings that are put together are not looked for")
def test_a_name_put_together_and_read_through_globals_is_found(project: Project) -> None:
    project.write(main="HIDDEN = 1\ndef ask(): return globals()['HID' + 'DEN']\n")
    assert alone(project.capture()).ask() == 1


@pytest.mark.xfail(strict=True, reason="what is read when the program is called is run-time state")
def test_a_file_read_while_running_belongs_to_the_closure(project: Project) -> None:
    project.write_file("p.txt", "content")
    project.write(
        main="from pathlib import Path\nHERE = Path(__file__).parent\ndef ask(): return (HERE / 'p.txt').read_text()\n"
    )
    assert alone(project.capture()).ask() == "content"


@pytest.mark.xfail(
    strict=True, reason="an `await` outside functions, as notebooks allow, is kept as it stands", raises=SyntaxError
)
def test_a_value_awaited_in_a_cell_runs_alone() -> None:
    cells = ["async def get(): return 3", "V = await get()", "def ask(): return V"]
    names: dict[str, Any] = {"__name__": "__main__", "_ih": ["", *cells], "V": 3}
    exec(cells[0], names)
    exec(cells[2], names)
    assert alone(capture(names["ask"])).ask() == 3


@pytest.mark.xfail(strict=True, reason="an object that reads a file while it is made cannot be made without the file")
def test_an_object_that_was_made_from_a_file_is_made_alone(project: Project) -> None:
    project.write_file("p.txt", "content")
    project.write(
        main="import os\nclass Text:\n    def __init__(self, name):\n"
        "        with open(os.path.join(os.path.dirname(__file__), name)) as file: self.text = file.read()\n"
        "TEXT = Text('p.txt')\ndef ask(): return TEXT.text\n"
    )
    closure = project.capture()
    assert closure.partial
    assert alone(closure).ask() == "content"


@pytest.mark.xfail(strict=True, reason="whether an installed module has a name is not known without importing it")
def test_a_branch_for_another_platform_may_import_names_that_are_not_there(project: Project) -> None:
    project.write(
        main="import sys\nif sys.platform == 'nowhere':\n    from win import clear\nelse:\n    def clear(): return 1\n"
        "def ask(): return clear()\n",
        win="from math import nothing_of_that_name\ndef clear(): return nothing_of_that_name()\n",
    )
    assert alone(project.capture()).ask() == 1


@pytest.mark.xfail(
    strict=True, reason="a function that only the function around a nested one can name is not looked for"
)
def test_a_nested_program_decorated_by_a_local_function_is_whole(project: Project) -> None:
    project.write(
        main="import functools\ndef outer(prefix):\n    def deco(f):\n        @functools.wraps(f)\n"
        "        def wrapper(*a): return prefix + f(*a)\n        return wrapper\n"
        "    @deco\n    def inner(): return 'x'\n    return inner\nask = outer('> ')\n"
    )
    assert alone(project.capture()).inner() == "> x"


@pytest.mark.xfail(strict=True, reason="a module loaded by its file's path is run-time state")
def test_a_module_loaded_from_a_path_is_in_the_closure(project: Project) -> None:
    project.write(
        main="import importlib.util as u\nimport pathlib\n"
        "spec = u.spec_from_file_location('loose', pathlib.Path(__file__).with_name('loose.py'))\n"
        "loose = u.module_from_spec(spec)\nspec.loader.exec_module(loose)\ndef ask(): return loose.K\n",
        loose="K = 4\n",
    )
    assert alone(project.capture()).ask() == 4


@pytest.mark.xfail(strict=True, reason="which operators of an object change it is not to be read from a statement")
def test_an_object_changed_by_an_operator_for_no_value_is_whole(project: Project) -> None:
    project.write(
        main="class Chain:\n    def __init__(self): self.parts = []\n"
        "    def __lshift__(self, part): self.parts.append(part)\n"
        "CHAIN = Chain()\nCHAIN << 'a'\ndef ask(): return CHAIN.parts\n"
    )
    assert alone(project.capture()).ask() == ["a"]


@pytest.mark.xfail(
    strict=True, reason="what a module that is installed is told is its own affair, unless it is assigned"
)
def test_what_is_registered_in_an_installed_module_is_found(project: Project) -> None:
    project.write(
        main="import codecs\ndef mark(error): return b'?', error.end\ncodecs.register_error('ell-test-mark', mark)\n"
        "def ask(): return codecs.encode('\\xfc', 'ascii', 'ell-test-mark')\n"
    )
    closure = project.capture()
    assert not closure.partial
    assert "register_error" in closure.text
