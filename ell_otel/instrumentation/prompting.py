"""``@ell.simple`` and ``@ell.complex``: a function that builds a prompt becomes one that returns the model's answer.

The function stays what the user wrote and is what the closure captures; the decorator's arguments are part of its
version. What the SDK raises (no key, an unreachable model, a refused request) reaches the caller unchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Literal, ParamSpec, cast, overload

from ell_otel.instrumentation import openai
from ell_otel.instrumentation.conversation import Message, Tool, as_messages, offered_tool, system, user
from ell_otel.instrumentation.decorator import instrumented

P = ParamSpec("P")


def simple(model: str = "", *, client: Any = None, **params: Any) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """The docstring is the system message, the returned text the user message; a call gives the answer's text.

    ``model`` and ``params`` (temperature, seed, …) go to the chat completions API; ``client`` is an OpenAI client, or
    an AsyncOpenAI one for a coroutine function; by default the one given to ``ell.init``, or one made from the
    environment.
    With ``n=2`` or more a list of texts is returned. Raises ``TypeError`` when the function returns no text.
    """
    if not isinstance(model, str) or not model:
        raise TypeError('@ell.simple needs the model\'s name: @ell.simple(model="gpt-4o-mini")')
    if params.get("stream"):
        raise TypeError("@ell.simple returns a text; to stream, use @ell.complex(…, stream=True)")

    def decorate(function: Callable[P, Any]) -> Callable[P, Any]:
        asker = _Asker(function, model, client, params, simple=True)
        return cast("Callable[P, Any]", instrumented(function, asker.body(), openai.import_package))

    return decorate


@overload
def complex(
    model: str, *, stream: Literal[True], client: Any = None, tools: list[Callable[..., Any]] = ..., **params: Any
) -> Callable[[Callable[P, Any]], Callable[P, Iterator[str]]]: ...


@overload
def complex(
    model: str, *, stream: bool = ..., client: Any = None, tools: list[Callable[..., Any]] = ..., **params: Any
) -> Callable[[Callable[P, Any]], Callable[P, Any]]: ...


def complex(
    model: str = "", *, client: Any = None, tools: list[Callable[..., Any]] | None = None, **params: Any
) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """The function returns messages (or a text); calling it returns the model's ``Message``.

    ``tools`` are functions the model may ask for (see ``Message.call_tools``); ``response_format`` may be a pydantic
    model, then the answer has ``.parsed``. With ``n=2`` or more a list of messages is returned; with ``stream=True`` a
    generator of pieces of text. A docstring is the system message unless the function returns one itself.
    """
    if not isinstance(model, str) or not model:
        raise TypeError('@ell.complex needs the model\'s name: @ell.complex(model="gpt-4o-mini")')

    def decorate(function: Callable[P, Any]) -> Callable[P, Any]:
        asker = _Asker(function, model, client, params, tuple(offered_tool(each) for each in tools or ()))
        return cast("Callable[P, Any]", instrumented(function, asker.body(), openai.import_package))

    return decorate


class _Asker:
    """Runs the user's function and sends what it returns to the model."""

    def __init__(
        self,
        function: Callable[..., Any],
        model: str,
        client: Any,
        params: dict[str, Any],
        tools: tuple[Tool, ...] = (),
        *,
        simple: bool = False,
    ) -> None:
        name = f"{function.__module__}.{function.__qualname__}"
        if isinstance(function, type):
            raise TypeError(f"{name} is a class; decorate the method that returns the prompt")
        if client is not None and not hasattr(client, "chat"):
            raise TypeError(f"client= of {name} is a {type(client).__name__}; it takes an openai.OpenAI(…) client")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{name} yields; a prompt is returned. To trace a generator: @ell.program")
        self._function = function
        self._model = model
        self._client = client
        self._params = params
        self._tools = tools
        self._simple = simple

    def body(self) -> Callable[..., Any]:
        """What runs as the invocation: of the same kind, plain or async, as the user's function."""
        is_async = inspect.iscoroutinefunction(self._function)
        if self._client is not None and openai.is_async_client(self._client) != is_async:
            raise TypeError(
                f"{self._function.__module__}.{self._function.__qualname__} is {'async' if is_async else 'not async'}: "
                f"give it an {'AsyncOpenAI' if is_async else 'OpenAI'} client, or make it "
                f"{'a plain' if is_async else 'an async'} function"
            )
        if self._params.get("stream"):
            return self._stream_async if is_async else self._stream
        return self._ask_async if is_async else self._ask

    def _ask(self, *args: Any, **kwargs: Any) -> Any:
        arguments = self._arguments(self._function(*args, **kwargs))
        return self._answer(openai.complete(self._client, arguments, self._tools))

    async def _ask_async(self, *args: Any, **kwargs: Any) -> Any:
        arguments = self._arguments(await cast("Awaitable[Any]", self._function(*args, **kwargs)))
        return self._answer(await openai.complete_async(self._client, arguments, self._tools))

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        yield from openai.stream(self._client, self._arguments(self._function(*args, **kwargs)))

    async def _stream_async(self, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        arguments = self._arguments(await cast("Awaitable[Any]", self._function(*args, **kwargs)))
        async for piece in openai.stream_async(self._client, arguments):
            yield piece

    def _arguments(self, prompt: object) -> dict[str, Any]:
        return openai.request(self._model, self._messages(prompt), self._params, self._tools)

    def _messages(self, prompt: object) -> list[Message]:
        name = f"{self._function.__module__}.{self._function.__qualname__}"
        if self._simple:
            if not isinstance(prompt, str):
                raise TypeError(
                    f"{name} returned {type(prompt).__name__}; an @ell.simple program returns a text, the user "
                    "message. To return messages, use @ell.complex"
                )
            messages = [user(prompt)]
        else:
            messages = as_messages(prompt, name)
        docstring = inspect.getdoc(self._function) if self._function.__doc__ else None
        if docstring and not any(message.role == "system" for message in messages):
            messages.insert(0, system(docstring))
        return messages

    def _answer(self, messages: list[Message]) -> Any:
        answers = [message.text for message in messages] if self._simple else messages
        return answers if self._params.get("n", 1) > 1 else answers[0]
