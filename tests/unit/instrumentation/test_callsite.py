"""Which function of the user's is named as the one that makes a call, found on the stack."""

from __future__ import annotations

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
