"""Answers of servers that are not quite OpenAI's: the program gets them as without us, and what is not odd is recorded."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from test_openai_spans import ASK, CALL, COMPLETION, EMBEDDED, HEAD, RESPONSE, chunks, response_events, sent_events

import ell_otel as ell
from ell_otel import semconv
from ell_otel.telemetry import guard
from ell_otel.testing import RecordedSpan, recorded

INPUT: Any = {"model": "m", "input": "Why?"}


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    guard.raise_faults(False)
    ell.instrument()
    yield
    ell.uninstrument()


def client(*answers: Any) -> openai.OpenAI:
    """One whose server says each of ``answers`` in turn: an object, or a list of events."""
    turns = iter(answers)

    def answered(_: httpx2.Request) -> httpx2.Response:
        answer = next(turns)
        streamed = isinstance(answer, list)
        headers = {"content-type": "text/event-stream" if streamed else "application/json"}
        body = sent_events(answer) if streamed else json.dumps(answer).encode()
        return httpx2.Response(200, headers=headers, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answered))
    return openai.OpenAI(api_key="none", base_url="http://model.test/v1", http_client=http, max_retries=0)


def only(folder: Path) -> RecordedSpan:
    ell.flush()
    (span,) = recorded(folder).spans
    return span


def said(span: RecordedSpan) -> list[dict[str, Any]]:
    (message,) = json.loads(span.attributes[semconv.GEN_AI_OUTPUT_MESSAGES])
    parts: list[dict[str, Any]] = message["parts"]
    return parts


def chunk(**delta: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def test_a_stream_whose_pieces_are_lists_of_parts_is_put_together_from_their_texts(folder: Path) -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    pieces: list[Any] = [[thought, {"type": "text", "text": "Grüß "}], "Gott"]
    list(client([chunk(content=piece) for piece in pieces]).chat.completions.create(**ASK, stream=True))
    assert said(only(folder)) == [{"content": "Grüß Gott", "type": "text"}]


def test_streamed_tool_calls_without_an_index_are_told_apart_by_their_ids(folder: Path) -> None:
    calls = [{**CALL, "id": name, "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    list(client([chunk(tool_calls=[call]) for call in calls]).chat.completions.create(**ASK, stream=True))
    assert [(part["id"], part["arguments"]) for part in said(only(folder))] == [("a", {}), ("b", {})]


def test_a_tool_calls_arguments_that_come_as_data_are_recorded_as_that(folder: Path) -> None:
    call = {**CALL, "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {**COMPLETION, "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}
    client(answer).chat.completions.create(**ASK)
    assert said(only(folder))[0]["arguments"] == {"city": "Paris"}


# -- any field at all -------------------------------------------------------------------------------------------------

ASKING: dict[str, tuple[Any, Callable[[openai.OpenAI], Any]]] = {
    "chat": (COMPLETION, lambda sdk: sdk.chat.completions.create(**ASK)),
    "chat, streamed": (chunks(), lambda sdk: list(sdk.chat.completions.create(**ASK, stream=True))),
    "responses": (RESPONSE, lambda sdk: sdk.responses.create(**INPUT)),
    "responses, streamed": (
        response_events(RESPONSE),
        lambda sdk: list(sdk.responses.create(**INPUT, stream=True)),
    ),
    "embeddings": (EMBEDDED, lambda sdk: sdk.embeddings.create(**INPUT, encoding_format="float")),
}
ABSENT = object()
ODD: tuple[Any, ...] = (ABSENT, None, [{"type": "text", "text": "x"}, None])


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every field of an answer."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*way, key)
        yield from places(item, (*way, key))


def changed(answer: Any, way: tuple[Any, ...], odd: Any) -> Any:
    result = json.loads(json.dumps(answer))
    *to, last = way
    holder = result
    for key in to:
        holder = holder[key]
    if odd is ABSENT:
        del holder[last]
    else:
        holder[last] = copy.deepcopy(odd)
    return result


def outcome(asking: Callable[[openai.OpenAI], Any], sdk: openai.OpenAI) -> str:
    try:
        return repr(asking(sdk))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_whatever_is_odd_about_an_answer_the_program_gets_the_same_and_the_tokens_are_counted(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer, asking = ASKING[name]
    odd = [(way, changed(answer, way, value)) for way in places(answer) for value in ODD]
    sdk, bare = client(*(each for _, each in odd)), client(*(each for _, each in odd))
    ours = [outcome(asking, sdk) for _ in odd]
    gc.collect()
    ell.flush()
    spans = recorded(folder).spans
    ell.uninstrument()
    assert ours == [outcome(asking, bare) for _ in odd]
    assert len(spans) == len(odd)
    for (way, _), span, result in zip(odd, spans, ours, strict=True):
        readable = not {"usage", "object", "response", "type"} & set(way) and len(way) > 1 and "Error: " not in result
        assert not readable or semconv.GEN_AI_USAGE_INPUT_TOKENS in span.attributes, way
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def test_an_answer_fetched_later_is_what_it_is_without_us_however_odd(folder: Path) -> None:
    odd = {name: value for name, value in RESPONSE.items() if name != "output"}
    with client(odd, RESPONSE) as here:
        assert here.responses.retrieve("resp_1").output is None
        assert here.responses.retrieve("resp_1").id == RESPONSE["id"]
    ell.flush()
    assert recorded(folder).spans == []
