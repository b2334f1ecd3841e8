"""OTLP's JSON encoding, read into the same messages as its protobuf encoding.

It is protobuf's JSON mapping with one difference: trace and span ids are hex, where the mapping says base64. Unknown
fields are ignored, as the specification asks.
"""

from __future__ import annotations

import base64
import json
from typing import Final, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from ell_otel.errors import DecodeError

M = TypeVar("M", bound=Message)

_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})
_NESTING: Final = 100


def parse(body: bytes, message: M) -> M:
    """Fill ``message`` from OTLP/JSON. Raises ``DecodeError``."""
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            raise TypeError("it is no object")
        _decode_ids(document)
        return json_format.ParseDict(document, message, ignore_unknown_fields=True, max_recursion_depth=_NESTING)
    except (ValueError, TypeError, AttributeError, RecursionError, json_format.Error) as error:
        raise DecodeError(f"the body is not OTLP/JSON: {str(error)[:200] or type(error).__name__}") from error


def _decode_ids(document: object) -> None:
    """Rewrite every id from hex to base64, in place.

    Users' own keys cannot be mistaken for ids: in OTLP they are values, ``{"key": "traceId"}``, never JSON keys.
    """
    remaining = [document]
    while remaining:
        node = remaining.pop()
        if isinstance(node, list):
            remaining.extend(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in _IDS and isinstance(value, str):
                    node[key] = base64.b64encode(bytes.fromhex(value)).decode("ascii")
                elif isinstance(value, (dict, list)):
                    remaining.append(value)
