"""Every shape in which an application calls a model: the real SDK, a local server, no decorator, the right program."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import functools
import sys
import threading
import time
import types
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pydantic
import pytest

import ell_otel as ell
from ell_otel.testing import FakeModel, recorded

MODEL = "gpt-4o-mini"
ASKED: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Why?"}]}


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    with FakeModel() as fake:
        yield fake


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    ell.instrument()
    yield
    ell.uninstrument()


@pytest.fixture
def client(model: FakeModel) -> Iterator[Any]:
    with model.client() as client:
        yield client


@pytest.fixture
def async_client(model: FakeModel) -> Any:
    return model.async_client()


def run(main: Callable[[Any], Any], client: Any) -> Any:
    """Run ``main(client)`` in an event loop of its own."""

    async def closing() -> Any:
        async with client:
            return await main(client)

    return asyncio.run(closing())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


Programs = Callable[[], list[str]]


@pytest.fixture
def programs(folder: Path) -> Programs:
    """The programs of the model calls so far, each by its name in this module; "" for a call that has none."""

    def read() -> list[str]:
        ell.flush()
        recording = recorded(folder)
        spans = [span for span in recording.spans if "gen_ai.request.model" in span.attributes]
        announced = {(e.attributes["ell.program.name"], e.attributes["ell.program.version"]) for e in recording.events}
        names = []
        for span in spans:
            name = span.attributes.get("ell.program.name", "")
            assert not name or (name, span.attributes["ell.program.version"]) in announced
            assert "ell.invocation.id" not in span.attributes
            names.append(name.removeprefix(f"{__name__}."))
        return names

    return read


# -- one call ---------------------------------------------------------------------------------------------------------


def ask(client: Any) -> str:
    return client.chat.completions.create(**ASKED).choices[0].message.content


def test_a_plain_call(client: Any, programs: Programs) -> None:
    assert ask(client)
    assert programs() == ["ask"]


def stream(client: Any) -> str:
    return "".join(
        chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ASKED, stream=True)
    )


def test_a_stream(client: Any, programs: Programs) -> None:
    assert stream(client)
    assert programs() == ["stream"]


def stream_helper(client: Any) -> str:
    with client.chat.completions.stream(**ASKED) as events:
        for _ in events:
            pass
        return events.get_final_completion().choices[0].message.content


def test_the_stream_helper(client: Any, programs: Programs) -> None:
    assert stream_helper(client)
    assert programs() == ["stream_helper"]


class Answer(pydantic.BaseModel):
    text: str


def parse(client: Any) -> Answer:
    return client.chat.completions.parse(**ASKED, response_format=Answer).choices[0].message.parsed


def test_a_parsed_answer(client: Any, programs: Programs) -> None:
    assert isinstance(parse(client), Answer)
    assert programs() == ["parse"]


def raw(client: Any) -> Any:
    return client.chat.completions.with_raw_response.create(**ASKED).parse()


def test_a_raw_response(client: Any, programs: Programs) -> None:
    assert raw(client).choices
    assert programs() == ["raw"]


def embed(client: Any) -> Any:
    return client.embeddings.create(model="text-embedding-3-small", input="Why?").data


def test_an_embedding(client: Any, programs: Programs) -> None:
    assert embed(client)
    assert programs() == ["embed"]


def generate(client: Any) -> Iterator[str]:
    yield ask(client)
    yield client.chat.completions.create(**ASKED).choices[0].message.content


def test_a_generator(client: Any, programs: Programs) -> None:
    assert len(list(generate(client))) == 2
    assert programs() == ["ask", "generate"]


def test_a_thread(client: Any, programs: Programs) -> None:
    thread = threading.Thread(target=ask, args=(client,))
    thread.start()
    thread.join()
    assert programs() == ["ask"]


def test_an_executor_that_runs_a_function_of_the_users(client: Any, programs: Programs) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, client).result()
    assert programs() == ["ask"]


def by_a_pool(pool: Executor, method: Any) -> None:
    pool.submit(method, **ASKED).result()


def by_a_part_of_it(pool: Executor, method: Any) -> None:
    pool.submit(functools.partial(method, model=MODEL), messages=ASKED["messages"]).result()


def by_a_context(pool: Executor, method: Any) -> None:
    pool.submit(contextvars.copy_context().run, method, **ASKED).result()


@pytest.mark.parametrize("submit", [by_a_pool, by_a_part_of_it, by_a_context])
@pytest.mark.parametrize("carried", [False, True])
def test_an_executor_that_runs_the_client_itself_does_so_for_the_program_that_submits_it(
    submit: Callable[[Executor, Any], None], carried: bool, client: Any, programs: Programs
) -> None:
    with ThreadPoolExecutor(1) as pool:
        submit(ell.copy_context_to(pool) if carried else pool, client.chat.completions.create)
    assert programs() == [submit.__name__]


async def by_the_event_loop(client: Any) -> None:
    create = functools.partial(client.chat.completions.create, **ASKED)
    await asyncio.get_running_loop().run_in_executor(None, create)


async def by_asyncio(client: Any) -> None:
    await asyncio.to_thread(client.chat.completions.create, **ASKED)


@pytest.mark.parametrize("ask_elsewhere", [by_the_event_loop, by_asyncio])
def test_the_event_loops_own_pool_runs_the_client_for_the_program_that_asks(
    ask_elsewhere: Callable[[Any], Any], client: Any, programs: Programs
) -> None:
    asyncio.run(ask_elsewhere(client))
    assert programs() == [ask_elsewhere.__name__]


def test_a_pool_is_given_nothing_else_than_what_was_submitted() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(threading.current_thread).result() is not threading.current_thread()
        with pytest.raises(TypeError, match="submit"):
            pool.submit()  # type: ignore[call-arg]
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 / 0).result()


def test_a_thread_that_runs_the_client_itself_has_nothing_of_the_users_on_its_stack(
    client: Any, programs: Programs
) -> None:
    thread = threading.Thread(target=client.chat.completions.create, kwargs=ASKED)
    thread.start()
    thread.join()
    assert programs() == [""]


def test_a_stack_that_begins_with_the_client_itself_as_that_of_a_greenlet_may_is_no_fault(
    client: Any, programs: Programs, folder: Path
) -> None:
    def answered(request: httpx2.Request) -> httpx2.Response:
        asked.set()
        return httpx2.Response(200, json={"choices": []})

    asked = threading.Event()
    http = httpx2.Client(transport=httpx2.MockTransport(answered))
    sdk = openai.OpenAI(api_key="none", base_url="http://model.test/v1", http_client=http)
    _thread.start_new_thread(sdk.chat.completions.create, (), ASKED)
    assert asked.wait(30)
    until(lambda: bool(programs()))
    assert programs() == [""]


class Assistant:
    def __init__(self, client: Any) -> None:
        self.client = client

    def ask(self) -> str:
        return self.client.chat.completions.create(**ASKED).choices[0].message.content

    @classmethod
    def of(cls, client: Any) -> str:
        return client.chat.completions.create(**ASKED).choices[0].message.content

    @staticmethod
    def plain(client: Any) -> str:
        return client.chat.completions.create(**ASKED).choices[0].message.content


def test_methods_of_every_kind(client: Any, programs: Programs) -> None:
    Assistant(client).ask()
    Assistant.of(client)
    Assistant.plain(client)
    assert programs() == ["Assistant.ask", "Assistant.of", "Assistant.plain"]


short = lambda client: client.chat.completions.create(**ASKED)  # noqa: E731


def test_a_lambda(client: Any, programs: Programs) -> None:
    short(client)
    assert programs() == ["<lambda>"]


def made(client: Any) -> Callable[[], Any]:
    def inner() -> Any:
        return client.chat.completions.create(**ASKED)

    return inner


def test_a_nested_function(client: Any, programs: Programs) -> None:
    made(client)()
    assert programs() == ["made.<locals>.inner"]


def several(client: Any) -> list[Any]:
    return [client.chat.completions.create(**ASKED) for _ in range(2)]


def test_a_comprehension(client: Any, programs: Programs) -> None:
    several(client)
    assert programs() == ["several", "several"]


def generated(client: Any) -> list[Any]:
    return list(client.chat.completions.create(**ASKED) for _ in range(2))  # noqa: C400


def test_a_generator_expression_that_is_consumed_where_it_stands(client: Any, programs: Programs) -> None:
    generated(client)
    assert programs() == ["generated", "generated"]


def class_body(client: Any) -> Any:
    class Config:
        answer = client.chat.completions.create(**ASKED)

    return Config.answer


def test_a_class_body_in_a_function(client: Any, programs: Programs) -> None:
    class_body(client)
    assert programs() == ["class_body"]


class Notebook:
    """Runs cells as IPython does: noted in ``_ih``, compiled under a name of their own, executed in ``__main__``."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "_ih": [""]}

    def run(self, cell: str) -> None:
        self.names["_ih"].append(cell)
        exec(compile(cell, f"<ipython-input-{len(self.names['_ih'])}>", "exec"), self.names)


def test_cells_of_a_notebook_and_functions_defined_in_them(
    client: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Notebook()
    module = types.ModuleType("__main__")
    module.__dict__.update(book.names)
    book.names = vars(module)
    monkeypatch.setitem(sys.modules, "__main__", module)
    book.names |= {"client": client, "ASKED": ASKED}
    book.run("STYLE = 'short'")
    book.run("def ask(): return client.chat.completions.create(**ASKED, user=STYLE)")
    book.run("ask()")
    first = asked_by(folder)
    book.run("STYLE = 'long'")
    book.run("ask()")
    book.run("client.chat.completions.create(**ASKED)")
    again = asked_by(folder)
    assert [name for name, _ in again] == ["__main__.ask", "__main__.ask", "__main__.<module>"]
    assert again[0] == first[0]
    assert again[1] != first[0]  # another version: what it reads has changed


def asked_by(folder: Path) -> list[tuple[str, str]]:
    spans = [span for span in recorded(folder).spans if "gen_ai.request.model" in span.attributes]
    return [(span.attributes["ell.program.name"], span.attributes["ell.program.version"]) for span in spans]


@ell.program
def decorated(client: Any) -> str:
    return ask(client)


def test_a_decorated_program_on_the_stack_wins(client: Any, folder: Path) -> None:
    decorated(client)
    (span,) = [span for span in recorded(folder).spans if "gen_ai.request.model" in span.attributes]
    assert span.attributes["ell.program.name"] == f"{__name__}.decorated"
    assert span.attributes["ell.invocation.id"]


@ell.program
def submitting(client: Any, carry: Callable[[Executor], Executor]) -> None:
    with ThreadPoolExecutor(1) as pool:
        carry(pool).submit(client.chat.completions.create, **ASKED).result()


@pytest.mark.parametrize("carry", [ell.copy_context_to, lambda pool: pool])
def test_an_executor_runs_the_client_for_the_decorated_program_that_submits_it(
    carry: Callable[[Executor], Executor], client: Any, folder: Path
) -> None:
    submitting(client, carry)
    assert [name for name, _ in asked_by(folder)] == [f"{__name__}.submitting"]


# -- asynchronous -----------------------------------------------------------------------------------------------------


async def ask_async(client: Any) -> str:
    return (await client.chat.completions.create(**ASKED)).choices[0].message.content


def test_an_asynchronous_call(async_client: Any, programs: Programs) -> None:
    assert run(ask_async, async_client)
    assert programs() == ["ask_async"]


async def stream_async(client: Any) -> str:
    return "".join(
        [c.choices[0].delta.content or "" async for c in await client.chat.completions.create(**ASKED, stream=True)]
    )


def test_an_asynchronous_stream(async_client: Any, programs: Programs) -> None:
    assert run(stream_async, async_client)
    assert programs() == ["stream_async"]


async def stream_helper_async(client: Any) -> str:
    async with client.chat.completions.stream(**ASKED) as events:
        async for _ in events:
            pass
        return (await events.get_final_completion()).choices[0].message.content


def test_the_asynchronous_stream_helper(async_client: Any, programs: Programs) -> None:
    assert run(stream_helper_async, async_client)
    assert programs() == ["stream_helper_async"]


async def parse_async(client: Any) -> Any:
    return (await client.chat.completions.parse(**ASKED, response_format=Answer)).choices[0].message.parsed


async def generate_async(client: Any) -> AsyncIterator[Any]:
    yield await client.chat.completions.create(**ASKED)


async def consume(client: Any) -> list[Any]:
    return [await parse_async(client), *[each async for each in generate_async(client)]]


def test_an_asynchronous_generator_and_a_parsed_answer(async_client: Any, programs: Programs) -> None:
    assert len(run(consume, async_client)) == 2
    assert programs() == ["parse_async", "generate_async"]


async def gather(client: Any) -> list[Any]:
    return await asyncio.gather(*[client.chat.completions.create(**ASKED) for _ in range(2)])


def test_coroutines_that_gather_runs(async_client: Any, programs: Programs) -> None:
    assert len(run(gather, async_client)) == 2
    assert programs() == ["gather", "gather"]


async def gather_generated(client: Any) -> list[Any]:
    return await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(2)))


def test_coroutines_from_a_generator_expression(async_client: Any, programs: Programs) -> None:
    assert len(run(gather_generated, async_client)) == 2
    assert programs() == ["gather_generated", "gather_generated"]


async def task(client: Any) -> Any:
    return await asyncio.create_task(client.chat.completions.create(**ASKED))


def test_a_coroutine_in_a_task(async_client: Any, programs: Programs) -> None:
    assert run(task, async_client)
    assert programs() == ["task"]


async def task_of_parse(client: Any) -> Any:
    return await asyncio.create_task(client.chat.completions.parse(**ASKED, response_format=Answer))


def test_a_parsed_answer_in_a_task(async_client: Any, programs: Programs) -> None:
    assert run(task_of_parse, async_client)
    assert programs() == ["task_of_parse"]


async def group(client: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.chat.completions.create(**ASKED))
        tasks.create_task(ask_async(client))


def test_a_task_group(async_client: Any, programs: Programs) -> None:
    run(group, async_client)
    assert sorted(programs()) == ["ask_async", "group"]
