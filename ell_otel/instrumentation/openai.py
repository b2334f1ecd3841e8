"""The ``openai`` package as our decorators use it: clients, requests and answers. Its spans: ``openai_spans``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ell_otel.errors import InstrumentationError
from ell_otel.instrumentation.conversation import Message, Tool, ToolCall
from ell_otel.instrumentation.openai_genai import INSTALL

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

# -- clients ----------------------------------------------------------------------------------------------------------

_client: OpenAI | None = None
_async_client: AsyncOpenAI | None = None
_async_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = weakref.WeakKeyDictionary()


def use_clients(client: OpenAI | None, async_client: AsyncOpenAI | None) -> None:
    """The clients for programs that name none. None leaves what is set."""
    global _client, _async_client
    _client = client or _client
    _async_client = async_client or _async_client


def import_package() -> None:
    """Import the package now, where it is there: it takes a second, which is no part of any request."""
    with contextlib.suppress(ImportError):
        import openai  # noqa: F401


def _default_client() -> OpenAI:
    global _client
    if _client is None:
        _client = _package().OpenAI()  # reads OPENAI_API_KEY and OPENAI_BASE_URL
    return _client


def _default_async_client() -> AsyncOpenAI:
    """The client given to ``init``, else one for the running loop: connections die with the loop they were made in."""
    if _async_client is not None:
        return _async_client
    loop = asyncio.get_running_loop()
    if loop not in _async_clients:
        _async_clients[loop] = _package().AsyncOpenAI()
    return _async_clients[loop]


def _package() -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise InstrumentationError(f"this program needs the openai package: {INSTALL}") from None
    return openai


# -- requests ---------------------------------------------------------------------------------------------------------


def request(model: str, messages: Sequence[Message], params: dict[str, Any], tools: Sequence[Tool]) -> dict[str, Any]:
    """Keyword arguments for ``chat.completions.create`` or ``.parse``."""
    arguments: dict[str, Any] = {"model": model, "messages": [as_openai(message) for message in messages], **params}
    if tools:
        arguments["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema()},
            }
            for tool in tools
        ]
    if arguments.get("stream"):
        arguments.setdefault("stream_options", {"include_usage": True})  # else a streamed answer has no token counts
    return arguments


def complete(client: Any, arguments: dict[str, Any], tools: Sequence[Tool]) -> list[Message]:
    """Send a request; one message per choice. What the SDK raises goes through."""
    completions = (client or _default_client()).chat.completions
    return _messages(_method(completions, arguments)(**arguments), tools)


async def complete_async(client: Any, arguments: dict[str, Any], tools: Sequence[Tool]) -> list[Message]:
    """As ``complete``, with an async client."""
    completions = (client or _default_async_client()).chat.completions
    return _messages(await _method(completions, arguments)(**arguments), tools)


def stream(client: Any, arguments: dict[str, Any]) -> Iterator[str]:
    """Send a streaming request; yields the first choice's text, piece by piece."""
    with (client or _default_client()).chat.completions.create(**arguments) as chunks:
        for chunk in chunks:
            if piece := _piece(chunk):
                yield piece


async def stream_async(client: Any, arguments: dict[str, Any]) -> AsyncIterator[str]:
    """As ``stream``, with an async client."""
    async with await (client or _default_async_client()).chat.completions.create(**arguments) as chunks:
        async for chunk in chunks:
            if piece := _piece(chunk):
                yield piece


def is_async_client(client: object) -> bool:
    """Whether ``client`` is one of the SDK's async clients."""
    sdk = sys.modules.get("openai")
    return sdk is not None and isinstance(client, sdk.AsyncOpenAI)


def as_openai(message: Message) -> dict[str, Any]:
    """``message`` as the chat completions API takes it."""
    result: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        result["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return result


def _method(completions: Any, arguments: dict[str, Any]) -> Callable[..., Any]:
    structured = isinstance(arguments.get("response_format"), type)
    method: Callable[..., Any] = completions.parse if structured else completions.create
    return method


def _messages(response: Any, tools: Sequence[Tool]) -> list[Message]:
    by_name = {tool.name: tool for tool in tools}
    return [_message(choice.message, by_name) for choice in response.choices]


def _message(answer: Any, tools: dict[str, Tool]) -> Message:
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments, tools.get(call.function.name))
        for call in answer.tool_calls or ()
        if call.type == "function"
    )
    text = answer.content if answer.content is not None else getattr(answer, "refusal", None)
    return Message("assistant", text or "", tool_calls=calls, parsed=getattr(answer, "parsed", None))


def _piece(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices and chunk.choices[0].index == 0 else ""
