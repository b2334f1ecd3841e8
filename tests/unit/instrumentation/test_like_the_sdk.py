"""The ``openai`` package with us and without us: what a program can see of it is the same."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import ell_otel as ell
from ell_otel.telemetry import guard
from ell_otel.testing import FakeModel, recorded

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
    "parsed chat": lambda sdk: sdk.chat.completions.parse(**ASKED),
    "parsed responses": lambda sdk: sdk.responses.parse(**INPUT),
    "images": lambda sdk: sdk.images.generate(model="m", prompt="Why?"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_coroutine_that_nobody_awaits_is_warned_of_once_by_the_sdks_name(model: FakeModel, call: str) -> None:
    sdk = model.async_client()
    bare, ours = without_and_with(lambda: made(CALLS[call](sdk)))
    assert len(bare) == 2
    assert "never awaited" in bare[1]
    assert ours == bare


def test_a_raw_answer_whose_parsing_nobody_awaits_is_warned_of_once_by_the_sdks_name(model: FakeModel) -> None:
    async def leave() -> tuple[bool, str, str]:
        async with (
            model.async_client() as sdk,
            sdk.chat.completions.with_streaming_response.create(**ASKED) as answer,
        ):
            return made(answer.parse())

    bare, ours = without_and_with(lambda: asyncio.run(leave()))
    assert bare[1:] == ["coroutine 'AsyncAPIResponse.parse' was never awaited"]
    assert ours == bare


WRONG: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda sdk: sdk.chat.completions.create(),
    "what is given by position": lambda sdk: sdk.chat.completions.create("m"),
    "what it does not know": lambda sdk: sdk.chat.completions.create(**ASKED, nonsense=1),
    "too little": lambda sdk: sdk.responses.parse(nonsense=1),
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


# -- values of the host's that fight back when somebody looks at them -------------------------------------------------


class Fierce:
    def __repr__(self) -> str:
        raise ZeroDivisionError("repr")

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class FierceText(str):
    def __len__(self) -> int:
        raise ZeroDivisionError("len")


class FierceNumber(float):
    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("eq")

    __hash__ = None  # type: ignore[assignment]


class FierceMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise ZeroDivisionError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("role", "content"))

    def __len__(self) -> int:
        return 2


FIERCE: dict[str, dict[str, Any]] = {
    "a message": {"messages": [Fierce()]},
    "a mapping": {"messages": [FierceMapping()]},
    "a text": {"messages": [{"role": "user", "content": FierceText("Why?")}]},
    "a number": {"seed": FierceNumber(2)},
    "a setting": {"temperature": Fierce()},
    "a part of the body": {"extra_body": {"more": Fierce()}},
    "a number beyond those of OTLP": {"seed": 2**70},
    "a tier that is no text": {"service_tier": ["flex"]},
    "a stop that is no text": {"stop": [Fierce()]},
}


@pytest.mark.parametrize("fierce", FIERCE)
def test_a_value_that_raises_when_it_is_looked_at_does_what_it_does_without_us_and_the_call_has_its_span(
    model: FakeModel, folder: Path, fierce: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard.raise_faults(False)

    def act() -> str:
        with model.client() as sdk:
            return str(sdk.chat.completions.create(**{**ASKED, **FIERCE[fierce]}))

    bare, ours = without_and_with(act)
    assert ours == bare
    ell.flush()
    assert recorded(folder).span("chat m").attributes["ell.program.name"].endswith("act")
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


@pytest.mark.parametrize(("kind", "body"), [("text/html", b"<html>"), ("application/json", b"{no json")])
def test_a_raw_answer_that_cannot_be_read_is_for_the_program_to_find_out_when_it_reads_it(
    folder: Path, kind: str, body: bytes
) -> None:
    guard.raise_faults(False)
    http = httpx2.MockTransport(lambda _: httpx2.Response(200, headers={"content-type": kind}, content=body))

    def act() -> tuple[str, int]:
        with openai.OpenAI(
            api_key="none",
            base_url="http://model.test/v1",
            http_client=httpx2.Client(transport=http),
            _strict_response_validation=True,
        ) as sdk:
            raw = sdk.chat.completions.with_raw_response.create(**ASKED)
            return type(raw).__name__, raw.status_code

    bare, ours = without_and_with(act)
    assert bare == ["('LegacyAPIResponse', 200)"]
    assert ours == bare
    ell.flush()
    assert recorded(folder).span("chat m").status == "ok"
