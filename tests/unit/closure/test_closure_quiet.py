"""What stays in memory of a capture: the closure itself, once the process has been quiet for a while."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from types import ModuleType

import pytest
from closure_projects import Project

from ell_otel.closure import capture, quiet, source

LINKS = "".join(f"def link{i}(x):\n    return link{i + 1}(x) + 1\n\n\n" for i in range(400))
CHAIN = f"{LINKS}def link400(x):\n    return x\n\n\ndef ask(x):\n    return link0(x)\n"


@pytest.fixture
def module(project: Project) -> ModuleType:
    return project.write(main=CHAIN).load("main")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that counts as quiet as soon as no capture runs."""
    monkeypatch.setattr(quiet, "QUIET_S", 0.0)


def test_a_closure_takes_no_more_than_twice_its_source_once_it_is_quiet(module: ModuleType, soon: None) -> None:
    capture(capture)  # what is made once per process
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    closure = capture(module.ask)
    gc.collect()
    gc.collect()
    stays = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert closure.is_current()
    assert stays <= 2 * len(CHAIN)


def test_parts_are_the_same_before_and_after(module: ModuleType, soon: None) -> None:
    closure = capture(module.ask)
    parts = closure.parts
    gc.collect()
    assert closure.parts == parts
    assert [part.names for part in parts if part.names == ("ask",)] == [("ask",)]
    assert {part.module for part in parts} == {"main"}
    assert all(part.text.startswith("def ") for part in parts)


def test_nothing_is_let_go_while_captures_follow_each_other(module: ModuleType) -> None:
    capture(module.ask)
    unit = source.unit_of_file(str(module.__file__))
    gc.collect()
    assert source.unit_of_file(str(module.__file__)) is unit


def test_nothing_is_let_go_while_a_capture_runs(module: ModuleType, soon: None) -> None:
    capture(module.ask)
    unit = source.unit_of_file(str(module.__file__))
    with quiet.deriving():
        gc.collect()
        assert source.unit_of_file(str(module.__file__)) is unit
    gc.collect()
    assert source.unit_of_file(str(module.__file__)) is not unit


def test_captures_in_several_threads_agree_while_all_is_let_go_between_them(module: ModuleType, soon: None) -> None:
    versions: list[str] = []
    every = gc.get_threshold()
    interval = sys.getswitchinterval()

    def work() -> None:
        for number in range(0, 400, 40):
            versions.append(f"{number} {capture(getattr(module, f'link{number}')).version}")

    gc.set_threshold(50, 2, 2)
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*every)
        sys.setswitchinterval(interval)
    assert len(versions) == 30
    assert len(set(versions)) == 10


def test_no_python_code_of_ours_runs_at_collections_when_there_is_nothing_to_let_go(
    module: ModuleType, soon: None
) -> None:
    def ours() -> list[object]:
        return [each for each in gc.callbacks if getattr(each, "__module__", "") == quiet.__name__]

    for _ in range(2):
        capture(module.ask)
        gc.collect()
        assert ours() == []
    gc.disable()
    try:
        capture(module.ask)
        assert len(ours()) == 1
        gc.collect()
        assert ours() == []
    finally:
        gc.enable()
