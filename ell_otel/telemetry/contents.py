"""Messages and requests as JSON text, serialised and redacted once, and what comes again not even that.

A conversation is sent again with each of its turns, and a system prompt or the tools with every call: so each text of
a message is looked at by itself, and remembered for a while.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import Any, Final

from ell_otel import redact
from ell_otel.telemetry.messages import Redacted, clean, redacted, to_json

MAX_REMEMBERED: Final = 256
MAX_REMEMBERED_CHARS: Final = 16_384

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def messages_as_json(messages: list[dict[str, Any]], budget: int) -> Redacted:
    """Messages in the form of the GenAI conventions, as redacted text. Otherwise as ``as_json``."""
    if redact.hook() is not None:  # it is shown a content as a whole
        return as_json(messages, budget)
    try:
        return Redacted(f"[{','.join(map(_message, messages))}]")
    except (TypeError, ValueError, RecursionError):
        return to_json(messages, budget)


def as_json(value: Any, budget: int) -> Redacted:
    """JSON-like data as redacted text. What JSON cannot say is rendered as arguments are, within ``budget``."""
    try:
        return _redacted(_encode(value))
    except (TypeError, ValueError, RecursionError):
        return to_json(value, budget)


def settings_as_json(settings: dict[str, Any], budget: int) -> Redacted:
    """As ``as_json``, for short texts and numbers that are the same in call after call: not even serialised again."""
    return _remembered_settings(redact.hook(), budget, tuple(settings), *settings.values())


def _message(message: dict[str, Any]) -> str:
    parts = ",".join(map(_part, message["parts"]))
    reason = f'"finish_reason":{_scalar(message["finish_reason"])},' if "finish_reason" in message else ""
    name = "null" if message["name"] is None else _scalar(message["name"])
    return f'{{"role":{_scalar(message["role"])},"parts":[{parts}],{reason}"name":{name}}}'


def _part(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return f'{{"content":{_scalar(part["content"])},"type":"text"}}'
    return _redacted(_encode(part))


def _scalar(value: str | None) -> str:
    if value is None:
        return "null"
    return _remembered_as_string(value) if len(value) <= MAX_REMEMBERED_CHARS else _as_string(value)


def _redacted(text: str) -> Redacted:
    return _remembered(text, redact.hook()) if len(text) <= MAX_REMEMBERED_CHARS else redacted(text)


@functools.lru_cache(maxsize=MAX_REMEMBERED)
def _remembered(text: str, _: object) -> Redacted:
    return redacted(text)


@functools.lru_cache(maxsize=MAX_REMEMBERED, typed=True)  # 1 is not True
def _remembered_settings(_: object, budget: int, names: tuple[str, ...], *values: Any) -> Redacted:
    return as_json(dict(zip(names, values, strict=True)), budget)


@functools.lru_cache(maxsize=MAX_REMEMBERED)
def _remembered_as_string(text: str) -> str:
    return _as_string(text)


def _as_string(text: str) -> str:
    harmless = redact.redact(clean(text))  # no `Redacted`: a subclass of `str` is written more slowly
    core = sys.modules.get("pydantic_core")  # there with the SDK of every model: it writes a string in half the time
    return core.to_json(harmless).decode() if core is not None else _encode(harmless)
