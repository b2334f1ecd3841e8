"""Streams of the OpenAI SDK, watched: what comes is noted, and however a stream ends, its call ends once.

A program gets a stream of the SDK's own class, with everything the SDK has put into it; only its iterator is ours. It
is another object than the one the SDK made, for that one is part of a cycle, and an abandoned stream would be noticed
at some later garbage collection; ours is noticed when the last reference to it goes. No context is held in between.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol, Self

from ell_otel import semconv
from ell_otel.instrumentation import openai_messages as messages
from ell_otel.instrumentation.openai_attributes import (
    Attributes,
    Chat,
    Content,
    Embeddings,
    Responses,
    chat_usage,
    has_compaction,
)
from ell_otel.instrumentation.openai_parts import Plain, field, is_list, text_part
from ell_otel.telemetry.blobs import Blobs


class Ending(Protocol):
    """What a stream reports to: the call that it is the answer of.

    ``reading``: within a step of the stream, which itself will say how it ended.
    """

    reading: bool

    def note(self, chunk: Any) -> None:
        """One chunk has come. Never raises."""

    def end(self) -> None:
        """Nothing more will come. Has an effect only once, as the two below."""

    def fail(self, error: BaseException) -> None:
        """Reading the stream has failed."""

    def abandon(self) -> None:
        """Nobody can read the stream any more, and it was not at its end."""


def watched(stream: Any, call: Ending) -> Any:
    """A stream like ``stream`` that reports to ``call``."""
    twin = object.__new__(type(stream))
    twin.__dict__.update(stream.__dict__)
    inner = twin.__dict__.get("_iterator")
    if hasattr(inner, "__anext__"):
        twin._iterator = _AsyncChunks(inner, call)
    elif hasattr(inner, "__next__"):
        twin._iterator = _Chunks(inner, call)
    when_closed(twin.response, lambda: None if call.reading else call.end())
    return twin


def when_closed(response: Any, then: Callable[[], None]) -> None:
    """Call ``then`` after an HTTP response was closed, which is how every way of ending a stream ends."""
    close: Callable[[], None] | None = getattr(response, "close", None)
    aclose: Callable[[], Awaitable[None]] | None = getattr(response, "aclose", None)
    if close is not None:

        def closed() -> None:
            try:
                close()
            finally:
                then()

        response.close = closed
    if aclose is not None:

        async def aclosed() -> None:
            try:
                await aclose()
            finally:
                then()

        response.aclose = aclosed


class _Chunks:
    """An iterator that reports. The only reference to it is its stream's, so that it goes when that goes."""

    def __init__(self, inner: Iterator[Any], call: Ending) -> None:
        self._inner = inner
        self._call = call

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        self._call.reading = True
        try:
            chunk = next(self._inner)
        except StopIteration:
            self._call.end()
            raise
        except BaseException as error:
            self._call.fail(error)
            raise
        finally:
            self._call.reading = False
        self._call.note(chunk)
        return chunk

    def __del__(self) -> None:
        self._call.abandon()


class _AsyncChunks:
    """As ``_Chunks``, for an async iterator."""

    def __init__(self, inner: AsyncIterator[Any], call: Ending) -> None:
        self._inner = inner
        self._call = call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        self._call.reading = True
        try:
            chunk = await anext(self._inner)
        except StopAsyncIteration:
            self._call.end()
            raise
        except BaseException as error:
            self._call.fail(error)
            raise
        finally:
            self._call.reading = False
        self._call.note(chunk)
        return chunk

    def __del__(self) -> None:
        self._call.abandon()


# -- what the chunks say ----------------------------------------------------------------------------------------------


class Heard:
    """What a stream has said so far. ``failure`` is type and message where it says that the model's side failed."""

    def __init__(self) -> None:
        self.failure: tuple[str, str | None] | None = None
        self.complete = False
        self._began = time.perf_counter()
        self._first: float | None = None

    def hear(self, chunk: Any) -> None:
        """Take one chunk in."""
        if self._first is None:
            self._first = time.perf_counter() - self._began
        self._take(chunk)

    def attributes(self) -> Attributes:
        """The span's attributes, as far as they are known."""
        attributes: Attributes = {semconv.GEN_AI_REQUEST_STREAM: True}
        if self._first is not None:
            attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = self._first
        return attributes

    def content(self, blobs: Blobs) -> Content:
        """What the model wrote, as far as it has come."""
        return {}

    def _take(self, chunk: Any) -> None:
        """Nothing is known of such chunks."""


class _ChatHeard(Heard):
    def __init__(self) -> None:
        super().__init__()
        self._head: Attributes = {}
        self._usage: Any = None
        self._choices: dict[int, _Choice] = {}

    def _take(self, chunk: Any) -> None:
        for key, name in (
            ("id", semconv.GEN_AI_RESPONSE_ID),
            ("model", semconv.GEN_AI_RESPONSE_MODEL),
            ("service_tier", semconv.OPENAI_RESPONSE_SERVICE_TIER),
        ):
            if name not in self._head and (value := getattr(chunk, key, None)):
                self._head[name] = value
        self._usage = getattr(chunk, "usage", None) or self._usage
        for choice in getattr(chunk, "choices", None) or ():
            if choice.delta:
                if choice.index not in self._choices:
                    self._choices[choice.index] = _Choice()
                self._choices[choice.index].add(choice.delta, choice.finish_reason)

    def attributes(self) -> Attributes:
        attributes = {**super().attributes(), **self._head}
        if self._usage is not None:
            attributes.update(chat_usage(self._usage))
        if reasons := [choice.finish_reason for choice in self._in_order() if choice.finish_reason]:
            attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
        return attributes

    def content(self, blobs: Blobs) -> Content:
        return {semconv.GEN_AI_OUTPUT_MESSAGES: [choice.message() for choice in self._in_order()]}

    def _in_order(self) -> list[_Choice]:
        by_index = sorted(self._choices.items(), key=lambda each: each[0] if isinstance(each[0], int) else -1)
        return [choice for _, choice in by_index]


class _Choice:
    """One of the answers, put together from its pieces."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[Any, tuple[str | None, str | None, list[str]]] = {}

    def add(self, delta: Any, finish_reason: str | None) -> None:
        """Take in what is new."""
        self.finish_reason = finish_reason or self.finish_reason
        if (content := delta.content) is not None:
            self._texts.append(content if isinstance(content, str) else _text_of(content))
        if isinstance(refusal := getattr(delta, "refusal", None), str):
            self._refusals.append(refusal)
        for call in delta.tool_calls or ():
            function = call.function
            key = call.id if call.index is None else call.index  # some servers count calls by id alone
            *_, arguments = self._calls.setdefault(key, (call.id, function.name if function else None, []))
            if function and function.arguments is not None:
                arguments.append(function.arguments)

    def message(self) -> Plain:
        """The answer as far as it has come."""
        texts = ["".join(pieces) for pieces in (self._texts, self._refusals) if pieces]
        calls = (messages.tool_call(name, key, "".join(text)) for key, name, text in self._calls.values())
        parts = [*map(text_part, texts), *calls]
        return messages.output("assistant", parts, messages.chat_finish_reason(self.finish_reason))


def _text_of(parts: Any) -> str:
    """The text of a piece that is itself made of parts, as those of Mistral's reasoning models are."""
    texts = [field(part, "text") for part in parts] if is_list(parts) else []
    return "".join(text for text in texts if isinstance(text, str))


class _ResponsesHeard(Heard):
    def __init__(self) -> None:
        super().__init__()
        self._model: str | None = None
        self._compacted = False
        self._response: Any = None

    def _take(self, chunk: Any) -> None:
        kind = getattr(chunk, "type", None)
        response = getattr(chunk, "response", None)
        self._model = self._model or getattr(response, "model", None)
        if kind in {"response.output_item.added", "response.output_item.done"}:
            self._compacted = self._compacted or has_compaction([chunk.item])
        elif kind in {"response.completed", "response.incomplete", "response.failed"}:
            self._response, self.complete = response, True
            if kind == "response.failed":
                self.failure = Responses.failure(response) or (kind, None)
        elif kind == "error":
            self.complete = True
            self.failure = (chunk.code or kind, chunk.message or None)

    def attributes(self) -> Attributes:
        attributes = super().attributes()
        if self._model:
            attributes[semconv.GEN_AI_RESPONSE_MODEL] = self._model
        if self._compacted:
            attributes[semconv.GEN_AI_CONVERSATION_COMPACTED] = True
        return {**attributes, **Responses.answered(self._response)}

    def content(self, blobs: Blobs) -> Content:
        return Responses.answered_content(self._response, blobs)


HEARD: dict[Any, type[Heard]] = {Chat: _ChatHeard, Responses: _ResponsesHeard, Embeddings: Heard}
"""By API, how its chunks are to be understood."""
