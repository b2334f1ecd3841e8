"""Values whose ``repr`` takes ten seconds, or raises: wherever they are, nobody asks for it who would not without us.

What is asked of them is counted, so that no test has to wait for the answer.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

import ell_otel as ell
from ell_otel.testing import FakeModel, RecordedSpan, recorded

asked: list[str] = []


class Slow:
    """An object of the host's that has a word of its own to everything that may be asked of it."""

    def __repr__(self) -> str:
        asked.append("repr")
        time.sleep(10)
        return "at last"

    def __str__(self) -> str:
        asked.append("str")
        raise OverflowError("no text")

    def __format__(self, spec: str) -> str:
        asked.append("format")
        raise OverflowError("no text")

    def __eq__(self, other: object) -> bool:
        asked.append("eq")
        return self is other

    def __hash__(self) -> int:
        asked.append("hash")
        return 1

    def __len__(self) -> int:
        asked.append("len")
        return 1

    def __iter__(self) -> Iterator[Any]:
        asked.append("iter")
        return iter(())


class SlowText(str):
    __repr__ = Slow.__repr__
    __str__ = Slow.__str__
    __format__ = Slow.__format__


class Lie(str):
    """A text that says of itself what is not so, or nothing at all."""

    def _asked(self, *args: Any, **options: Any) -> Any:
        asked.append("text")
        raise OverflowError("no text")

    encode = isascii = lower = find = startswith = split = replace = __getitem__ = _asked
    __repr__ = __str__ = __format__ = __len__ = __hash__ = __contains__ = __eq__ = __ne__ = __iter__ = _asked


class SlowNumber(int):
    __repr__ = Slow.__repr__
    __str__ = Slow.__str__
    __format__ = Slow.__format__


class SlowList(list[Any]):
    __repr__ = Slow.__repr__


class SlowError(Exception):
    __repr__ = Slow.__repr__


@dataclasses.dataclass
class Holder:
    value: Any
    __repr__ = Slow.__repr__


class Model(pydantic.BaseModel):
    value: Any
    __repr__ = Slow.__repr__
    __str__ = Slow.__str__


ODD: dict[str, Callable[[], Any]] = {
    "an object": Slow,
    "a text": lambda: SlowText("why"),
    "a number": lambda: SlowNumber(7),
    "a list": lambda: SlowList([1]),
    "an exception": lambda: SlowError(Slow()),
    "a dataclass": lambda: Holder(Slow()),
    "a model of pydantic": lambda: Model(value=Slow()),
    "a partial": lambda: functools.partial(print, Slow()),
    "a bound method": lambda: Slow().__len__,
    "what holds one": lambda: {"k": [Slow(), (Slow(), {"x": Slow()})]},
}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with FakeModel() as model, model.client() as sdk:
        yield sdk


@pytest.fixture(autouse=True)
def nothing_asked() -> Iterator[None]:
    asked.clear()
    yield
    asked.clear()


def only(folder: Path) -> RecordedSpan:
    (span,) = recorded(folder).spans
    return span


@pytest.mark.parametrize("odd", ODD)
def test_as_an_argument_and_as_a_result_it_is_recorded_without_being_asked(folder: Path, odd: str) -> None:
    @ell.program
    def hand_on(value: Any, *, note: str, **more: Any) -> Any:
        return value

    value = ODD[odd]()
    assert hand_on(value, note="beside it", more=value) is value
    assert asked == []
    attributes = only(folder).attributes
    assert json.loads(attributes["ell.invocation.arguments"])["note"] == "beside it"
    assert "ell.invocation.result" in attributes


@pytest.mark.parametrize("odd", ODD)
def test_as_an_item_of_a_generator_it_is_recorded_without_being_asked(folder: Path, odd: str) -> None:
    @ell.program
    def items() -> Iterator[Any]:
        yield "before"
        yield ODD[odd]()
        yield "after"

    for _ in items():
        pass
    assert asked == []
    kept = json.loads(only(folder).attributes["ell.invocation.result"])
    assert (kept[0], kept[-1], len(kept)) == ("before", "after", 3)


def _noted(value: Any) -> BaseException:
    error = ValueError("the text")
    error.__notes__ = [value]
    return error


ERRORS: dict[str, Callable[[Any], BaseException]] = {
    "alone": ValueError,
    "beside a text": lambda value: ValueError("the text", value),
    "in a dict": lambda value: ValueError({"why": "the text", "value": value}),
    "as a key": KeyError,
    "as a file": lambda value: OSError(2, "the text", value),
    "in another exception": lambda value: RuntimeError(ValueError("the text", value)),
    "in a group": lambda value: ExceptionGroup("the text", [ValueError(value)]),
    "in a note": _noted,
    "in an import": lambda value: ImportError(value, name="the text"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("where", ERRORS)
def test_in_an_exception_it_is_recorded_without_being_asked(folder: Path, where: str, odd: str) -> None:
    error = ERRORS[where](ODD[odd]())

    @ell.program
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        fail()
    assert raised.value is error
    assert asked == []
    span = only(folder)
    assert (span.status, span.attributes["error.type"]) == ("error", type(error).__qualname__)
    assert span.message.startswith(f"{type(error).__name__}: ")
    if where not in {"alone", "as a key", "in an import"}:
        assert "the text" in span.message


def test_what_an_exception_says_by_itself_is_recorded_as_it_says_it(folder: Path) -> None:
    class Spoken(Exception):
        def __str__(self) -> str:
            return "in its own words"

    said = [
        *(ValueError("one"), ValueError("one", 2), ValueError(), KeyError("one"), RuntimeError(OSError(2, "no", "f"))),
        *(
            OSError(2, "no", Path("f")),
            ImportError("no", name="f"),
            ExceptionGroup("two", [ValueError()]),
            Spoken(Slow()),
        ),
    ]

    @ell.program
    def fail(error: BaseException) -> None:
        raise error

    for error in said:
        with pytest.raises(type(error)):
            fail(error)
    told = [span.message for span in recorded(folder).spans]
    assert told == [f"{type(error).__name__}: {error}" for error in said]


# -- around a model call ----------------------------------------------------------------------------------------------

CONSTANT = Slow()
TABLE = {"k": [CONSTANT], "text": SlowText("why"), "number": SlowNumber(7)}


class Assistant:
    tone = CONSTANT

    def __init__(self, client: Any) -> None:
        self.client = client
        self.held = SlowList([Slow()])

    __repr__ = Slow.__repr__

    def ask(self) -> Any:
        assert self.tone is TABLE["k"][0]  # type: ignore[index]
        return self.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why?"}])


REQUESTS: dict[str, dict[str, Any]] = {
    "as a message": {"messages": [Slow()]},
    "as the messages": {"messages": SlowList([{"role": "user", "content": "Why?"}])},
    "as what is said": {"messages": [{"role": "user", "content": Slow()}]},
    "as what is said, a text": {"messages": [{"role": "user", "content": SlowText("Why?")}]},
    "as a setting": {"temperature": SlowNumber(1)},
    "as metadata": {"metadata": {"k": Slow()}},
    "as the model": {"model": SlowText("m")},
    "as a tool": {"tools": [Slow()]},
    "as a part of the body": {"extra_body": {"k": Slow()}},
    "as a header": {"extra_headers": {"X-K": SlowText("k")}},
}


LIES: dict[str, dict[str, Any]] = {
    "as what is said": {"messages": [{"role": "user", "content": Lie("Why?")}]},
    "as a role": {"messages": [{"role": Lie("user"), "content": "Why?"}]},
    "as a part": {"messages": [{"role": "user", "content": [{"type": "text", "text": Lie("Why?")}]}]},
    "as a part's kind": {"messages": [{"role": "user", "content": [{"type": Lie("text"), "text": "Why?"}]}]},
    "as a name": {"messages": [{"role": "user", "content": "Why?", "name": Lie("ann")}]},
    "as the user": {"messages": [{"role": "user", "content": "Why?"}], "user": Lie("ann")},
}


@pytest.mark.parametrize("where", LIES)
def test_a_text_of_a_class_of_the_hosts_is_taken_for_what_it_holds(client: Any, folder: Path, where: str) -> None:
    ell.instrument()
    try:
        client.chat.completions.create(model="m", **LIES[where])
    finally:
        ell.uninstrument()
    assert asked == []
    (span,) = recorded(folder).spans
    name = "ann" if where == "as a name" else None
    said = {"role": "user", "parts": [{"content": "Why?", "type": "text"}], "name": name}
    assert json.loads(span.attributes["gen_ai.input.messages"]) == [said]
    assert json.loads(span.attributes["ell.request"]).get("user") == ("ann" if where == "as the user" else None)


def outcome(act: Callable[[], Any]) -> tuple[str, list[str]]:
    """Whether ``act`` returns or what it raises, and what was asked of the odd values meanwhile."""
    asked.clear()
    try:
        return type(act()).__name__, list(asked)
    except Exception as error:
        return type(error).__name__, list(asked)


@pytest.mark.parametrize("where", REQUESTS)
@pytest.mark.parametrize("decorated", [False, True])
def test_in_a_request_it_is_asked_no_more_than_the_sdk_asks_it(
    client: Any, folder: Path, where: str, decorated: bool
) -> None:
    def ask() -> Any:
        messages = [{"role": "user", "content": "Why?"}]
        return client.chat.completions.create(**{"model": "m", "messages": messages, **REQUESTS[where]})

    ell.uninstrument()  # what decorators before have switched on
    bare = outcome(ask)
    ell.instrument()
    try:
        ours = outcome(ell.program(ask) if decorated else ask)
    finally:
        ell.uninstrument()
    assert ours == bare
    spans = [span for span in recorded(folder).spans if "gen_ai.request.model" in span.attributes]
    assert [(span.name, span.attributes["ell.program.name"].rpartition(".")[2]) for span in spans] == [
        ("chat m", "ask")
    ]


@pytest.mark.parametrize("odd", ODD)
def test_around_the_function_that_asks_a_model_it_is_captured_without_being_asked(
    client: Any, folder: Path, odd: str
) -> None:
    around = ODD[odd]()

    def with_default(client: Any, value: Any = around) -> Any:
        assert value is around
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why?"}])

    def through_a_method(client: Any) -> Any:
        return Assistant(client).ask()

    functions = [with_default, through_a_method, ell.program(with_default), ell.program(through_a_method)]
    ell.instrument()
    try:
        outcomes = [outcome(functools.partial(function, client)) for function in functions]
    finally:
        ell.uninstrument()
    assert outcomes == [("ChatCompletion", [])] * 4
    spans = [span for span in recorded(folder).spans if "gen_ai.request.model" in span.attributes]
    names = [span.attributes["ell.program.name"].rpartition(".")[2] for span in spans]
    assert names == ["with_default", "ask", "with_default", "through_a_method"]
