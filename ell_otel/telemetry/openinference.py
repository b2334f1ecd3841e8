"""Spans of OpenInference's instrumentations, translated for our own export: what the store asks for has one name.

Their contents (messages, raw request and response) come back under the GenAI conventions' names, which are redacted or
left out as any other; the originals are not exported by us.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ell_otel import semconv

_OPERATIONS: Final = {"LLM": "chat", "EMBEDDING": "embeddings"}
_NAMES: Final = {
    "llm.model_name": semconv.GEN_AI_REQUEST_MODEL,
    "embedding.model_name": semconv.GEN_AI_REQUEST_MODEL,
    "llm.system": semconv.GEN_AI_PROVIDER_NAME,
    "llm.token_count.prompt": semconv.GEN_AI_USAGE_INPUT_TOKENS,
    "llm.token_count.completion": semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
    "llm.token_count.prompt_details.cache_read": semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    "llm.token_count.completion_details.reasoning": semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
}
_MESSAGES: Final = {
    "llm.input_messages.": semconv.GEN_AI_INPUT_MESSAGES,
    "llm.output_messages.": semconv.GEN_AI_OUTPUT_MESSAGES,
}
_CONTENT: Final = (
    *_MESSAGES,
    "input.",
    "output.",
    "llm.prompts",
    "llm.tools.",
    "llm.choices.",
    "embedding.embeddings.",
)
_MESSAGE: Final = re.compile(r"(\d+)\.message\.(.+)")
_TOOL_CALL: Final = re.compile(r"tool_calls\.(\d+)\.tool_call\.(id|function\.name|function\.arguments)")
_TEXT: Final = re.compile(r"contents\.\d+\.message_content\.text")


def translate(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Step: what OpenInference says about a model request, said as the GenAI conventions do."""
    kind = attributes.get(semconv.OPENINFERENCE_KIND)
    operation = _OPERATIONS.get(str(kind)) if kind is not None else None
    if operation is None or semconv.GEN_AI_OPERATION_NAME in attributes:
        return {}
    said: dict[str, Any] = {semconv.GEN_AI_OPERATION_NAME: operation}
    said.update({ours: attributes[theirs] for theirs, ours in _NAMES.items() if theirs in attributes})
    for prefix, name in _MESSAGES.items():
        if messages := _messages(attributes, prefix):
            said[name] = json.dumps(messages, ensure_ascii=False)
    said = {name: value for name, value in said.items() if name not in attributes}
    return said | {name: None for name in attributes if name.startswith(_CONTENT)}


def _messages(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        match = _MESSAGE.fullmatch(name, len(prefix)) if name.startswith(prefix) else None
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [_message(found[number]) for number in sorted(found)]


def _message(fields: Mapping[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    calls: dict[int, dict[str, Any]] = {}
    for name, value in fields.items():
        if name == "content" or _TEXT.fullmatch(name):
            parts.append({"type": "text", "content": value})
        elif match := _TOOL_CALL.fullmatch(name):
            key = match[2].removeprefix("function.")
            calls.setdefault(int(match[1]), {"type": "tool_call"})[key] = value
    return {"role": fields.get("role", ""), "parts": [*parts, *(calls[number] for number in sorted(calls))]}
