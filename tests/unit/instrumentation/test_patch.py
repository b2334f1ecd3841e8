"""What is patched can be taken back, and leaves the very objects that were there."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from ell_otel.instrumentation import patch
from ell_otel.telemetry import guard


class Client:
    def ask(self, question: str) -> str:
        return f"asked {question}"

    @staticmethod
    def plain(question: str) -> str:
        return question


class Special(Client):
    """Inherits ``ask``."""


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    patch.restore()


def loud(wrapped, instance, args, kwargs):  # type: ignore[no-untyped-def]
    return wrapped(*args, **kwargs).upper()


def test_a_wrapper_runs_in_the_place_of_a_function_until_it_is_taken_back() -> None:
    before = dict(vars(Client))
    patch.wrap(Client, "ask", loud)
    patch.wrap(Client, "plain", loud)
    assert (Client().ask("why"), Client.plain("why")) == ("ASKED WHY", "WHY")
    patch.restore()
    assert {name: vars(Client)[name] is value for name, value in before.items()} == dict.fromkeys(before, True)


def test_an_inherited_function_is_patched_for_the_subclass_alone() -> None:
    patch.wrap(Special, "ask", loud)
    assert (Special().ask("why"), Client().ask("why")) == ("ASKED WHY", "asked why")
    patch.restore()
    assert "ask" not in vars(Special)


def test_several_patches_of_one_function_are_taken_back_in_turn() -> None:
    original = vars(Client)["ask"]
    patch.wrap(Client, "ask", loud)
    patch.wrap(Client, "ask", lambda wrapped, instance, args, kwargs: wrapped(*args) + "!")
    assert Client().ask("why") == "ASKED WHY!"
    patch.restore()
    assert vars(Client)["ask"] is original


def test_a_patch_that_another_has_patched_over_stays() -> None:
    original = vars(Client)["ask"]
    patch.wrap(Client, "ask", loud)
    ours = vars(Client)["ask"]
    theirs = lambda self, question: ours.__get__(self)(question)  # noqa: E731
    Client.ask = theirs  # type: ignore[method-assign]
    patch.restore()
    assert vars(Client)["ask"] is theirs
    Client.ask = original  # type: ignore[method-assign]


def test_what_is_not_there_is_not_patched() -> None:
    patch.wrap(Client, "missing", loud)
    assert not hasattr(Client, "missing")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package that nobody has imported yet."""
    name = f"package_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text("ready = True")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_hook_runs_once_when_its_package_is_imported(package: str) -> None:
    seen: list[types.ModuleType] = []

    def hook(module: types.ModuleType) -> None:
        assert module.ready
        seen.append(module)

    patch.on_import(package, hook)
    patch.on_import(package, hook)
    assert seen == []
    module = importlib.import_module(package)
    assert seen == [module]


def test_a_hook_runs_at_once_when_its_package_was_imported_before(package: str) -> None:
    seen: list[types.ModuleType] = []
    module = importlib.import_module(package)
    patch.on_import(package, seen.append)
    assert seen == [module]


def test_a_hook_does_not_run_after_all_was_taken_back_and_does_when_it_is_wanted_again(package: str) -> None:
    seen: list[types.ModuleType] = []
    hook = seen.append
    patch.on_import(package, hook)
    patch.restore()
    module = importlib.import_module(package)
    assert seen == []
    patch.on_import(package, hook)
    assert seen == [module]


def test_a_hook_that_fails_does_not_fail_the_import(package: str, caplog: pytest.LogCaptureFixture) -> None:
    guard.raise_faults(False)

    patch.on_import(package, lambda module: patch.replace(object(), "name", module))
    assert importlib.import_module(package).ready
    assert f"instrumenting {package}" in caplog.text
