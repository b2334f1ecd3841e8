"""A request to the OpenAI API as it was made, so that it can be made again: ``ell.request``.

The conventions carry neither ``tool_choice`` nor a response's format, ``extra_body`` or headers. The messages stand
beside it in ``gen_ai.input.messages``; they are repeated here only where they cannot be had back from there, that is
where one of them is more than a role and a text. Large base64 is replaced by ``{"$blob": …, "prefix": …}``: its text
was the prefix and the blob's bytes in base64. Secrets are masked, and a masked header has to be given anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ell_otel import redact
from ell_otel.instrumentation.openai_parts import field, is_list
from ell_otel.telemetry.blobs import LARGE, Blobs, in_place_of
from ell_otel.telemetry.contents import as_json, settings_as_json
from ell_otel.telemetry.messages import MAX_DEPTH, Redacted, plain_text, to_json

MAX_SHORT: Final = 64

_NUMBERS: Final = frozenset({int, float, bool})
_RAW_RESPONSE_HEADER: Final = "x-stainless-raw-response"
_FOREIGN: Final = frozenset({"extra_headers", "extra_query", "extra_body"})


def as_sent(request: dict[str, Any], input_name: str, blobs: Blobs, budget: int) -> Redacted:
    """``request``, the arguments of an SDK method, as JSON. ``input_name`` is the argument with the messages."""
    messages: Any = request.get(input_name)
    repeated = messages is not None and not restorable(messages)  # they are not to be had from elsewhere
    settings = {name: value for name, value in request.items() if name != input_name}
    if not repeated and all(map(_is_short, settings.values())):
        return settings_as_json(settings, budget)
    rest = {name: _slim(value, blobs) for name, value in settings.items()}
    if (headers := rest.get("extra_headers")) is not None:
        rest["extra_headers"] = _masked(headers)
    text = as_json(rest, budget) if _FOREIGN.isdisjoint(rest) else to_json(rest, budget)
    if not repeated:
        return text
    if is_list(messages):
        said = f"[{','.join([as_json(_slim(message, blobs), budget) for message in messages])}]"
    else:
        said = as_json(_slim(messages, blobs), budget)
    return Redacted(f'{{"{input_name}":{said}{"," if rest else ""}{text[1:]}')


def restorable(messages: Any) -> bool:
    """Whether messages are no more than what ``gen_ai.input.messages`` says of them: each a role and a text."""
    return isinstance(messages, str) or (is_list(messages) and all(map(_is_plain, messages)))


def _is_plain(message: Any) -> bool:
    if not isinstance(message, dict) or len(message) != 2:
        return False
    role = field(message, "role")
    return isinstance(field(message, "content"), str) and isinstance(role, str) and role != "tool"


def _is_short(value: Any) -> bool:
    return type(value) in _NUMBERS or (type(value) is str and len(value) <= MAX_SHORT)


def _masked(headers: Any) -> Any:
    if not isinstance(headers, Mapping):
        return headers
    return {
        name: redact.REDACTED if redact.names_secret(str(name)) else value
        for name, value in headers.items()
        if str(name).lower() != _RAW_RESPONSE_HEADER
    }


def _slim(value: Any, blobs: Blobs, depth: int = 0) -> Any:
    """``value`` with the SDK's models as data, and with blobs in the place of large base64.

    Deeper than anything is rendered that JSON cannot say, such as what contains itself, it is left as it is.
    """
    if isinstance(value, str):
        value = plain_text(value)
        return in_place_of(value, blobs) if len(value) > LARGE else value
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, Mapping):
        return {name: _slim(item, blobs, depth + 1) for name, item in value.items()}
    if is_list(value):
        return [_slim(item, blobs, depth + 1) for item in value]
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return _slim(dump(mode="json", exclude_unset=True), blobs, depth + 1)
    return value
