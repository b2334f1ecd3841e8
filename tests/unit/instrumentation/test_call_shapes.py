"""Calls of every client of the ``openai`` package, Azure's too, with us and without us: the same result, and one span."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from test_openai_spans import ASK, QUEUED, RESPONSE, answered, response_events, sent_events

import ell_otel as ell
from ell_otel.testing import RecordedSpan, recorded

INPUT: Any = {"model": "gpt-5", "input": "Hällo"}


class Arriving(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that is on its way until somebody reads it."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self.body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body


def answer(request: httpx2.Request) -> httpx2.Response:
    made = said(request)
    if not hasattr(made, "_content"):
        return made
    kind = {"content-type": made.headers["content-type"]}
    return httpx2.Response(made.status_code, headers=kind, stream=Arriving(made.content))


def said(request: httpx2.Request) -> httpx2.Response:
    """As ``answered``; what is to be done in the background is queued, and done when it is asked after."""
    if request.method == "GET":
        return httpx2.Response(200, json={**RESPONSE, "background": True})
    body = json.loads(request.content)
    if not body.get("background"):
        return answered(request)
    if not body.get("stream"):
        return httpx2.Response(200, json=QUEUED)
    first = {"type": "response.queued", "response": QUEUED, "sequence_number": 0}
    events = [first, *({**each, "sequence_number": n} for n, each in enumerate(response_events(RESPONSE)[1:], 1))]
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=sent_events(events))


def plain(kind: Any, **more: Any) -> Any:
    return kind(
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)), api_key="none", max_retries=0, **more
    )


def eventual(kind: Any, **more: Any) -> Any:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    return kind(http_client=http, api_key="none", max_retries=0, **more)


OPENAI = {"base_url": "http://model.test:8080/v1"}
AZURE = {"azure_endpoint": "http://model.test:8080", "api_version": "2026-01-01"}
CLIENTS: dict[str, Callable[[], Any]] = {
    "OpenAI": lambda: plain(openai.OpenAI, **OPENAI),
    "AsyncOpenAI": lambda: eventual(openai.AsyncOpenAI, **OPENAI),
    "AzureOpenAI of a deployment": lambda: plain(openai.AzureOpenAI, azure_deployment="ours", **AZURE),
    "AsyncAzureOpenAI": lambda: eventual(openai.AsyncAzureOpenAI, **AZURE),
}

# -- one way to write a call for both kinds of client -----------------------------------------------------------------


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def items(stream: Any) -> list[Any]:
    return [each async for each in stream] if hasattr(stream, "__aiter__") else list(stream)


@contextlib.asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


Call = Callable[[Any], Awaitable[list[Any]]]
"""From a client to all that the program sees."""


def returned(make: Callable[[Any], Any]) -> Call:
    async def call(sdk: Any) -> list[Any]:
        return [await settled(make(sdk))]

    return call


def streamed(make: Callable[[Any], Any]) -> Call:
    async def call(sdk: Any) -> list[Any]:
        stream = await settled(make(sdk))
        return [stream, stream.response.status_code, *await items(stream)]

    return call


def opening(make: Callable[[Any], Any], *reads: Callable[[Any], Any]) -> Call:
    """A response whose body is read in the block, by each of ``reads``."""

    async def call(sdk: Any) -> list[Any]:
        seen = []
        async with opened(make(sdk)) as response:
            seen += [response, response.status_code, response.headers["content-type"], response.is_closed]
            for read in reads:
                value = await settled(read(response))
                iterates = hasattr(value, "__next__") or hasattr(value, "__anext__")
                seen += [value, *(await items(value) if iterates else ())]
        return [*seen, response.is_closed]

    return call


def polled(make: Callable[[Any], Any]) -> Call:
    async def call(sdk: Any) -> list[Any]:
        begun = await settled(make(sdk))
        return [begun, await settled(sdk.responses.retrieve(begun.id))]

    return call


def chat(sdk: Any, **more: Any) -> Any:
    return sdk.chat.completions.with_streaming_response.create(**{**ASK, **more})


CALLS: dict[str, Call] = {
    "chat": returned(lambda sdk: sdk.chat.completions.create(**ASK)),
    "chat, streamed": streamed(lambda sdk: sdk.chat.completions.create(**ASK, stream=True)),
    "chat, an error": returned(lambda sdk: sdk.chat.completions.create(**{**ASK, "model": "refused-key"})),
    "responses": returned(lambda sdk: sdk.responses.create(**INPUT)),
    "responses, streamed": streamed(lambda sdk: sdk.responses.create(**INPUT, stream=True)),
    "embeddings": returned(lambda sdk: sdk.embeddings.create(model="embed", input="x")),
    "in the background": returned(lambda sdk: sdk.responses.create(**INPUT, background=True)),
    "in the background, asked after": polled(lambda sdk: sdk.responses.create(**INPUT, background=True)),
    "in the background, streamed": streamed(lambda sdk: sdk.responses.create(**INPUT, background=True, stream=True)),
    "opened, parsed": opening(chat, lambda response: response.parse()),
    "opened, parsed twice": opening(chat, lambda response: response.parse(), lambda response: response.parse()),
    "opened, read": opening(chat, lambda response: response.read(), lambda response: response.json()),
    "opened, text": opening(chat, lambda response: response.text()),
    "opened, by lines": opening(chat, lambda response: response.iter_lines()),
    "opened, by bytes, then parsed": opening(chat, lambda r: r.iter_bytes(), lambda response: response.parse()),
    "opened, unread": opening(chat),
    "opened, a stream": opening(lambda sdk: chat(sdk, stream=True), lambda response: response.parse()),
    "opened, a stream by lines": opening(lambda sdk: chat(sdk, stream=True), lambda response: response.iter_lines()),
    "opened, a stream unread": opening(lambda sdk: chat(sdk, stream=True)),
    "opened, a broken stream": opening(lambda sdk: chat(sdk, model="cut", stream=True), lambda r: r.parse()),
    "opened, an error": opening(lambda sdk: chat(sdk, model="refused-key"), lambda response: response.parse()),
    "opened responses": opening(
        lambda sdk: sdk.responses.with_streaming_response.create(**INPUT), lambda response: response.parse()
    ),
    "opened embeddings": opening(
        lambda sdk: sdk.embeddings.with_streaming_response.create(model="embed", input="x"), lambda r: r.parse()
    ),
}


def seen(value: Any) -> tuple[str, str]:
    """A value by its type, and by what it says where that is the same in every run."""
    named = f"{type(value).__module__}.{type(value).__qualname__}"
    says = hasattr(value, "model_dump") or isinstance(value, (str, bytes, int, dict))
    return named, repr(value) if says else ""


async def act(client: Callable[[], Any], call: Call) -> list[Any]:
    sdk = client()
    try:
        return [seen(each) for each in await call(sdk)]
    except (openai.OpenAIError, httpx2.HTTPError) as error:
        return [seen(error), str(error)]
    finally:
        await settled(sdk.close())


def spans_of_models(folder: Path) -> list[RecordedSpan]:
    return [span for span in recorded(folder).spans if "gen_ai.request.model" in span.attributes]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_gives_what_it_gives_without_us_and_has_one_span(folder: Path, call: str, client: str) -> None:
    ell.uninstrument()
    bare = asyncio.run(act(CLIENTS[client], CALLS[call]))
    assert not spans_of_models(folder)
    ell.instrument()
    try:
        ours = asyncio.run(act(CLIENTS[client], CALLS[call]))
    finally:
        ell.uninstrument()
    assert ours == bare
    gc.collect()
    (span,) = spans_of_models(folder)
    assert span.attributes["ell.program.name"].startswith(f"{__name__}.")
    assert span.attributes["server.address"] == "model.test"
    failed = "an error" in call or "broken" in call
    assert (span.status, "error.type" in span.attributes) == (("error", True) if failed else ("ok", False))
