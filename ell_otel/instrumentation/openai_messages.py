"""What the OpenAI API takes and gives as messages, in the form of the GenAI conventions.

Requests come as dicts or as the SDK's objects, so fields are read the same way of both. An iterator is left alone:
the SDK is to consume it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ell_otel.instrumentation.openai_parts import Plain, content_parts, field, is_list, text_part
from ell_otel.telemetry.blobs import Blobs

_PEOPLE: Final = frozenset({"system", "developer", "user"})

# -- chat completions -------------------------------------------------------------------------------------------------


def chat_input(messages: Any, blobs: Blobs) -> list[Plain]:
    """The messages of a chat request."""
    if not is_list(messages):
        return []
    return [made for message in messages if (made := _chat_message(message, blobs))["parts"]]


def _chat_message(message: Any, blobs: Blobs) -> Plain:
    if type(message) is dict and len(message) == 2:  # nearly always
        role, content = message.get("role"), message.get("content")
        if type(content) is type(role) is str and role in _PEOPLE:
            return {"role": role, "parts": [{"content": content, "type": "text"}], "name": None}
    role, content = field(message, "role"), field(message, "content")
    if role == "assistant":
        parts = _assistant_parts(message, content, blobs)
    elif role == "tool":
        parts = [_tool_response(field(message, "tool_call_id"), content)]
    else:
        parts = content_parts(content, blobs)
    return {"role": _text(role) or "", "parts": parts, "name": _text(field(message, "name"))}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _assistant_parts(message: Any, content: Any, blobs: Blobs) -> list[Plain]:
    parts = [*_chat_tool_calls(field(message, "tool_calls")), *content_parts(content, blobs)]
    if isinstance(refusal := field(message, "refusal"), str):
        parts.append(text_part(refusal))
    return parts


def chat_output(choices: Iterable[Any], blobs: Blobs) -> list[Plain]:
    """The choices of a chat completion."""
    outputs = []
    for choice in choices:
        if message := choice.message:
            parts = (
                _assistant_parts(message, message.content, blobs)
                if message.role == "assistant"
                else content_parts(message.content, blobs)
            )
            outputs.append(output(message.role or "", parts, chat_finish_reason(choice.finish_reason)))
    return outputs


def output(role: str, parts: list[Plain], finish_reason: str | None) -> Plain:
    """A message of the model's."""
    return {"role": role, "parts": parts, "finish_reason": finish_reason, "name": None}


def chat_finish_reason(reason: str | None) -> str:
    """A choice's finish reason in the conventions' words."""
    return "tool_call" if reason in {"tool_calls", "function_call"} else reason or "error"


def tool_call(name: str | None, call_id: str | None, arguments: Any) -> Plain:
    """The model's request to run a tool; its arguments as data where they are JSON."""
    return {"arguments": _arguments(arguments), "name": name, "id": call_id, "type": "tool_call"}


def _chat_tool_calls(calls: Any) -> list[Plain]:
    parts = []
    for call in calls or ():
        function = field(call, "function")
        name, arguments = (field(function, "name") or "", field(function, "arguments")) if function else ("", None)
        parts.append(tool_call(name, field(call, "id"), arguments))
    return parts


def chat_tools(tools: Any) -> list[Plain]:
    """The tools that a chat request offers."""
    if not is_list(tools):
        return []
    functions = (field(tool, "function") for tool in tools if field(tool, "type") == "function")
    return [_function(function, field(function, "name") or "") for function in functions if function]


def _function(holder: Any, name: str) -> Plain:
    parameters = field(holder, "parameters")
    return {"name": name, "description": field(holder, "description"), "parameters": parameters, "type": "function"}


# -- responses --------------------------------------------------------------------------------------------------------


def responses_input(value: Any, blobs: Blobs) -> list[Plain]:
    """The input of a Responses request. Calls of tools that follow one another are one turn of the model's."""
    if isinstance(value, str):
        return [{"role": "user", "parts": [text_part(value)], "name": None}]
    messages: list[Plain] = []
    for item in value if is_list(value) else ():
        message = _input_item(item, blobs)
        if message is None:
            continue
        if messages and _only_calls(message) and _only_calls(messages[-1]):
            messages[-1]["parts"].extend(message["parts"])
        else:
            messages.append(message)
    return messages


def _only_calls(message: Plain) -> bool:
    return message["role"] == "assistant" and all(part["type"] == "tool_call" for part in message["parts"])


def _input_item(item: Any, blobs: Blobs) -> Plain | None:
    kind = field(item, "type")
    if kind in {"function_call", "custom_tool_call", "computer_call"}:
        return {"role": "assistant", "parts": [_item_call(item, kind)], "name": None}
    if kind in {"function_call_output", "custom_tool_call_output", "computer_call_output"}:
        return {"role": "tool", "parts": [_tool_response(_call_id(item), field(item, "output"))], "name": None}
    if kind == "reasoning":
        parts = _reasoning(item)
        return {"role": "assistant", "parts": parts, "name": None} if parts else None
    role, name = field(item, "role"), field(item, "name")
    parts = content_parts(field(item, "content"), blobs) if isinstance(role, str) else []
    return {"role": role, "parts": parts, "name": _text(name)} if parts else None


def _item_call(item: Any, kind: str) -> Plain:
    if kind == "computer_call":
        item_data = item.model_dump(exclude_none=True, mode="json") if hasattr(item, "model_dump") else item
        actions = {name: field(item_data, name) for name in ("action", "actions")}
        arguments: Any = {name: plain(value) for name, value in actions.items() if value is not None}
        return {"arguments": arguments, "name": "computer", "id": _call_id(item), "type": "tool_call"}
    raw = field(item, "arguments" if kind == "function_call" else "input")
    arguments = _arguments(raw) if kind == "function_call" and isinstance(raw, str) else plain(raw)
    return {"arguments": arguments, "name": field(item, "name") or "", "id": _call_id(item), "type": "tool_call"}


def _call_id(item: Any) -> str | None:
    for name in ("call_id", "id"):
        if isinstance(found := field(item, name), str) and found:
            return found
    return None


def _reasoning(item: Any) -> list[Plain]:
    summary = [field(block, "text") for block in field(item, "summary") or ()]
    content = [field(b, "text") for b in field(item, "content") or () if field(b, "type") == "reasoning_text"]
    return [{"content": text, "type": "reasoning"} for text in (*summary, *content) if isinstance(text, str)]


_SERVER_TOOLS: Final = {
    "code_interpreter_call": "code_interpreter",
    "file_search_call": "file_search",
    "image_generation_call": "image_generation",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcp_list_tools",
    "tool_search_call": "tool_search",
    "tool_search_output": "tool_search",
    "web_search_call": "web_search",
}


def responses_output(items: Iterable[Any]) -> list[Plain]:
    """What a response consists of: messages, calls of tools, reasoning, tools that ran at OpenAI's."""
    messages: list[Plain] = []
    for item in items:
        kind = item.type
        reason = status_reason(getattr(item, "status", None))
        if kind in TOOL_CALLS:
            if is_finished_call(item):
                _add_call(messages, _item_call(item, kind))
        elif kind == "message" and reason is not None:
            texts = (str(getattr(block, "text", None) or getattr(block, "refusal", "")) for block in item.content)
            messages.append(output(item.role, [text_part(text) for text in texts], reason))
        elif kind == "reasoning" and reason is not None and (parts := _reasoning(item)):
            messages.append(output("assistant", parts, reason))
        elif kind in _SERVER_TOOLS and (made := _server_tool(item, kind, reason)):
            messages.append(made)
    return messages


TOOL_CALLS: Final = ("function_call", "custom_tool_call", "computer_call")


def is_finished_call(item: Any) -> bool:
    """Whether an output item is a call of a tool that the model has finished writing."""
    return field(item, "type") in TOOL_CALLS and field(item, "status") in (None, "completed", "incomplete")


def status_reason(status: Any, incomplete: Any = None) -> str | None:
    """The finish reason that an item's or a response's status stands for; None while it is under way."""
    if status == "incomplete" and isinstance(incomplete, str):
        return {"max_output_tokens": "length"}.get(incomplete, incomplete)
    return _REASONS.get(status) if isinstance(status, str) else None


_REASONS: Final = {"completed": "stop", "failed": "error", "cancelled": "error", "incomplete": "incomplete"}


def _add_call(messages: list[Plain], part: Plain) -> None:
    """A call belongs to the message that the same generation began."""
    if messages:
        last = messages[-1]
        mergeable = all(each["type"] in {"text", "tool_call"} for each in last["parts"])
        if last["role"] == "assistant" and last["finish_reason"] in {"stop", "tool_call"} and mergeable:
            last["parts"].append(part)
            last["finish_reason"] = "tool_call"
            return
    messages.append(output("assistant", [part], "tool_call"))


def _server_tool(item: Any, kind: str, reason: str | None) -> Plain | None:
    if kind == "mcp_list_tools":
        reason = "error" if item.error else "stop"
    if reason is None or (kind.startswith("tool_search") and item.execution != "server"):
        return None
    payload = item.model_dump(exclude_none=True, mode="json")
    item_id, call_id, name = payload.pop("id", None), payload.pop("call_id", None), payload.pop("name", None)
    payload["type"] = tool = _SERVER_TOOLS[kind]
    part: Plain
    if kind == "tool_search_output":
        part = {"server_tool_call_response": payload, "id": call_id, "type": "server_tool_call_response"}
    else:
        part = {"name": name or tool, "server_tool_call": payload, "id": call_id or item_id, "type": "server_tool_call"}
    return output("assistant", [part], reason)


def responses_tools(tools: Any) -> list[Plain]:
    """The tools that a Responses request offers; those of OpenAI's own go by their type."""
    definitions = []
    for tool in tools if is_list(tools) else ():
        kind, name = field(tool, "type"), field(tool, "name")
        if kind == "function":
            definitions.append(_function(tool, name or ""))
        elif isinstance(kind, str):
            definitions.append({"name": name or kind, "type": kind})
    return definitions


# -- tools ------------------------------------------------------------------------------------------------------------


def _arguments(text: Any) -> Any:
    """As data; some servers send them as such in the first place."""
    try:
        return json.loads(text) if isinstance(text, str) and text else text or None
    except ValueError:
        return text


def _tool_response(call_id: Any, content: Any) -> Plain:
    return {"response": plain(content), "id": call_id, "type": "tool_call_response"}


def plain(value: Any) -> Any:
    """Data of a tool's as JSON can say it; what is neither plain data nor a model of the SDK's is left out."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if callable(dump := getattr(value, "model_dump", None)):
        return plain(dump())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if is_list(value) else None
