"""An answer's format, given to ``parse`` as a class, in the form in which the SDK sends it and ``create`` takes it."""

from __future__ import annotations

import weakref
from typing import Any, Final

from ell_otel.telemetry.guard import guarded

_schemas: Final[weakref.WeakKeyDictionary[type, dict[str, Any]]] = weakref.WeakKeyDictionary()


def as_created(request: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``create`` that send what ``parse`` sends for ``request``."""
    if "response_format" not in request and "text_format" not in request:  # nearly always
        return request
    with guarded("recording the format of an answer"):
        if _is_model(wanted := request.get("response_format")):
            return {**request, "response_format": {"type": "json_schema", "json_schema": _schema(wanted)}}
        if _is_model(wanted := request.get("text_format")):
            text = {**(request.get("text") or {}), "format": {"type": "json_schema", **_schema(wanted)}}
            rest = {name: value for name, value in request.items() if name not in {"text_format", "parse_as"}}
            return {**rest, "text": text}
    return request


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_json_schema")


def _schema(kind: Any) -> dict[str, Any]:
    """As the SDK makes it, of a pydantic model; it takes longer than all the rest of a span."""
    known = _schemas.get(kind)
    if known is None:
        from openai import pydantic_function_tool

        schema = pydantic_function_tool(kind)["function"]["parameters"]
        known = _schemas[kind] = {"name": kind.__name__, "schema": schema, "strict": True}
    return known
