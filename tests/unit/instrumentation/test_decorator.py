"""``@ell.program``: the wrapper behaves as what it wraps, and each run is one recorded invocation."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import json
import linecache
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import ell_otel as ell
from ell_otel.testing import RecordedSpan, recorded

pytestmark = pytest.mark.usefixtures("folder")


def only_span(folder: Path) -> RecordedSpan:
    (span,) = recorded(folder).spans
    return span


def test_a_run_is_one_span_with_program_version_arguments_and_result(folder: Path) -> None:
    @ell.program
    def double(number: int, *, times: int = 2) -> int:
        return number * times

    assert double(21, times=2) == 42
    span = only_span(folder)
    assert span.name == f"invoke_workflow {__name__}.{double.__qualname__}"
    assert span.attributes["ell.program.name"] == f"{__name__}.{double.__qualname__}"
    assert span.attributes["ell.program.version"].startswith("c1:")
    assert len(span.attributes["ell.invocation.id"]) == 32
    assert json.loads(span.attributes["ell.invocation.arguments"]) == {"number": 21, "times": 2}
    assert json.loads(span.attributes["ell.invocation.result"]) == 42
    assert span.attributes["gen_ai.operation.name"] == "invoke_workflow"


def test_the_closure_is_sent_once_and_before_the_first_span(folder: Path) -> None:
    @ell.program
    def greet(name: str) -> str:
        return f"Hello {name}"

    for name in ("Ada", "Grace"):
        greet(name)
    recording = recorded(folder)
    (event,) = recording.events
    assert event.name == "ell.program"
    assert event.attributes["event.name"] == "ell.program"
    assert event.attributes["ell.program.version"] == recording.spans[0].attributes["ell.program.version"]
    assert 'return f"Hello {name}"' in event.attributes["ell.program.source"]
    assert all(isinstance(value, str) for value in event.attributes.values())


def test_an_error_is_recorded_and_raised_as_it_is(folder: Path) -> None:
    error = LookupError("no such thing")

    @ell.program
    def fail() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        fail()
    assert caught.value is error
    span = only_span(folder)
    assert (span.status, span.message) == ("error", "LookupError: no such thing")
    assert span.attributes["error.type"] == "LookupError"


def test_a_coroutine_function_stays_one_and_is_recorded(folder: Path) -> None:
    @ell.program
    async def later(text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()

    assert inspect.iscoroutinefunction(later)
    assert asyncio.run(later("x")) == "X"
    assert json.loads(only_span(folder).attributes["ell.invocation.result"]) == "X"


def test_a_generator_gives_and_takes_what_the_bare_one_does(folder: Path) -> None:
    def talk() -> Iterator[Any]:
        heard = yield "first"
        try:
            yield f"heard {heard}"
        except KeyError:
            yield "caught"
        return "done"

    def drive(generator: Any) -> list[Any]:
        said = [next(generator), generator.send("you"), generator.throw(KeyError())]
        with pytest.raises(StopIteration) as stop:
            next(generator)
        return [*said, stop.value.value]

    wrapped = ell.program(talk)
    assert inspect.isgeneratorfunction(wrapped)
    assert drive(wrapped()) == drive(talk())
    assert json.loads(only_span(folder).attributes["ell.invocation.result"]) == "firstheard youcaught"


def test_a_generator_that_is_dropped_halfway_is_one_abandoned_span(folder: Path) -> None:
    @ell.program
    def count() -> Iterator[int]:
        yield from range(10)

    generator = count()
    assert [next(generator), next(generator)] == [0, 1]
    del generator
    gc.collect()
    span = only_span(folder)
    assert span.attributes["ell.invocation.abandoned"] is True
    assert json.loads(span.attributes["ell.invocation.result"]) == [0, 1]
    assert span.status == "ok"


def test_a_generator_that_is_never_iterated_is_no_invocation(folder: Path) -> None:
    @ell.program
    def count() -> Iterator[int]:
        yield 1

    count()
    assert recorded(folder).spans == []


def test_an_async_generator_is_one_span_wherever_it_is_closed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    @ell.program
    async def stream() -> AsyncIterator[str]:
        for piece in ("a", "b", "c"):
            await asyncio.sleep(0)
            yield piece

    async def close_in_another_task() -> list[str]:
        pieces = [piece async for piece in stream()]
        generator = stream()
        pieces.append(await anext(generator))
        await asyncio.create_task(generator.aclose())
        return pieces

    assert inspect.isasyncgenfunction(stream)
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(close_in_another_task()) == ["a", "b", "c", "a"]
    whole, cut = recorded(folder).spans
    assert json.loads(whole.attributes["ell.invocation.result"]) == "abc"
    assert cut.attributes["ell.invocation.abandoned"] is True
    assert caplog.records == []


def test_between_two_items_of_a_generator_the_invocation_is_not_current(folder: Path) -> None:
    @ell.program
    def inner() -> str:
        return "x"

    @ell.program
    def outer() -> Iterator[str]:
        yield inner()
        yield inner()

    for _ in outer():
        inner()
    spans = recorded(folder).spans
    outermost = next(span for span in spans if "outer" in span.name)
    parents = [span.parent_span_id for span in spans if "inner" in span.name]
    assert parents.count(outermost.span_id) == 2
    assert parents.count("") == 2


def test_a_cancelled_coroutine_ends_its_span_with_the_cancellation(folder: Path) -> None:
    @ell.program
    async def wait() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert only_span(folder).attributes["error.type"] == "CancelledError"


class Shop:
    """Something with methods."""

    rate = 3

    @ell.program
    def price(self, count: int) -> int:
        return self.rate * count

    @ell.program
    @staticmethod
    def slogan(word: str) -> str:
        return f"{word}!"

    @ell.program
    @classmethod
    def motto(cls) -> str:
        return cls.__name__


def test_methods_of_every_kind_are_programs(folder: Path) -> None:
    assert Shop().price(2) == 6
    assert Shop.slogan("Go") == "Go!"
    assert Shop.motto() == "Shop"
    names = [span.attributes["ell.program.name"] for span in recorded(folder).spans]
    assert names == [f"{__name__}.Shop.{name}" for name in ("price", "slogan", "motto")]


class AsyncCallable:
    async def __call__(self, number: int) -> int:
        return number + 1


def test_partials_and_callable_objects_are_programs(folder: Path) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    assert ell.program(functools.partial(add, 1))(2) == 3
    assert asyncio.run(ell.program(AsyncCallable())(1)) == 2  # type: ignore[arg-type]
    assert [json.loads(span.attributes["ell.invocation.result"]) for span in recorded(folder).spans] == [3, 2]


def test_a_class_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match="decorate the methods"):
        ell.program(Shop)


def test_a_program_within_a_program_is_its_child_with_an_id_of_its_own(folder: Path) -> None:
    @ell.program
    def inner(text: str) -> str:
        return text + "!"

    @ell.program
    def outer() -> str:
        return inner("hello there")

    outer()
    child, parent = recorded(folder).spans
    assert child.parent_span_id == parent.span_id
    assert child.attributes["ell.invocation.id"] != parent.attributes["ell.invocation.id"]
    assert child.attributes["ell.program.name"].endswith("inner")


def test_a_result_used_as_an_argument_links_the_two_invocations(folder: Path) -> None:
    @ell.program
    def write() -> str:
        return "a draft that is long enough"[:-1]

    @ell.program
    def review(texts: list[str]) -> str:
        return f"fine: {texts[0]}"

    review([write()])
    writing, reviewing = recorded(folder).spans
    assert reviewing.links == (writing.span_id,)


def test_odd_values_are_recorded_as_far_as_they_can_be_and_never_asked_for_their_repr(folder: Path) -> None:
    class Rude:
        def __repr__(self) -> str:
            raise AssertionError("nobody may ask")

    cyclic: list[Any] = [1]
    cyclic.append(cyclic)

    @ell.program
    def take(*things: Any) -> Any:
        return things

    take(Rude(), cyclic, float("nan"), 2**70, "\ud800 alone", b"bytes", {"k": {1, 2}})
    recording = json.loads(only_span(folder).attributes["ell.invocation.arguments"])["*"]
    assert recording[0] == {"$type": f"{__name__}.{Rude.__qualname__}"}
    assert recording[1] == [1, {"$cycle": "builtins.list"}]
    assert recording[2:] == ["nan", 2**70, "\ufffd alone", {"$bytes": 5}, {"k": [1, 2]}]


def test_a_redefined_helper_is_noticed_at_the_next_run(folder: Path) -> None:
    namespace: dict[str, Any] = {"ell": ell, "__name__": "cells"}

    def cell(number: int, text: str) -> None:
        """Run a text as a notebook does: its lines can be looked up under a made-up file name."""
        name = f"<cell {number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), namespace)

    cell(1, "def tone(): return 'kind'\n")
    cell(2, "@ell.program\ndef prompt(): return tone()\n")
    namespace["prompt"]()
    cell(3, "def tone(): return 'stern'\n")
    namespace["prompt"]()
    versions = [span.attributes["ell.program.version"] for span in recorded(folder).spans]
    assert versions[0] != versions[1]


def test_a_program_made_by_a_factory_has_the_factorys_values_in_its_version(folder: Path) -> None:
    def make(model: str) -> Any:
        @ell.simple(model=model)
        def ask() -> str:
            return "why"

        return ask

    closures = [make(model).__ell_program__.closure() for model in ("small", "large", "small")]
    assert [closure.partial for closure in closures] == [False, False, False]
    assert closures[0].version == closures[2].version != closures[1].version
    assert "model = 'large'" in closures[1].text


def test_disabled_means_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELL_OTEL_DISABLED", "1")

    @ell.program
    def greet() -> str:
        return "hello"

    assert greet() == "hello"
    assert not folder.exists()


def test_content_is_left_out_when_it_is_switched_off(folder: Path) -> None:
    ell.init(content=False)

    @ell.program
    def greet(name: str) -> str:
        return f"hello {name}"

    greet("Ada")
    attributes = only_span(folder).attributes
    assert "ell.invocation.arguments" not in attributes
    assert "ell.invocation.result" not in attributes


def test_a_folder_that_cannot_be_written_costs_the_telemetry_and_not_the_call(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be")

    @ell.program
    def greet() -> str:
        return "hello"

    with caplog.at_level(logging.WARNING):
        assert greet() == "hello"
    assert "ELL_OTEL_DIR" in caplog.text


def test_records_lost_to_a_folder_that_could_not_be_written_are_counted_in_the_data_once_it_can(folder: Path) -> None:
    @ell.program
    def greet() -> str:
        return "hello"

    folder.write_text("a file where the folder should be")
    greet()
    greet()
    folder.unlink()
    greet()
    (loss,) = [event for event in recorded(folder).events if event.name == "ell.loss"]
    assert loss.attributes["ell.loss.count"] == 3  # the closure and two spans
