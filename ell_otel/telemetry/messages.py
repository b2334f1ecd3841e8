"""Arguments and results as JSON text: whatever they are, in bounded time and size, without running foreign code.

No ``repr``, ``str``, iterator, property or dump method of a foreign class is ever asked: it may raise, take ten seconds
or print a secret. Built-in containers are read by their own methods even in subclasses; dataclasses and pydantic models
by their fields; what else has no plain form becomes ``{"$type": "module.Class"}``. Every piece counts against a budget
of characters, and the rest is cut, so that the JSON stays valid and short.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import pathlib
import types
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

from ell_otel import redact
from ell_otel.telemetry.guard import raised_by_host

MAX_DEPTH: Final = 20
MAX_ERROR: Final = 1000
MAX_REMEMBERED_KEY: Final = 64
"""A longer one is perhaps somebody's text, which is not to be kept."""
_CUT: Final = "…[cut]"
_MAX_INT: Final = 10**1000  # beyond about 4,300 digits Python refuses to print one
_TEXTUAL: Final = frozenset(
    {
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        pathlib.PosixPath,
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        uuid.UUID,
    }
)
_PRINTING: Final = (BaseException.__str__, ImportError.__str__, KeyError.__str__, OSError.__str__)
"""They ask whatever the exception was given for its text."""
_PRINTED: Final = frozenset({str, bytes, int, float, bool, type(None), pathlib.PosixPath, pathlib.PurePosixPath})
_PYDANTIC: Final = "pydantic.main"
_CALLABLE: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)


class Redacted(str):
    """Text without secrets and without lone surrogates: nobody needs to look at it again before it is exported."""

    __slots__ = ()


def redacted(text: str) -> Redacted:
    """``text`` as it may leave the process."""
    return Redacted(redact.redact(clean(text)))


def to_json(value: object, budget: int) -> Redacted:
    """``value`` as JSON text of about ``budget`` characters at most, secrets redacted. Never raises."""
    rendering = _Rendering(budget)
    plain = rendering.plain(value, 0)
    return Redacted(_dumped(plain if _is_clean(rendering) else redact.redact_data(plain)))


def _is_clean(rendering: _Rendering) -> bool:
    """Whether no text in a value is a secret, from one look at them all; it mostly is so. In doubt it is not.

    A quotation mark stands between them: no kind of secret goes on across one. The end of a text means something to one
    kind only, a private key that was cut off.
    """
    if redact.hook() is not None or any(len(key) > MAX_REMEMBERED_KEY for key in rendering.keys):
        return False
    if not all(map(_is_harmless, rendering.keys)) or any(map(_names_secret, rendering.names)):
        return False
    texts = '" '.join(rendering.texts)
    return "-----BEGIN" not in texts and redact.redact(texts) == texts


@functools.lru_cache(maxsize=1024)
def _is_harmless(key: str) -> bool:
    return redact.redact(key) == key


_names_secret = functools.lru_cache(maxsize=1024)(redact.names_secret)


def plain_text(text: str) -> str:
    """The text that one of a class of the host's holds, which is not asked for it."""
    return text if type(text) is str else str.__str__(text)


def clean(text: str) -> str:
    """``text``, plain and without lone surrogates, which no UTF-8 encoder takes: each becomes U+FFFD."""
    text = plain_text(text)
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def named_arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name; what the signature has no name for stands under ``*``."""
    code = getattr(function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    named = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        named["*"] = args[len(names) :]
    return {**named, **kwargs}


def error_text(error: BaseException) -> Redacted:
    """An exception's type and message, cut and with secrets redacted. Its ``__str__`` may fail; that is said then."""
    return redacted(f"{type(error).__name__}: {_message(error)}")


def error_message(error: BaseException) -> Redacted:
    """As ``error_text``, without the type."""
    return redacted(_message(error))


def _message(error: BaseException) -> str:
    """What an exception's class says of it. Of what it was given, only plain values are asked for their text."""
    try:
        given: tuple[Any, ...] = BaseException.args.__get__(error)  # type: ignore[attr-defined]
        if issubclass(type(error), OSError):
            given += (OSError.filename.__get__(error), OSError.filename2.__get__(error))
        if type(error).__str__ not in _PRINTING or all(type(each) in _PRINTED for each in given):
            return str(error)[:MAX_ERROR]
        if len(given) > 1:
            return to_json(given, MAX_ERROR)
        if issubclass(type(given[0]), BaseException):
            return _message(given[0])
        return str.__str__(given[0])[:MAX_ERROR] if issubclass(type(given[0]), str) else to_json(given[0], MAX_ERROR)
    except Exception:
        return "(its message cannot be had)"


class Items:
    """What a generator yields, rendered as it comes, so that no item is kept alive. ``budget`` as for ``to_json``."""

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._texts: list[str] | None = []
        self._rendered: list[str] = []

    def add(self, item: object) -> None:
        """Note one item; beyond the budget it is only noted that there were more."""
        if self._left <= 0:
            return
        if type(item) is str:
            rendered = clean(item[: self._left])
        else:
            if self._texts is not None:
                self._rendered = [_dumped(redact.redact_data(text)) for text in self._texts]
                self._texts = None
            rendered = to_json(item, self._left)
        self._left -= len(rendered) + 2
        kept = self._rendered if self._texts is None else self._texts
        kept.append(_dumped(redact.redact_data(rendered)) if type(item) is str and self._texts is None else rendered)
        if self._left <= 0:
            kept.append(_CUT if self._texts is not None else _dumped(_CUT))

    def json(self) -> Redacted:
        """All items as one text where all were text, as in a stream of words; else as a list."""
        if self._texts:
            return Redacted(_dumped(redact.redact_data("".join(self._texts))))
        return Redacted(f"[{','.join(self._rendered)}]")


def _dumped(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def _field(value: object, kind: type, name: str) -> object:
    """A dataclass's field as it is stored: a property or another descriptor in its place is not run."""
    default: object = None
    for base in kind.__mro__:
        if name in vars(base):
            default = vars(base)[name]
            if isinstance(default, types.MemberDescriptorType):  # one of __slots__
                return default.__get__(value)
            break
    return object.__getattribute__(value, "__dict__").get(name, default)


@functools.lru_cache(maxsize=512)
def _form(kind: type) -> object:
    """What the objects of a class are read as; None for those that are no more than one value."""
    for container in (dict, list, tuple):
        if issubclass(kind, container):
            return container
    if issubclass(kind, (set, frozenset)):
        return set
    if issubclass(kind, enum.Enum):
        return enum.Enum
    if dataclasses.is_dataclass(kind):
        return dataclasses
    return _PYDANTIC if any(base.__module__ == _PYDANTIC for base in kind.__mro__) else None


class _Rendering:
    """One walk over a value; ``left`` is what remains of the budget, ``open`` the ids on the way down (cycles)."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.open: set[int] = set()
        self.texts: list[str] = []
        self.keys: set[str] = set()
        self.names: set[str] = set()  # keys that a text, or a list perhaps of texts, stands under

    def plain(self, value: object, depth: int) -> Any:
        """``value`` in terms of None, bool, int, float, str, list and dict."""
        kind = type(value)
        if kind is str:
            return self._text(value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            self.left -= 5
            return value
        if kind is float and math.isfinite(value):  # type: ignore[arg-type]
            self.left -= 20
            return value
        if issubclass(kind, (int, float)) and not issubclass(kind, enum.Enum):
            return self._number(value)
        if id(value) in self.open:
            return self._name("$cycle", kind)
        if depth >= MAX_DEPTH or self.left <= 0:
            return self._paid(_CUT, len(_CUT))
        self.open.add(id(value))
        try:
            return self._compound(value, kind, depth + 1)
        except Exception as error:  # a field that was never set, a container changed by another thread meanwhile
            if raised_by_host(error):
                raise
            return self._name("$type", kind)
        finally:
            self.open.discard(id(value))

    def _compound(self, value: Any, kind: type, depth: int) -> Any:
        form: Any = _form(kind)
        if form is dict:
            return self._items(dict.items(value), depth)
        if form is list or form is tuple:
            return self._elements(form.__iter__(value), depth)
        if form is set:
            members = self._elements(iter(frozenset(value) if kind in (set, frozenset) else ()), depth)
            return sorted(members, key=lambda member: json.dumps(member, sort_keys=True))
        if form is enum.Enum:
            return self.plain(object.__getattribute__(value, "_value_"), depth)
        if form is dataclasses:
            # What a class keeps out of its repr, it keeps out of records as well.
            names = (field.name for field in dataclasses.fields(kind) if field.repr)
            return self._items(((name, _field(value, kind, name)) for name in names), depth)
        if form is _PYDANTIC:
            return self._items(dict.items(object.__getattribute__(value, "__dict__")), depth)
        return self._scalar(value, kind, depth)

    def _scalar(self, value: Any, kind: type, depth: int) -> Any:
        if issubclass(kind, str):
            return self._text(str.__str__(value))
        if issubclass(kind, (bytes, bytearray)):
            return self._paid({"$bytes": bytes.__len__(value) if issubclass(kind, bytes) else len(value)}, 20)
        if kind in _TEXTUAL:
            try:
                return self._text(str(value))
            except Exception:  # a time's zone may be of a class of the host's
                return self._name("$type", kind)
        if issubclass(kind, BaseException):
            arguments = BaseException.args.__get__(value)  # type: ignore[attr-defined]
            return self.plain(arguments[0] if len(arguments) == 1 else list(arguments), depth)
        if kind in _CALLABLE or issubclass(kind, type):
            return self._text_of("$name", f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}")
        return self._name("$type", kind)

    def _items(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self.left -= 2
        for key, item in items:
            if self.left <= 0:
                result[_CUT] = True
                break
            name = self._key(key)
            result[name] = made = self.plain(item, depth)
            self.keys.add(name)
            if type(made) in {str, list}:
                self.names.add(name)
            self.left -= 1
        return result

    def _elements(self, elements: Iterable[Any], depth: int) -> list[Any]:
        result: list[Any] = []
        self.left -= 2
        for element in elements:
            if self.left <= 0:
                result.append(_CUT)
                break
            result.append(self.plain(element, depth))
            self.left -= 1
        return result

    def _key(self, key: object) -> str:
        if type(key) is str:
            return self._cut(key)
        if key is None or type(key) in (bool, int, float):
            return str(self._number(key)) if key is not None else "None"
        return self._cut(f"<{type(key).__module__}.{type(key).__qualname__}>")

    def _number(self, value: Any) -> Any:
        """A number that JSON can say, else as text; numpy's scalars are subclasses of float."""
        if issubclass(type(value), bool) or (issubclass(type(value), float) and math.isfinite(float.__float__(value))):
            return self._paid(value if type(value) in (bool, float) else float.__float__(value), 20)
        if issubclass(type(value), float):
            return self._text(str(float.__float__(value)))
        number = int.__int__(value)
        if -_MAX_INT < number < _MAX_INT:
            return self._paid(number, 1 + number.bit_length() // 3)
        return self._text(f"an integer of {number.bit_length()} bits")

    def _text(self, text: str) -> str:
        self.texts.append(text := self._cut(text))
        return text

    def _cut(self, text: str) -> str:
        if len(text) > self.left:
            text = text[: max(self.left, 0)] + _CUT
        self.left -= len(text) + 2
        return clean(text)

    def _name(self, label: str, kind: type) -> dict[str, str]:
        return self._text_of(label, f"{kind.__module__}.{kind.__qualname__}")

    def _text_of(self, label: str, text: str) -> dict[str, str]:
        self.texts.append(text)
        self.left -= len(label) + len(text) + 7
        return {label: text}

    def _paid(self, plain: Any, characters: int) -> Any:
        self.left -= characters
        return plain
