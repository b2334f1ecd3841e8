"""Messages and requests as JSON text, serialised and redacted once, and what comes again not even that."""

from __future__ import annotations

import functools
import json
from typing import Any, Final

from ell_otel import redact
from ell_otel.telemetry.messages import Redacted, redacted, to_json

MAX_REMEMBERED_CHARS: Final = 16_384

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def as_json(value: Any, budget: int) -> Redacted:
    """JSON-like data as redacted text. What JSON cannot say is rendered as arguments are, within ``budget``."""
    try:
        return redacted(_encode(value))
    except (TypeError, ValueError, RecursionError):
        return to_json(value, budget)


def as_repeated_json(value: Any, budget: int) -> Redacted:
    """As ``as_json``, for what is the same in call after call, such as the tools: redacted once."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        return to_json(value, budget)
    return _remembered(text, redact.hook()) if len(text) <= MAX_REMEMBERED_CHARS else redacted(text)


@functools.lru_cache(maxsize=256)
def _remembered(text: str, _: object) -> Redacted:
    return redacted(text)
