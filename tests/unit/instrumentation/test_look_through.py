"""Which code is looked through for a program: a user's own thin wrappers, and packages that count as the user's."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ell_otel as ell
from ell_otel.instrumentation import callsite
from ell_otel.testing import FakeModel, recorded

WRAPPERS = """\
STYLE = "short"

def thin(client, question):
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": question + STYLE}])

class Thin:
    def __init__(self, client):
        self.client = client
    def ask(self, question):
        return thin(self.client, question)
"""
APP = """\
import wrappers

def by_function(client):
    return wrappers.thin(client, "Why?")

def by_class(client):
    return wrappers.Thin(client).ask("Why?")
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An application of two modules: programs, and the thin wrappers by which they ask."""
    (tmp_path / "wrappers.py").write_text(WRAPPERS)
    (tmp_path / "programs.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(callsite, "_passed_names", set())
    monkeypatch.setattr(callsite, "_passed_codes", {})
    ell.instrument()
    yield importlib.import_module("programs")
    ell.uninstrument()
    for name in ("programs", "wrappers"):
        del sys.modules[name]


def program_of(call: Callable[[Any], Any], folder: Path) -> tuple[str, str]:
    """The program that a call is attributed to, and the text of its closure."""
    with FakeModel() as model, model.client() as client:
        call(client)
    recording = recorded(folder)
    (span,) = [span for span in recording.spans if "gen_ai.request.model" in span.attributes]
    name = span.attributes["ell.program.name"]
    closures = {event.attributes["ell.program.name"]: event.attributes for event in recording.events}
    return name, closures[name]["ell.program.source"]


def test_without_a_word_the_wrapper_is_the_program(app: Any, folder: Path) -> None:
    assert program_of(app.by_function, folder)[0] == "wrappers.thin"


def test_the_caller_of_a_function_looked_through_is_the_program_and_the_function_a_part_of_it(
    app: Any, folder: Path
) -> None:
    assert ell.see_through(app.wrappers.thin) is app.wrappers.thin
    name, closure = program_of(app.by_function, folder)
    assert name == "programs.by_function"
    assert 'STYLE = "short"' in closure
    assert "def thin(client, question):" in closure


def test_a_decorator_around_the_function_makes_no_difference(app: Any, folder: Path) -> None:
    app.wrappers.thin = functools.lru_cache(app.wrappers.thin)
    ell.see_through(app.wrappers.thin)
    assert program_of(app.by_function, folder)[0] == "programs.by_function"


def test_all_methods_of_a_class_are_looked_through(app: Any, folder: Path) -> None:
    ell.see_through(app.wrappers.Thin)
    ell.see_through("wrappers.thin")
    name, closure = program_of(app.by_class, folder)
    assert name == "programs.by_class"
    assert "def ask(self, question):" in closure


def test_a_whole_module_is_looked_through_by_its_name(app: Any, folder: Path) -> None:
    ell.see_through("wrappers")
    assert program_of(app.by_class, folder)[0] == "programs.by_class"


def test_where_nobody_else_is_on_the_stack_what_is_looked_through_is_the_program(app: Any, folder: Path) -> None:
    ell.see_through("wrappers")
    ell.see_through("programs")
    ell.see_through(program_of)
    ell.see_through(__name__)
    assert program_of(app.by_class, folder)[0] == "wrappers.thin"


def test_what_has_no_code_cannot_be_looked_through() -> None:
    with pytest.raises(TypeError, match="takes a function, a class or the name"):
        ell.see_through(3)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The wrappers as a package that is installed."""
    site = tmp_path / "lib" / "site-packages"
    (site / "house").mkdir(parents=True)
    (site / "house" / "__init__.py").write_text(WRAPPERS)
    monkeypatch.syspath_prepend(site)
    yield importlib.import_module("house")
    del sys.modules["house"]


def call_of_house(client: Any) -> Any:
    return sys.modules["house"].thin(client, "Why?")


def test_an_installed_package_is_passed_over(installed: ModuleType, folder: Path) -> None:
    ell.instrument()
    name, closure = program_of(call_of_house, folder)
    ell.uninstrument()
    assert name == f"{__name__}.call_of_house"
    assert "def thin" not in closure


def test_a_package_named_in_the_environment_is_the_users_own(
    installed: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELL_OTEL_USER_PACKAGES", "other, house")
    ell.instrument()
    name, closure = program_of(call_of_house, folder)
    ell.uninstrument()
    assert name == "house.thin"
    assert "def thin(client, question):" in closure
