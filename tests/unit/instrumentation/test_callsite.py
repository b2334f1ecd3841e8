"""Which function of the user's is named as the one that makes a call, found on the stack."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from ell_otel.instrumentation import callsite


def site() -> str:
    """The program that the caller of this is, by its name in this module."""
    found = callsite.calling(depth=2)
    assert found is not None
    return found.program.removeprefix(f"{__name__}.")


def test_a_function_is_the_program_that_makes_its_calls() -> None:
    assert site() == "test_a_function_is_the_program_that_makes_its_calls"


class Assistant:
    def ask(self) -> str:
        return site()

    @classmethod
    def made(cls) -> str:
        return site()

    @staticmethod
    def plain() -> str:
        return site()

    @property
    def answer(self) -> str:
        return site()

    def nested(self) -> str:
        def inner() -> str:
            return self and site()

        return inner()


def test_a_method_of_any_kind_is_a_program() -> None:
    assert Assistant().ask() == "Assistant.ask"
    assert Assistant.made() == "Assistant.made"
    assert Assistant.plain() == "Assistant.plain"
    assert Assistant().answer == "Assistant.answer"
    assert Assistant().nested() == "Assistant.nested.<locals>.inner"


def test_in_a_comprehension_it_is_the_function_around_it() -> None:
    here = "test_in_a_comprehension_it_is_the_function_around_it"
    assert [site() for _ in range(1)] == [here]
    assert {site() for _ in range(1)} == {here}
    assert {site(): 1 for _ in range(1)} == {here: 1}
    assert list(site() for _ in range(1)) == [here]  # noqa: C400


def one() -> int:
    return 1


def two() -> int:
    return 2


def decorated(function: Callable[[], int]) -> Callable[[], int]:
    def wrapper() -> int:
        return function()

    return wrapper


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


def made(*parts: Any) -> Callable[[], str]:
    first, second = parts

    def ask() -> str:
        found = callsite.calling()
        assert found is not None
        assert first is not second
        return found.version

    return ask


DIFFERENT: dict[str, tuple[tuple[Any, Any], tuple[Any, Any]]] = {
    "functions": ((one, ...), (two, ...)),
    "functions of one decorator": ((decorated(one), ...), (decorated(two), ...)),
    "functions decorated twice": ((decorated(decorated(one)), ...), (decorated(decorated(two)), ...)),
    "cached functions": ((functools.cache(one), ...), (functools.cache(two), ...)),
    "partial functions": ((functools.partial(one), ...), (functools.partial(two), ...)),
    "functions of C": ((math.sin, ...), (math.cos, ...)),
    "members": ((Kind.ONE, ...), (Kind.TWO, ...)),
    "names in a dict": (({"one": one}, ...), ({"two": one}, ...)),
    "where a list ends": (([one], [two, one]), ([one, two], [one])),
    "lists and tuples": (([one], ...), ((one,), ...)),
}


@pytest.mark.parametrize("different", DIFFERENT)
def test_a_nested_function_has_another_version_with_other_code_around_it(different: str) -> None:
    before, after = DIFFERENT[different]
    version = made(*before)()
    assert made(*after)() != version
    assert made(*before)() == version


def test_a_nested_function_is_captured_once_for_all_runs_with_the_same_code_around_it() -> None:
    def ask(run: int) -> callsite.CallSite | None:
        tools = {"".join(["o", "ne"]): decorated(one), "two": functools.partial(two)}

        def inner() -> callsite.CallSite | None:
            return callsite.calling() if run and tools else None

        return inner()

    assert ask(1) is ask(2) is not None


def test_what_passes_for_a_function_is_no_hindrance() -> None:
    assert made(Mock(spec=one), ...)() == made(Mock(spec=two), ...)()
