"""Generators, tasks and threads: one span each, ended once, under the right parent, and no word about contexts."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import logging
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import ell_otel as ell
from ell_otel.instrumentation import callsite
from ell_otel.testing import RecordedSpan, recorded

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def no_word_about_contexts(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """OpenTelemetry logs "Token was created in a different Context" where one is given back in the wrong place."""
    with caplog.at_level(logging.DEBUG):
        yield
    told = caplog.get_records("call")  # `caplog.records` are by now those of the teardown
    assert [record.getMessage() for record in told if record.levelno > logging.DEBUG] == []
    assert [record.getMessage() for record in told if record.name == "opentelemetry.context"] == []


@ell.program
def count(first: int, /, step: int = 1, *, most: int = 3) -> Iterator[int]:
    """Count."""
    yield from range(first, first + most * step, step)


@ell.program
async def stream(pieces: int, pause: float = 0.0) -> AsyncGenerator[int, None]:
    """Say numbers."""
    for piece in range(pieces):
        await asyncio.sleep(pause)
        yield piece


@ell.program
async def later(text: str) -> str:
    """Something that is awaited."""
    await asyncio.sleep(0)
    return text


@ell.program
def leaf(text: str) -> str:
    """Something called by others."""
    return text


def only(folder: Path) -> RecordedSpan:
    (span,) = recorded(folder).spans
    return span


@pytest.mark.parametrize(("made", "given"), [(count, ()), (count, (1, 2, 3)), (stream, ()), (stream, (1, 2, 3))])
def test_a_generator_called_wrongly_says_so_at_the_call_as_a_bare_one_does(
    made: Callable[..., object], given: tuple[int, ...], folder: Path
) -> None:
    with pytest.raises(TypeError, match=r"(count|stream)\(\) (missing|takes)"):
        made(*given)
    assert not folder.exists()


@pytest.fixture
def swept() -> None:
    """What earlier tests have left to garbage collection warns now, and not in a test of warnings."""
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.mark.parametrize("given", [(), (1, 2, 3)])
def test_a_coroutine_function_called_wrongly_says_so_at_the_call_as_a_bare_one_does(
    given: tuple[int, ...], folder: Path, swept: None, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(TypeError, match=r"later\(\) (missing|takes)"):
        later(*given)  # type: ignore[arg-type,call-arg]
    gc.collect()
    assert not list(recwarn)
    assert not folder.exists()


def test_a_coroutine_that_nobody_awaits_is_warned_of_once_by_its_name(folder: Path, swept: None) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        forgotten: Any = later("text")
        assert inspect.iscoroutine(forgotten)
        assert (forgotten.__name__, forgotten.__qualname__) == ("later", "later")
        del forgotten
        gc.collect()
    assert [str(each.message) for each in told] == ["coroutine 'later' was never awaited"]
    assert not folder.exists()


def test_a_coroutine_that_is_awaited_or_closed_is_not_warned_of(
    folder: Path, swept: None, recwarn: pytest.WarningsRecorder
) -> None:
    assert asyncio.run(later("text")) == "text"
    later("text").close()  # type: ignore[attr-defined]
    gc.collect()
    assert not list(recwarn)
    assert len(recorded(folder).spans) == 1


def test_a_wrapped_generator_function_is_one_to_whoever_asks() -> None:
    assert inspect.isgeneratorfunction(count)
    assert inspect.isasyncgenfunction(stream)
    made: Any = count(1)
    assert isinstance(made, Generator)
    assert inspect.isgenerator(made)
    assert (made.__name__, made.__qualname__) == ("count", "count")
    said: Any = stream(1)
    assert isinstance(said, AsyncGenerator)
    assert inspect.isasyncgen(said)


def test_a_wrapper_tells_of_its_parameters_what_the_bare_function_does() -> None:
    def bare(first: int, /, second: str = "b", *rest: int, third: float = 3.0, **more: str) -> None:
        """Text."""

    wrapped = ell.program(bare)
    assert inspect.signature(wrapped) == inspect.signature(bare)
    for name in ("__name__", "__doc__", "__module__", "__annotations__", "__defaults__", "__kwdefaults__"):
        assert getattr(wrapped, name) == getattr(bare, name)
    assert count.__kwdefaults__ == {"most": 3}  # type: ignore[attr-defined]
    assert list(count(5)) == [5, 6, 7]


async def exhausted() -> None:
    assert [piece async for piece in stream(3)] == [0, 1, 2]


async def left_in_the_middle() -> None:
    async for _ in stream(3):
        break
    await asyncio.sleep(0.01)  # time for the event loop to close what was left


async def left_as_the_event_loop_ends() -> None:
    async for _ in stream(3):
        break  # and the loop cancels the closing, as it does a bare one's


async def consume() -> None:
    async for _ in stream(3, 60):
        pass


async def cancelled() -> None:
    task = asyncio.create_task(consume())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def timed_out() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(consume(), 0.01)


async def cancelled_where_it_manages_a_context() -> None:
    async def hold() -> None:
        async with contextlib.asynccontextmanager(stream)(3):
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def closed_in_another_task() -> None:
    generator = stream(3)
    await anext(generator)
    await asyncio.create_task(generator.aclose())


async def closed_in_another_context() -> None:
    generator = stream(3)
    await anext(generator)
    closing: Coroutine[Any, Any, None] = generator.aclose()  # type: ignore[assignment]
    await asyncio.get_running_loop().create_task(closing, context=contextvars.Context())


async def each_item_in_another_task() -> None:
    generator = stream(2)
    assert [await asyncio.create_task(_next(generator)) for _ in range(2)] == [0, 1]
    with pytest.raises(StopAsyncIteration):
        await generator.__anext__()


async def _next(generator: AsyncIterator[int]) -> int:
    return await anext(generator)


async def in_a_failing_group() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise LookupError

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(consume())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await together()


ENDS = {
    exhausted: None,
    left_in_the_middle: True,
    left_as_the_event_loop_ends: True,
    cancelled_where_it_manages_a_context: "CancelledError",
    cancelled: "CancelledError",
    timed_out: "CancelledError",
    closed_in_another_task: True,
    closed_in_another_context: True,
    each_item_in_another_task: None,
    in_a_failing_group: "CancelledError",
}


@pytest.mark.parametrize("end", ENDS)
def test_however_an_async_generator_ends_it_is_one_span(end: Callable[[], Any], folder: Path) -> None:
    asyncio.run(end())
    gc.collect()
    attributes = only(folder).attributes
    assert attributes.get("ell.invocation.abandoned", attributes.get("error.type")) == ENDS[end]


def test_what_is_for_somebody_in_a_generator_that_is_abandoned_ends_without_a_word() -> None:
    async def told_of() -> AsyncIterator[int]:
        with callsite.Behind(callsite.NOBODY):
            yield 1

    async def leave() -> None:
        pieces = told_of()
        assert await anext(pieces) == 1
        del pieces
        gc.collect()
        await asyncio.sleep(0.01)  # asyncio closes it, in a task whose context is a copy of this one

    asyncio.run(leave())


def test_a_generator_that_is_closed_in_another_thread_is_one_span(folder: Path) -> None:
    generator: Any = count(1)
    next(generator)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(generator.close).result()
    generator.close()
    assert only(folder).attributes["ell.invocation.abandoned"] is True


def by_submit(pool: Executor) -> None:
    assert pool.submit(leaf, "x").result() == "x"


def by_map(pool: Executor) -> None:
    assert list(pool.map(leaf, "xyz")) == ["x", "y", "z"]


def by_the_event_loop(pool: Executor) -> None:
    async def main() -> str:
        return await asyncio.get_running_loop().run_in_executor(pool, leaf, "x")

    assert asyncio.run(main()) == "x"


@pytest.mark.parametrize("submit", [by_submit, by_map, by_the_event_loop])
def test_an_executor_given_the_context_runs_within_the_invocation_that_submits(
    submit: Callable[[Executor], None], folder: Path
) -> None:
    @ell.program
    def outer(carried: bool) -> None:
        with ThreadPoolExecutor(3) as pool:
            submit(ell.copy_context_to(pool) if carried else pool)

    outer(True)
    parents = {span.name: span.span_id for span in recorded(folder).spans if "outer" in span.name}
    leaves = [span.parent_span_id for span in recorded(folder).spans if "leaf" in span.name]
    assert set(leaves) == set(parents.values())
    outer(False)
    assert "" in {span.parent_span_id for span in recorded(folder).spans if "leaf" in span.name}


def test_copying_the_context_by_the_standard_means_does_the_same(folder: Path) -> None:
    @ell.program
    def outer() -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(contextvars.copy_context().run, leaf, "x").result()

    outer()
    inner, outermost = recorded(folder).spans
    assert inner.parent_span_id == outermost.span_id


def test_a_pool_of_processes_is_refused() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(TypeError, match="threads"):
        ell.copy_context_to(pool)


def test_setting_up_again_leaves_one_processor_in_an_applications_provider(folder: Path) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    ell.init(tracer_provider=provider)
    once = len(provider._active_span_processor._span_processors)
    for _ in range(5):
        ell.init(tracer_provider=provider)
    assert len(provider._active_span_processor._span_processors) == once == 1
    leaf("x")
    assert len(recorded(folder).spans) == 1


def test_an_applications_provider_that_cannot_be_hashed_is_joined_as_well(folder: Path) -> None:
    class Provider(TracerProvider):
        """As logfire's, which is a dataclass."""

        __hash__ = None  # type: ignore[assignment]

    ell.init(tracer_provider=Provider(shutdown_on_exit=False))
    leaf("x")
    assert len(recorded(folder).spans) == 1
