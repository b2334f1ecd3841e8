"""Spans of the ``openai`` package, by our own producer and by OpenTelemetry's, from the real SDK without a network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pydantic
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ell_otel as ell
from ell_otel import redact, semconv
from ell_otel.instrumentation import openai_spans, patch
from ell_otel.telemetry import processors, providers
from ell_otel.testing import recorded

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024",
    "service_tier": "default",
    "system_fingerprint": "fp_1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Grüß Gott"}}],
    "usage": USAGE,
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
CALLED = {
    **COMPLETION,
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
        }
    ],
}
REFUSED = {
    **COMPLETION,
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "no"}}
    ],
}
NAME = '{"name":"Paris"}'
NAMED = {
    **COMPLETION,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": NAME}}],
}
HEAD = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini-2024"}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5-2025",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        {"type": "reasoning", "id": "rs_1", "status": "completed", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_9",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
    ],
    "usage": {
        "input_tokens": 9,
        "output_tokens": 5,
        "total_tokens": 14,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 2},
    },
}
NAMED_ITEMS = {
    **RESPONSE,
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": NAME, "annotations": []}],
        }
    ],
}
FAILED = {**RESPONSE, "status": "failed", "output": [], "error": {"code": "server_error", "message": "it broke"}}
INCOMPLETE = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
QUEUED = {**RESPONSE, "status": "queued", "output": [], "usage": None, "background": True}
PNG = "data:image/png;base64," + base64.b64encode(b"png").decode()
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hällo"}]}


def chunks() -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0) -> dict[str, Any]:
        return {**HEAD, "choices": [{"index": index, "delta": delta, "finish_reason": reason}]}

    call = {**CALL, "index": 0}
    rest = {"index": 0, "function": {"arguments": " "}}
    return [
        chunk({"role": "assistant", "content": "Grüß "}),
        chunk({"content": "Gott"}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [rest]}),
        chunk({}, "tool_calls"),
        chunk({"refusal": "no"}, "stop", index=1),
        {**HEAD, "choices": [], "usage": USAGE},
    ]


def sent_events(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        (f"event: {each['type']}\n" if "type" in each else "").encode()
        + b"data: "
        + json.dumps(each).encode()
        + b"\n\n"
        for each in events
    )


def response_events(last: dict[str, Any]) -> list[dict[str, Any]]:
    started = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    text = {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": "hello",
    }
    kind = f"response.{last['status']}"
    events = [
        {"type": "response.created", "response": started},
        {**text, "logprobs": []},
        {"type": kind, "response": last},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


class Cut(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body whose connection breaks off after the first events."""

    def __iter__(self) -> Iterator[bytes]:
        yield sent_events(chunks()[:2])
        raise httpx2.ReadError("the connection broke")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def answered(request: httpx2.Request) -> httpx2.Response:
    """What the server says; the model's name selects it."""
    body = json.loads(request.content)
    model = body["model"]
    if model == "refused-key":
        return httpx2.Response(401, json={"error": {"message": "bad key", "code": "invalid_api_key"}})
    if model == "cut":
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Cut())
    plain = {
        "city": NAMED, "city items": NAMED_ITEMS, "tool": CALLED, "refusal": REFUSED, "failed": FAILED, "incomplete": INCOMPLETE, "queued": QUEUED, "embed": EMBEDDED,
    }.get(model, RESPONSE if request.url.path.endswith("/responses") else COMPLETION)  # fmt: skip
    if not body.get("stream"):
        return httpx2.Response(200, json=plain)
    events = response_events(plain) if plain.get("object") == "response" else chunks()
    tail = b"" if plain.get("object") == "response" else b"data: [DONE]\n\n"
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=sent_events(events) + tail)


class City(pydantic.BaseModel):
    name: str


EMBEDDED = {
    "object": "list",
    "model": "embed-3",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}],
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}


def client() -> openai.OpenAI:
    http = httpx2.Client(transport=httpx2.MockTransport(answered))
    return openai.OpenAI(api_key="none", base_url="http://model.test:8080/v1", http_client=http, max_retries=0)


def async_client() -> openai.AsyncOpenAI:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answered))
    return openai.AsyncOpenAI(api_key="none", base_url="http://model.test:8080/v1", http_client=http, max_retries=0)


# -- both producers, call by call -------------------------------------------------------------------------------------

CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "every setting": {
        "temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.1, "frequency_penalty": 0.2, "seed": 7, "n": 2,
        "max_completion_tokens": 99, "stop": "END", "service_tier": "flex", "response_format": {"type": "json_object"},
    },
    "not given": {"temperature": openai.NOT_GIVEN, "seed": openai.omit, "max_tokens": 5, "stop": ["a", "b"]},
    "tools": {"model": "tool", "tools": [WEATHER], "tool_choice": "required"},
    "refusal": {"model": "refusal"},
    "a whole conversation": {
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "name": "ada", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PNG}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]},
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "assistant", "content": None, "refusal": "no"},
        ],
    },
    "extra body": {"extra_body": {"service_tier": "priority", "max_completion_tokens": 3}},
    "an error": {"model": "refused-key"},
}  # fmt: skip
RESPONSES: dict[str, dict[str, Any]] = {
    "text": {"input": "hello", "instructions": "be kind", "temperature": 1, "max_output_tokens": 50},
    "structured": {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}, "service_tier": "flex"},
    "items": {
        "conversation": "conv_1",
        "tools": [{"type": "web_search"}, {"type": "function", "name": "f", "description": "d", "parameters": {}}],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "file_id": "f1"}]},
            {"type": "reasoning", "id": "rs_0", "summary": [{"type": "summary_text", "text": "so"}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
            {"type": "function_call", "call_id": "b", "name": "f", "arguments": "not json"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
            {"type": "compaction", "encrypted_content": "e"},
        ],
    },
    "incomplete": {"model": "incomplete", "input": "x"},
    "failed": {"model": "failed", "input": "x"},
    "in the background": {"model": "queued", "input": "x", "background": True},
    "an error": {"model": "refused-key", "input": "x"},
}  # fmt: skip


def chat(**more: Any) -> Callable[[openai.OpenAI], Any]:
    return lambda sdk: sdk.chat.completions.create(**{**ASK, **more})


def responses(**more: Any) -> Callable[[openai.OpenAI], Any]:
    return lambda sdk: sdk.responses.create(**{"model": "gpt-5", **more})


def drained(make: Callable[[openai.OpenAI], Any]) -> Callable[[openai.OpenAI], Any]:
    return lambda sdk: list(make(sdk))


def first_of(make: Callable[[openai.OpenAI], Any]) -> Callable[[openai.OpenAI], Any]:
    def read(sdk: openai.OpenAI) -> None:
        with make(sdk) as stream:
            next(iter(stream))

    return read


def dropped(make: Callable[[openai.OpenAI], Any]) -> Callable[[openai.OpenAI], Any]:
    def read(sdk: openai.OpenAI) -> None:
        stream = make(sdk)
        next(iter(stream))
        del stream

    return read


def at_azure(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    http = httpx2.Client(transport=httpx2.MockTransport(answered))
    azure = {"azure_endpoint": "http://azure.test", "api_version": "2026-01-01", "api_key": "none"}
    return lambda _: make(openai.AzureOpenAI(http_client=http, **azure))


SHAPES: dict[str, Callable[[openai.OpenAI], Any]] = {
    **{f"chat, {name}": chat(**more) for name, more in CHATS.items()},
    **{f"chat, streamed, {name}": drained(chat(**more, stream=True)) for name, more in CHATS.items()},
    "chat, raw": lambda sdk: sdk.chat.completions.with_raw_response.create(**ASK).parse(),
    "chat, raw stream": lambda sdk: list(sdk.chat.completions.with_raw_response.create(**ASK, stream=True).parse()),
    "chat, raw stream closed unread": lambda sdk: sdk.chat.completions.with_raw_response.create(
        **ASK, stream=True
    ).http_response.close(),
    "chat, closed early": first_of(chat(stream=True)),
    "chat, dropped": dropped(chat(stream=True)),
    "chat, connection broken": drained(chat(model="cut", stream=True)),
    "chat, stream helper": lambda sdk: sdk.chat.completions.stream(**ASK).__enter__().until_done(),
    "chat, parsed": lambda sdk: sdk.chat.completions.parse(**ASK),
    "chat, parsed into a model": lambda sdk: sdk.chat.completions.parse(**{**ASK, "model": "city"}, response_format=City),
    "chat, parsed into a model that it does not fit": lambda sdk: sdk.chat.completions.parse(**ASK, response_format=City),
    "chat, parsed raw": lambda sdk: sdk.chat.completions.with_raw_response.parse(
        **{**ASK, "model": "city"}, response_format=City
    ).parse(),
    "chat, parsed, an error": lambda sdk: sdk.chat.completions.parse(**{**ASK, "model": "refused-key"}),
    "responses, parsed into a model": lambda sdk: sdk.responses.parse(model="city items", input="x", text_format=City),
    **{f"responses, {name}": responses(**more) for name, more in RESPONSES.items()},
    **{f"responses, streamed, {name}": drained(responses(**more, stream=True)) for name, more in RESPONSES.items()},
    "responses, raw": lambda sdk: sdk.responses.with_raw_response.create(model="gpt-5", input="x").parse(),
    "responses, closed early": first_of(responses(input="x", stream=True)),
    "responses, stream helper": first_of(lambda sdk: sdk.responses.stream(model="gpt-5", input="x")),
    "embeddings": lambda sdk: sdk.embeddings.create(model="embed", input=["a", "b"], dimensions=9, encoding_format="float"),
    "embeddings, an error": lambda sdk: sdk.embeddings.create(model="refused-key", input="a"),
}  # fmt: skip


SHAPES |= {f"{name}, at Azure": at_azure(SHAPES[name]) for name in ("chat, plain", "responses, text", "embeddings")}


def run(shape: Callable[[Any], Any]) -> None:
    with contextlib.suppress(openai.OpenAIError, httpx2.HTTPError, pydantic.ValidationError):
        shape(client())
    gc.collect()


def described(span: ReadableSpan) -> dict[str, Any]:
    """A span as far as two producers can be compared."""
    attributes = dict(span.attributes or {})
    for name in processors.CONTENT & attributes.keys():
        attributes[name] = json.loads(str(attributes[name]))
    if semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK in attributes:
        attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = "a time"
    return {
        "name": span.name,
        "kind": span.kind,
        "status": (span.status.status_code, span.status.description),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in sorted(attributes.items())},
    }


OURS_ALONE = {semconv.ELL_REQUEST, semconv.ELL_PROGRAM_NAME, semconv.ELL_PROGRAM_VERSION}
"""What our span says besides."""

NOT_OURS = {
    # Theirs is no stream until a chunk was read: ours is one when it was asked for.
    semconv.GEN_AI_REQUEST_STREAM: {
        "chat, streamed, an error",
        "responses, streamed, an error",
        "chat, raw stream closed unread",
    },
    # Of an answer that has not finished theirs says "error", if contents are recorded: ours says nothing.
    semconv.GEN_AI_RESPONSE_FINISH_REASONS: {"chat, closed early", "chat, dropped", "chat, connection broken"},
}
"""By attribute, the calls of which the two say something else."""


@pytest.fixture(autouse=True)
def instrumented() -> None:
    patch.restore()
    openai_spans.prepare()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans of an application that has a provider of its own, and has asked for contents."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ell.init(tracer_provider=provider, content=True)
    yield exporter
    patch.restore()
    openai_spans.prepare()


def spans_of_genai(shape: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    patch.restore()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    try:
        run(shape)
    finally:
        OpenAIInstrumentor().uninstrument()
    return [described(span) for span in exporter.get_finished_spans()]


@pytest.mark.parametrize("shape", SHAPES)
def test_both_producers_emit_the_same_span(
    shape: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(SHAPES[shape])
    ours = [described(span) for span in spans.get_finished_spans()]
    theirs = spans_of_genai(SHAPES[shape], monkeypatch)
    assert len(ours) == 1
    apart = OURS_ALONE | {name for name, shapes in NOT_OURS.items() if shape in shapes}
    assert [without(each, apart) for each in ours] == [without(each, apart) for each in theirs]


def without(description: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in description.items() if name not in names}


# -- what a program sees ----------------------------------------------------------------------------------------------


def test_a_stream_is_what_the_sdk_returns(spans: InMemorySpanExporter) -> None:
    stream = client().chat.completions.create(**ASK, stream=True)
    assert type(stream) is openai.Stream
    assert stream.response.status_code == 200
    assert trace.get_current_span() is trace.INVALID_SPAN
    with stream as entered:
        assert entered is stream
        assert next(stream).choices[0].delta.content == "Grüß "
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert stream.response.is_closed
    assert len(spans.get_finished_spans()) == 1


def test_a_raw_response_is_what_the_sdk_returns(spans: InMemorySpanExporter) -> None:
    sdk = client()
    raw = sdk.chat.completions.with_raw_response.create(**ASK, stream=True)
    assert raw.headers["content-type"] == "text/event-stream"
    stream = raw.parse()
    assert type(stream) is openai.Stream
    assert raw.parse() is stream
    list(stream)
    with sdk.chat.completions.with_streaming_response.create(**ASK) as unread:
        assert spans.get_finished_spans()[1:] == ()
        assert unread.parse().choices[0].message.content == "Grüß Gott"
    (_, last) = spans.get_finished_spans()
    assert (last.attributes or {})[semconv.GEN_AI_RESPONSE_ID] == "chatcmpl-1"


def test_async_calls_and_streams_give_the_same_spans_as_plain_ones(spans: InMemorySpanExporter) -> None:
    list(client().chat.completions.create(**ASK, stream=True))
    client().responses.create(model="gpt-5", input="x")
    client().embeddings.create(model="embed", input="x")
    plain = [described(span) for span in spans.get_finished_spans()]
    spans.clear()

    async def calls() -> None:
        sdk = async_client()
        stream = await sdk.chat.completions.create(**ASK, stream=True)
        assert type(stream) is openai.AsyncStream
        assert [chunk async for chunk in stream]
        await sdk.responses.create(model="gpt-5", input="x")
        await sdk.embeddings.create(model="embed", input="x")

    asyncio.run(calls())
    anonymous = {semconv.ELL_PROGRAM_NAME, semconv.ELL_PROGRAM_VERSION}
    ours = [described(span) for span in spans.get_finished_spans()]
    assert [without(each, anonymous) for each in ours] == [without(each, anonymous) for each in plain]
    assert {str(each[semconv.ELL_PROGRAM_NAME]).rpartition(".")[2] for each in ours} == {"calls"}


def test_a_stream_closed_in_another_task_ends_its_span_once(
    spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    async def calls() -> None:
        stream = await async_client().chat.completions.create(**ASK, stream=True)
        await asyncio.create_task(anext(stream))
        await asyncio.create_task(stream.close())
        await stream.close()

    asyncio.run(calls())
    gc.collect()
    assert len(spans.get_finished_spans()) == 1
    assert not caplog.records


def test_a_cancelled_call_is_an_error_of_its_span(spans: InMemorySpanExporter) -> None:
    async def never(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async def calls() -> None:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(never))
        sdk = openai.AsyncOpenAI(api_key="none", base_url="http://model.test/v1", http_client=http)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sdk.chat.completions.create(**ASK)

    asyncio.run(calls())
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})[semconv.ERROR_TYPE] == "asyncio.exceptions.CancelledError"


def test_an_abandoned_stream_ends_its_span_when_it_is_dropped_without_a_garbage_collection(
    spans: InMemorySpanExporter,
) -> None:
    gc.disable()
    try:
        stream = client().chat.completions.create(**ASK, stream=True)
        next(stream)
        del stream
        assert len(spans.get_finished_spans()) == 1
    finally:
        gc.enable()


def test_uninstrumented_even_a_method_that_the_client_has_kept_makes_no_span(spans: InMemorySpanExporter) -> None:
    sdk = client()
    sdk.chat.completions.with_raw_response.create(**ASK)
    patch.restore()
    assert not hasattr(openai.resources.chat.completions.Completions.create, "_self_wrapper")
    sdk.chat.completions.with_raw_response.create(**ASK)
    assert len(spans.get_finished_spans()) == 1


def test_an_application_that_uses_opentelemetrys_instrumentation_keeps_its_spans_and_gets_none_of_ours(
    folder: Path,
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    patch.restore()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    try:
        openai_spans.prepare()
        client().chat.completions.create(**ASK)
    finally:
        patch.restore()
        OpenAIInstrumentor().uninstrument()
        openai_spans.prepare()
    assert [span.name for span in exporter.get_finished_spans()] == ["chat gpt-4o-mini"]
    assert recorded(folder).spans == []


def test_where_opentelemetrys_instrumentation_refuses_the_package_ours_gives_spans_and_says_so(
    monkeypatch: pytest.MonkeyPatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OpenAIInstrumentor, "instrumentation_dependencies", lambda _: ("openai >= 99",))
    patch.restore()
    openai_spans.prepare()
    try:
        client().chat.completions.create(**ASK)
    finally:
        patch.restore()
        monkeypatch.undo()
        openai_spans.prepare()
    assert recorded(folder).span("chat gpt-4o-mini").attributes[semconv.GEN_AI_RESPONSE_ID] == "chatcmpl-1"
    (warning,) = [record.message for record in caplog.records if record.name == "ell_otel"]
    assert "refuses this openai" in warning
    assert "\n" not in warning


# -- contents ---------------------------------------------------------------------------------------------------------


def request_of(span: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(span.attributes[semconv.ELL_REQUEST])
    return said


def test_the_request_is_kept_beside_its_messages_and_without_secrets(folder: Path) -> None:
    client().chat.completions.create(
        **ASK,
        tools=[WEATHER],
        tool_choice="required",
        seed=7,
        extra_body={"guided": {"regex": "a+"}},
        extra_headers={"Authorization": "Bearer abc", "X-Trace": "on"},
    )
    said = request_of(recorded(folder).span("chat gpt-4o-mini"))
    assert said == {
        "model": "gpt-4o-mini",
        "tools": [WEATHER],
        "tool_choice": "required",
        "seed": 7,
        "extra_body": {"guided": {"regex": "a+"}},
        "extra_headers": {"Authorization": "[REDACTED]", "X-Trace": "on"},
    }


def test_a_request_that_contains_itself_is_kept_as_far_as_it_can_be_said(folder: Path) -> None:
    guided: dict[str, Any] = {"regex": "a+"}
    guided["again"] = guided
    with pytest.raises(ValueError, match="Circular"):  # as without us
        client().chat.completions.create(**ASK, seed=7, extra_body={"guided": guided})
    said = request_of(recorded(folder).span("chat gpt-4o-mini"))
    assert (said["seed"], said["extra_body"]["guided"]["regex"]) == (7, "a+")


def test_lone_surrogates_are_not_left_to_an_encoder_that_complains(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnicodeEncodeError):  # as without us
        client().chat.completions.create(**{**ASK, "model": "gpt \ud800"}, stop=["\udfff"], service_tier="\udfff")
    (span,) = recorded(folder).spans
    assert span.attributes[semconv.GEN_AI_REQUEST_MODEL] == "gpt \ufffd"
    assert not caplog.records


def test_messages_that_are_more_than_role_and_text_are_kept_as_they_were_sent(folder: Path) -> None:
    messages = [*ASK["messages"], {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    client().chat.completions.create(model="gpt-4o-mini", messages=messages)
    assert request_of(recorded(folder).span("chat gpt-4o-mini"))["messages"] == messages


def test_a_format_given_as_a_class_is_kept_as_it_was_sent(folder: Path) -> None:
    sent: list[dict[str, Any]] = []

    def heard(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return answered(request)

    http = httpx2.Client(transport=httpx2.MockTransport(heard))
    sdk = openai.OpenAI(api_key="none", base_url="http://model.test:8080/v1", http_client=http)
    for _ in range(2):
        sdk.chat.completions.parse(**{**ASK, "model": "city"}, response_format=City)
        sdk.responses.parse(model="city items", input="x", text_format=City, text={"verbosity": "low"})
    said = [request_of(span) for span in recorded(folder).spans]
    assert [(each.get("response_format"), each.get("text")) for each in said] == [
        (each.get("response_format"), each.get("text")) for each in sent
    ]
    assert said[1].keys() == {"model", "text"}


def test_a_large_image_is_kept_once_by_its_digest_and_not_in_the_span(folder: Path) -> None:
    image = bytes(range(256)) * 64
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    for _ in range(2):
        client().chat.completions.create(model="gpt-4o-mini", messages=[message])
    digest = hashlib.sha256(image).hexdigest()
    assert [path.name for path in (folder / "blobs").iterdir()] == [digest]
    assert (folder / "blobs" / digest).read_bytes() == image
    attributes = recorded(folder).spans[0].attributes
    (part,) = json.loads(attributes[semconv.GEN_AI_INPUT_MESSAGES])[0]["parts"]
    assert part == {"mime_type": "image/png", "modality": "image", "uri": f"sha256:{digest}", "type": "uri"}
    kept = json.loads(attributes[semconv.ELL_REQUEST])["messages"][0]["content"][0]["image_url"]["url"]
    assert kept == {"$blob": f"sha256:{digest}", "prefix": "data:image/png;base64,"}


def test_an_image_that_comes_again_is_neither_decoded_nor_hashed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 64).decode()
    work: list[str] = []
    for module, name in ((base64, "b64decode"), (hashlib, "sha256")):
        monkeypatch.setattr(module, name, _counted(getattr(module, name), work))
    sdk = client()
    for turn in range(3):
        content = [{"type": "text", "text": f"turn {turn}"}, {"type": "image_url", "image_url": {"url": url}}]
        sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": content}])
        assert work.count("b64decode") == (turn == 0)
        assert turn == 0 or not work
        work.clear()
    spans = recorded(folder).spans
    assert (
        len({json.loads(each.attributes[semconv.GEN_AI_INPUT_MESSAGES])[0]["parts"][1]["uri"] for each in spans}) == 1
    )


def _counted(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return counting


def test_a_users_hook_redacts_whatever_leaves_the_process(folder: Path) -> None:
    ell.init(redact=lambda text: text.replace("Hällo", "***").replace("Grüß", "***"))
    try:
        client().chat.completions.create(**ASK, user="Hällo")
    finally:
        redact.use(None)
    assert "Hällo" not in str(recorded(folder))
    assert "Grüß" not in str(recorded(folder))


def test_towards_an_endpoint_no_content_is_recorded_unless_it_is_asked_for(spans: InMemorySpanExporter) -> None:
    for content, expected in ((None, False), (True, True)):
        spans.clear()
        provider = providers.pipeline().tracer_provider
        ell.init(endpoint="http://127.0.0.1:9", tracer_provider=provider, content=content)
        client().chat.completions.create(**ASK)
        (span,) = spans.get_finished_spans()
        assert bool(processors.CONTENT & (span.attributes or {}).keys()) is expected
