"""The ``openai`` package with us and without us: what a program can see of it is the same."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import ell_otel as ell
from ell_otel.testing import FakeModel

ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
INPUT: Any = {"model": "m", "input": "Why?"}


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    with FakeModel() as fake:
        yield fake


def seen(act: Callable[[], Any]) -> list[str]:
    """What ``act`` returns or raises, and what Python warns of meanwhile."""
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # what earlier tests have left
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            outcome = str(act())
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        gc.collect()
    return [outcome, *(str(each.message) for each in told)]


def without_and_with(act: Callable[[], Any]) -> tuple[list[str], list[str]]:
    ell.uninstrument()
    bare = seen(act)
    ell.instrument()
    try:
        return bare, seen(act)
    finally:
        ell.uninstrument()


def made(coroutine: Coroutine[Any, Any, Any]) -> tuple[bool, str, str]:
    """What a coroutine looks like that nobody will await."""
    return inspect.iscoroutine(coroutine), coroutine.__name__, coroutine.__qualname__


CALLS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda sdk: sdk.chat.completions.create(**ASKED),
    "responses": lambda sdk: sdk.responses.create(**INPUT),
    "embeddings": lambda sdk: sdk.embeddings.create(**INPUT),
    "images": lambda sdk: sdk.images.generate(model="m", prompt="Why?"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_coroutine_that_nobody_awaits_is_warned_of_once_by_the_sdks_name(model: FakeModel, call: str) -> None:
    sdk = model.async_client()
    bare, ours = without_and_with(lambda: made(CALLS[call](sdk)))
    assert len(bare) == 2
    assert "never awaited" in bare[1]
    assert ours == bare


WRONG: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda sdk: sdk.chat.completions.create(),
    "what is given by position": lambda sdk: sdk.chat.completions.create("m"),
    "what it does not know": lambda sdk: sdk.chat.completions.create(**ASKED, nonsense=1),
    "no text": lambda sdk: sdk.embeddings.create(model="m"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", ["client", "async_client"])
def test_a_method_called_wrongly_says_so_at_the_call(model: FakeModel, kind: str, wrong: str) -> None:
    sdk = getattr(model, kind)()
    bare, ours = without_and_with(lambda: type(WRONG[wrong](sdk)))
    assert bare[0].startswith("TypeError")
    assert ours == bare


def test_a_task_is_named_in_tracebacks_and_debuggers_after_the_sdks_method(model: FakeModel) -> None:
    async def task() -> str:
        async with model.async_client() as sdk:
            running = asyncio.create_task(sdk.chat.completions.create(**ASKED))
            await running
            return str(running.get_coro().__qualname__)  # type: ignore[union-attr]

    bare, ours = without_and_with(lambda: asyncio.run(task()))
    assert bare == ["AsyncCompletions.create"]
    assert ours == bare
