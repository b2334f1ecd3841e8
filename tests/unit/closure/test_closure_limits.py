"""Forms known to be wrong. Each test says what should hold, and fails; one that begins to pass must leave this file."""

from __future__ import annotations

import pytest
from closure_projects import Project, alone


@pytest.mark.xfail(strict=True, reason="a module rebuilt as an object is a copy of its names")
def test_an_attribute_of_a_module_set_while_running_is_seen_by_the_module(project: Project) -> None:
    project.write(
        state="COUNT = 0\ndef shown(): return COUNT\n",
        main="import state\ndef ask():\n    state.COUNT = 5\n    return state.shown()\n",
    )
    closure = project.capture()
    assert alone(closure).ask() == 5


@pytest.mark.xfail(strict=True, reason="the decorator sees the name that the text had to give the function")
def test_a_decorated_function_that_is_renamed_keeps_its_name_for_its_decorator(project: Project) -> None:
    project.write(
        tools="NAMES = []\ndef tool(fn):\n    NAMES.append(fn.__name__)\n    return fn\n@tool\ndef search(): return NAMES\n",
        main="import tools\ndef search(): return 1\ndef ask(): return tools.search(), search()\n",
    )
    assert alone(project.capture()).ask() == (["search"], 1)


@pytest.mark.xfail(strict=True, reason="names in strings are not looked for")
def test_a_name_read_through_globals_is_found(project: Project) -> None:
    project.write(main="HIDDEN = 1\ndef ask(): return globals()['HIDDEN']\n")
    assert alone(project.capture()).ask() == 1


@pytest.mark.xfail(strict=True, reason="what is read when the program is called is run-time state")
def test_a_file_read_while_running_belongs_to_the_closure(project: Project) -> None:
    project.write_file("p.txt", "content")
    project.write(
        main="from pathlib import Path\nHERE = Path(__file__).parent\ndef ask(): return (HERE / 'p.txt').read_text()\n"
    )
    assert alone(project.capture()).ask() == "content"


@pytest.mark.xfail(strict=True, reason="a container changed under another name (a parameter) is not followed")
def test_registration_through_a_default_argument_is_found(project: Project) -> None:
    project.write(
        main="HANDLERS = []\ndef on(fn, handlers=HANDLERS):\n    handlers.append(fn)\n    return fn\n"
        "@on\ndef a(): return 'A'\ndef ask(): return [f() for f in HANDLERS]\n"
    )
    assert alone(project.capture()).ask() == ["A"]
