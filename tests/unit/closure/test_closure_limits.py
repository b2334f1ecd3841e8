"""Forms known to be wrong. Each test says what should hold, and fails; one that begins to pass must leave this file."""

from __future__ import annotations

from typing import Any

import pytest
from closure_projects import Project, alone

from ell_otel.closure import capture


@pytest.mark.xfail(strict=True, reason="a module rebuilt as an object is a copy of its names")
def test_an_attribute_of_a_module_set_while_running_is_seen_by_the_module(project: Project) -> None:
    project.write(
        state="COUNT = 0\ndef shown(): return COUNT\n",
        main="import state\ndef ask():\n    state.COUNT = 5\n    return state.shown()\n",
    )
    closure = project.capture()
    assert alone(closure).ask() == 5


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


@pytest.mark.xfail(strict=True, reason="every import of a package's part is written as a line of its own")
def test_an_unused_import_of_another_part_of_a_package_does_not_count(project: Project) -> None:
    project.write(pkg____init__="", pkg__used="A = 1\n", pkg__unused="B = 1\n")
    project.write(main="import pkg.used\ndef ask(): return pkg.used.A\n")
    version = project.capture().version
    project.write(main="import pkg.used\nimport pkg.unused\ndef ask(): return pkg.used.A\n")
    assert project.capture().version == version


@pytest.mark.xfail(strict=True, reason="a decorator that is an attribute of a module takes the module whole")
def test_other_names_of_a_decorators_module_stay_out(project: Project) -> None:
    project.write(
        tools="OTHER = 1\ndef deco(fn): return fn\n",
        main="import tools\n@tools.deco\ndef ask(): return 1\n",
    )
    assert "OTHER" not in project.capture().text


@pytest.mark.xfail(strict=True, reason="a function is not known to change what it is given")
def test_two_functions_that_fill_the_same_table_keep_their_order(project: Project) -> None:
    functions = "P = {}\ndef a(t): t['k'] = 1\ndef b(t): t['k'] = 2\ndef ask(): return P\n"
    project.write(main=functions + "a(P)\nb(P)\n")
    version = project.capture().version
    project.write(main=functions + "b(P)\na(P)\n")
    assert project.capture().version != version


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
