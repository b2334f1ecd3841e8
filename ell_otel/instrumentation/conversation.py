"""What goes to a model and what comes back: messages, tools, and a model's requests to run them."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, cast

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from ell_otel import semconv
from ell_otel.errors import InstrumentationError
from ell_otel.telemetry import current
from ell_otel.telemetry.guard import guarded
from ell_otel.telemetry.messages import error_text, named_arguments, to_json

P = ParamSpec("P")
R = TypeVar("R")

TOOL_MARK: Final = "__ell_tool__"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Message:
    """One message of a conversation. ``content`` is text, or the API's list of content parts.

    A model's answer may carry ``tool_calls``, and ``parsed`` when a pydantic model was the response format.
    """

    role: str
    content: Any
    tool_calls: tuple[ToolCall, ...] = ()
    parsed: Any = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The content as text: what is not text in it is left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.get("text", "") for part in self.content or () if isinstance(part, dict))

    def __str__(self) -> str:
        return self.text

    def call_tools(self) -> list[Message]:
        """Run every tool the model asked for, in order; the messages to send back, one each."""
        return [call.answer(call.run()) for call in self.tool_calls]

    async def call_tools_async(self) -> list[Message]:
        """As ``call_tools``, for tools of which some are coroutine functions."""
        answers = []
        for call in self.tool_calls:
            result = call.run()
            answers.append(call.answer(await result if inspect.isawaitable(result) else result))
        return answers


def system(content: Any) -> Message:
    """A system message."""
    return Message("system", content)


def user(content: Any) -> Message:
    """A user message: text, or a list of content parts (images and so on) as the API takes them."""
    return Message("user", content)


def assistant(content: Any) -> Message:
    """A message as if the model had said it: for examples in a prompt."""
    return Message("assistant", content)


def as_messages(value: object, program: str) -> list[Message]:
    """What a program returned, as messages: a text, a message, or a list of messages and ``{"role", "content"}`` dicts.

    Raises ``TypeError`` that names the program and what it takes for anything else.
    """
    if isinstance(value, str):
        return [user(value)]
    if isinstance(value, Message):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_as_message(item, program) for item in value]
    raise TypeError(_wrong(program, value))


def _as_message(item: object, program: str) -> Message:
    if isinstance(item, Message):
        return item
    if isinstance(item, dict) and "role" in item:
        return Message(item["role"], item.get("content"), tool_call_id=item.get("tool_call_id"))
    raise TypeError(_wrong(program, item))


def _wrong(program: str, value: object) -> str:
    return (
        f"{program} returned {type(value).__name__}; a language-model program returns a text, or a list of messages "
        "made by ell.system(…), ell.user(…), ell.assistant(…) or given as {'role': …, 'content': …}"
    )


# -- tools ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's request to run a tool. ``arguments`` is the JSON text that the model wrote."""

    id: str
    name: str
    arguments: str
    tool: Tool | None = field(default=None, repr=False)

    def run(self) -> Any:
        """Run the tool with the model's arguments, checked against its signature; an awaitable for an async tool.

        Raises pydantic's ``ValidationError`` when they do not fit, ``LookupError`` when the program has no such tool.
        """
        if self.tool is None:
            raise LookupError(f"the model asked for a tool {self.name!r} that this program was not given in tools=[…]")
        return self.tool.run(self.arguments, self.id)

    def answer(self, result: object) -> Message:
        """The message that tells the model what the tool returned."""
        text = result if isinstance(result, str) else json.dumps(result, default=str, ensure_ascii=False)
        return Message("tool", text, tool_call_id=self.id)


class Tool:
    """A function offered to a model: its name, its description and the JSON schema of its parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name: str = function.__name__
        self.description = inspect.getdoc(function) or ""

    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters, from the signature's annotations."""
        schema: dict[str, Any] = self._parameters.model_json_schema()
        return schema

    def run(self, arguments: str, call_id: str) -> Any:
        """Call the function with JSON arguments, inside an ``execute_tool`` span."""
        checked = self._parameters.model_validate_json(arguments or "{}")
        run = _async_tool if inspect.iscoroutinefunction(self.function) else _plain_tool
        return run(self, call_id)(**{name: getattr(checked, name) for name in type(checked).model_fields})

    @functools.cached_property
    def _parameters(self) -> Any:
        try:
            import pydantic
        except ModuleNotFoundError:
            raise InstrumentationError("tools need pydantic: pip install 'ell-otel[openai]'") from None
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(self.function, eval_str=True).parameters.items():
            annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
            fields[name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
        return pydantic.create_model(self.name, **fields)


def tool(function: Callable[P, R]) -> Callable[P, R]:
    """Offer ``function``, plain or async, to models: pass it in ``tools=[…]``. Called directly it is itself, traced.

    Raises ``TypeError`` for a generator: a model is answered once.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__module__}.{function.__qualname__} yields; a tool returns what the model is told")
    offered = Tool(function)
    wrapper = _async_tool(offered) if inspect.iscoroutinefunction(function) else _plain_tool(offered)
    functools.update_wrapper(wrapper, function)
    setattr(wrapper, TOOL_MARK, offered)
    return cast("Callable[P, R]", wrapper)


def offered_tool(function: Callable[..., Any]) -> Tool:
    """The tool of a decorated function, or one made of a plain function."""
    found = getattr(function, TOOL_MARK, None)
    return found if isinstance(found, Tool) else Tool(function)


def _plain_tool(offered: Tool, call_id: str = "") -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _Execution(offered, call_id, args, kwargs) as execution:
            return execution.returned(offered.function(*args, **kwargs))

    return wrapper


def _async_tool(offered: Tool, call_id: str = "") -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _Execution(offered, call_id, args, kwargs) as execution:
            return execution.returned(await offered.function(*args, **kwargs))

    return wrapper


class _Execution:
    """One run of a tool: a span from start to end. As harmless as ``decorator.Run``."""

    def __init__(self, offered: Tool, call_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._span: Span | None = None
        self._content: Callable[[str, object], None] = lambda name, value: None
        with guarded("starting a tool's span"):
            pipeline = current.pipeline()
            span = self._span = pipeline.tracer.start_span(
                f"{semconv.OPERATION_EXECUTE_TOOL} {offered.name}",
                kind=SpanKind.INTERNAL,
                attributes={
                    semconv.GEN_AI_OPERATION_NAME: semconv.OPERATION_EXECUTE_TOOL,
                    semconv.GEN_AI_TOOL_NAME: offered.name,
                    semconv.GEN_AI_TOOL_TYPE: "function",
                    **({semconv.GEN_AI_TOOL_CALL_ID: call_id} if call_id else {}),
                },
            )
            if pipeline.settings.record_content and span.is_recording():
                budget = pipeline.settings.value_bytes
                self._content = lambda name, value: pipeline.content(span, name, to_json(value, budget))
            self._content(semconv.GEN_AI_TOOL_CALL_ARGUMENTS, named_arguments(offered.function, args, kwargs))

    def __enter__(self) -> Self:
        return self

    def returned(self, result: R) -> R:
        """Note the result. Returns it."""
        with guarded("recording a tool's result"):
            self._content(semconv.GEN_AI_TOOL_CALL_RESULT, result)
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with guarded("ending a tool's span"):
            if self._span is None:
                return
            if error is not None:
                self._span.set_status(Status(StatusCode.ERROR, error_text(error)))
                self._span.set_attribute(semconv.ERROR_TYPE, type(error).__qualname__)
            self._span.end()
