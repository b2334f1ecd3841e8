"""Arguments and results as JSON text: whatever they are, in bounded time and size, without running foreign code.

No ``repr`` is ever asked for: it may raise, take ten seconds or print a secret. What has no plain form becomes
``{"$type": "module.Class"}``. Text is cut so that the whole stays within a budget of characters; the JSON stays valid.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from ell_otel import redact

MAX_DEPTH: Final = 20
_CUT: Final = "…[cut]"
_TEXTUAL: Final = (
    BaseException,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    pathlib.PurePath,
    uuid.UUID,
)


def to_json(value: object, budget: int) -> str:
    """``value`` as JSON text of about ``budget`` characters at most, secrets redacted. Never raises."""
    plain = _Rendering(budget).plain(value, 0)
    return json.dumps(redact.redact_data(plain), ensure_ascii=False, separators=(",", ":"))


def clean(text: str) -> str:
    """``text`` without lone surrogates, which no UTF-8 encoder takes: each becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Rendering:
    """One walk over a value; ``left`` is what remains of the budget, ``open`` the ids on the way down (cycles)."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.open: set[int] = set()

    def plain(self, value: object, depth: int) -> Any:
        """``value`` in terms of None, bool, int, float, str, list and dict."""
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            return self._text(str.__str__(value))
        if value is None or isinstance(value, bool):
            self.left -= 5
            return value
        if type(value) is int or type(value) is float:
            self.left -= 10
            return _number(value)
        if id(value) in self.open:
            return {"$cycle": _type_name(value)}
        if depth >= MAX_DEPTH or self.left <= 0:
            return _CUT
        self.open.add(id(value))
        try:
            return self._compound(value, depth + 1)
        except Exception:  # a container that lies about itself, a model whose dump raises
            return {"$type": _type_name(value)}
        finally:
            self.open.discard(id(value))

    def _text(self, text: str) -> str:
        if len(text) > self.left:
            text = text[: max(self.left, 0)] + _CUT
        self.left -= len(text) + 2
        return clean(text)

    def _compound(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._items(value.items(), depth)
        if isinstance(value, (list, tuple)):
            return self._elements(value, depth)
        if isinstance(value, (set, frozenset)):
            return sorted(self._elements(value, depth), key=lambda item: json.dumps(item, sort_keys=True))
        if isinstance(value, enum.Enum):
            return self.plain(value.value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._items(((f.name, getattr(value, f.name)) for f in dataclasses.fields(value)), depth)
        dump: Callable[..., Any] | None = getattr(type(value), "model_dump", None)  # pydantic
        return self.plain(dump(value), depth) if dump is not None else self._scalar(value)

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return {"$bytes": len(value)}
        if isinstance(value, _TEXTUAL):
            return self._text(str(value))
        if isinstance(value, (int, float)):  # subclasses, such as numpy's float64
            return _number(value)
        if isinstance(value, type) or callable(value):
            return {"$name": f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"}
        return {"$type": _type_name(value)}

    def _items(self, items: Any, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in items:
            if self.left <= 0:
                result[_CUT] = True
                break
            name = self._text(key if isinstance(key, str) else str(_number(key)))
            result[name] = self.plain(item, depth)
        return result

    def _elements(self, elements: Any, depth: int) -> list[Any]:
        result: list[Any] = []
        for element in elements:
            if self.left <= 0:
                result.append(_CUT)
                break
            result.append(self.plain(element, depth))
        return result


def _number(value: Any) -> Any:
    """A number that JSON can say; others, and keys that are no numbers, as text or as their type's name."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return f"<{_type_name(value)}>"


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
