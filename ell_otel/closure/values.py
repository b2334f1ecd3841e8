"""Run-time values as Python expressions: closure cells, names put into a module at run time, contents of files.

Plain data is written out. Functions and classes become the slots of their own source. An object counts as its class;
what cannot be written is a placeholder and a warning. Nothing of the user's is called: no `repr`, no `__reduce__`.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import math
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ell_otel.closure.installed import is_installed
from ell_otel.closure.spaces import Slot, Space
from ell_otel.closure.wrappers import unwrapped
from ell_otel.redact import redact_value

if TYPE_CHECKING:
    from ell_otel.closure.resolution import Resolution

Pieces = list["str | Slot"]

MAX_TEXT = 1 << 20  # characters of one value written out; larger ones are known by their digest
MAX_BYTES = 4096
_MAX_DEPTH = 50
_SCALARS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_BY_REPR = (decimal.Decimal, fractions.Fraction, uuid.UUID, datetime.timedelta, range)


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether the value is plain data through and through: scalars in built-in containers."""
    if type(value) in _SCALARS:
        return True
    if depth > _MAX_DEPTH:
        return False
    if type(value) in (list, tuple, set, frozenset):
        return all(is_plain(item, depth + 1) for item in value)
    if type(value) is dict:
        return all(is_plain(k, depth + 1) and is_plain(v, depth + 1) for k, v in value.items())
    return False


def without_secrets(value: Any, name: str) -> Any:
    """A plain value with the secrets in it replaced, by shape and by the name or key each stands under."""
    if isinstance(value, str):
        return redact_value(name, value)
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        clean = redact_value(name, text)
        return value if clean == text else clean.encode("latin-1")
    if isinstance(value, dict):
        items = value.items()
        return {without_secrets(k, ""): without_secrets(v, k if isinstance(k, str) else name) for k, v in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(without_secrets(item, name) for item in value)
    return value


def literal(value: Any) -> str:
    """A plain value as a literal: the same text in every process, set members in the order of their texts."""
    if isinstance(value, (set, frozenset)):
        members = ", ".join(sorted(literal(item) for item in value))
        if isinstance(value, frozenset):
            return f"frozenset({{{members}}})" if members else "frozenset()"
        return f"{{{members}}}" if members else "set()"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, complex):
        return f"complex({_scalar(value.real)}, {_scalar(value.imag)})"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return hex(value)
    if isinstance(value, (str, bytes)) and len(value) > (MAX_TEXT if isinstance(value, str) else MAX_BYTES):
        return digest_note(value)
    if isinstance(value, str) and "\n" in value:
        return _paragraphs(value)
    return "..." if value is Ellipsis else repr(value)


def _paragraphs(text: str) -> str:
    """A text of several lines in triple quotes where that reads well, else on one line."""
    plain = all(character.isprintable() or character == "\n" for character in text)
    return f'"""{text}"""' if plain and "\\" not in text and '"""' not in text and text[-1] != '"' else repr(text)


def digest_note(value: str | bytes) -> str:
    """A string literal that stands for a large value: its kind, size and SHA-256."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return repr(f"<{type(value).__name__} of {len(value)}, sha256:{hashlib.sha256(data).hexdigest()}>")


class Values:
    """Values met while a closure is resolved; `resolution` gives the slots of functions, classes and imports."""

    def __init__(self, resolution: Resolution) -> None:
        self._resolution = resolution
        self._open: set[int] = set()

    def slot(self, space: Space, name: str, value: Any) -> Slot:
        """The slot of a name known only by its value."""
        member = isinstance(value, types.MethodType) or _member_path(value)
        code = None if member else self.code_slot(value)
        if code is not None:
            shares = code.space is space and code.kind != "namespace"
            return Slot("alias", name, space, find=lambda: code, may_share=shares, observed=True)
        return Slot("value", name, space, pieces=self.express(value, f"{space.name}.{name}"))

    def code_slot(self, value: Any) -> Slot | None:
        """The slot of a function, class or module: its source, or where it is imported from; None for other values."""
        if isinstance(value, types.ModuleType):
            return self._module_slot(value.__name__)
        inner = None if isinstance(value, functools.partial) else unwrapped(value)
        if isinstance(inner, types.FunctionType):
            return self._resolution.nested.function_slot(inner)
        if isinstance(inner, type):
            return self.class_slot(inner)
        if isinstance(inner, types.BuiltinFunctionType) and isinstance(inner.__self__, types.ModuleType):
            return self._imported(inner.__self__.__name__, inner.__name__)
        return None

    def _module_slot(self, name: str) -> Slot | None:
        space = self._resolution.spaces.of_module(name)
        if space is not None:
            return self._resolution.as_object(space)
        return self._resolution.external(name, "", name.rpartition(".")[2])

    def class_slot(self, cls: type) -> Slot | None:
        module = sys.modules.get(cls.__module__)
        space = self._resolution.spaces.of_module(cls.__module__) if module is not None else None
        if "<locals>" in cls.__qualname__:
            return self._resolution.nested.class_slot(cls)
        root = cls.__qualname__.partition(".")[0]
        if space is not None and root in space.index.binders:
            return self._resolution.slot(space, root)
        if space is not None or module is None or not _installed(module):
            return self._resolution.nested.class_slot(cls)
        return self._imported(cls.__module__, cls.__qualname__)

    def _imported(self, module: str, name: str) -> Slot | None:
        if "." in name or "<" in name or getattr(sys.modules.get(module), name, None) is None:
            return None
        return self._resolution.builtin(name) if module == "builtins" else self._resolution.external(module, name, name)

    def express(self, value: Any, where: str) -> Pieces:
        """The value as an expression; `where` names it in warnings."""
        if is_plain(value):
            text = literal(without_secrets(value, where.rpartition(".")[2]))
            return [text if len(text) <= MAX_TEXT else digest_note(text)]
        if id(value) in self._open or len(self._open) > _MAX_DEPTH:
            return self._opaque(value, where)
        self._open.add(id(value))
        try:
            return self._express_composed(value, where)
        finally:
            self._open.discard(id(value))

    def _express_composed(self, value: Any, where: str) -> Pieces:
        if isinstance(value, types.MethodType):
            return [*self.express(value.__self__, where), f".{value.__func__.__name__}"]
        code = self.code_slot(value)
        if code is not None:
            return [code, _member_path(value)]
        for kinds, writer in _WRITERS:
            if isinstance(value, kinds):
                return writer(self, value, where)
        if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
            return self._array(value, where)
        if dataclasses.is_dataclass(value) and _is_frozen(type(value)):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            return self._call(self.class_slot(type(value)), (), fields, value, where)
        return self._opaque(value, where)

    def _call(self, function: Slot | None, args: Any, keywords: dict[str, Any], value: Any, where: str) -> Pieces:
        if function is None:
            return self._opaque(value, where)
        arguments = [self.express(item, where) for item in args]
        arguments += [[f"{key}=", *self.express(item, f"{where}.{key}")] for key, item in keywords.items()]
        return [function, *_listed("(", arguments, ")")]

    def _sequence(self, value: Any, where: str) -> Pieces:
        items = [self.express(item, where) for item in value]
        if isinstance(value, tuple) and type(value) is not tuple and hasattr(value, "_fields"):
            return self._call(self.class_slot(type(value)), value, {}, value, where)
        if type(value) not in (list, tuple):
            return self._opaque(value, where)
        return _listed("[", items, "]") if isinstance(value, list) else _listed("(", items, ",)" if items else ")")

    def _mapping(self, value: Any, where: str) -> Pieces:
        if type(value) is not dict:
            return self._opaque(value, where)
        pairs = [
            [*self.express(k, where), ": ", *self.express(v, f"{where}.{k}" if isinstance(k, str) else where)]
            for k, v in value.items()
        ]
        return _listed("{", pairs, "}")

    def _set(self, value: Any, where: str) -> Pieces:
        items = sorted((self.express(item, where) for item in value), key=_sort_key)
        return _listed("frozenset([", items, "])") if isinstance(value, frozenset) else _listed("set([", items, "])")

    def _by_repr(self, value: Any, where: str) -> Pieces:
        slot = self._imported(type(value).__module__, type(value).__name__)
        text = repr(value)
        return [slot, text[text.index("(") :]] if slot is not None else self._opaque(value, where)

    def _moment(self, value: Any, where: str) -> Pieces:
        slot = self._imported("datetime", type(value).__name__)
        return [slot, f".fromisoformat({value.isoformat()!r})"] if slot is not None else self._opaque(value, where)

    def _path(self, value: pathlib.PurePath, where: str) -> Pieces:
        name = "Path" if isinstance(value, pathlib.Path) else "PurePath"
        return [self._resolution.external("pathlib", name, name), f"({value.as_posix()!r})"]

    def _pattern(self, value: re.Pattern[Any], where: str) -> Pieces:
        flags = value.flags & ~re.UNICODE.value if isinstance(value.pattern, str) else value.flags
        return [self._resolution.external("re", "", "re"), f".compile({value.pattern!r}, {int(flags)})"]

    def _member(self, value: enum.Enum, where: str) -> Pieces:
        slot = self.class_slot(type(value))
        return [slot, f"[{value.name!r}]"] if slot is not None else self._opaque(value, where)

    def _partial(self, value: functools.partial[Any], where: str) -> Pieces:
        slot = self._resolution.external("functools", "partial", "partial")
        return self._call(slot, (value.func, *value.args), value.keywords, value, where)

    def _array(self, value: Any, where: str) -> Pieces:
        data = value.tobytes()
        note = f"<ndarray {value.dtype.str} {tuple(value.shape)}, sha256:{hashlib.sha256(data).hexdigest()}>"
        if value.size > 64 or value.dtype.hasobject:
            self._resolution.incomplete(f"{where} is a large array, known by its digest")
            return [repr(note)]
        slot = self._resolution.external("numpy", "array", "array")
        return [slot, f"({literal(value.tolist())}, dtype={value.dtype.str!r})"]

    def _opaque(self, value: Any, where: str) -> Pieces:
        """An object counts as its class."""
        cls = type(value)
        kind = f"{cls.__module__}.{cls.__qualname__}"
        self._resolution.incomplete(f"{where} is an object of {kind}; only its class is kept")
        plain = all(base.__flags__ & (1 << 9) or base is object for base in cls.__mro__)  # heap types: made by `class`
        slot = self.class_slot(cls) if plain else None
        if slot is not None and slot.final().kind == "defined":
            return ["object.__new__(", slot, ")"]
        return [repr(f"<{kind} object>")]


_WRITERS: list[tuple[Any, Callable[[Values, Any, str], Pieces]]] = [
    (enum.Enum, Values._member),
    ((list, tuple), Values._sequence),
    (dict, Values._mapping),
    ((set, frozenset), Values._set),
    (_BY_REPR, Values._by_repr),
    ((datetime.date, datetime.time), Values._moment),
    (pathlib.PurePath, Values._path),
    (re.Pattern, Values._pattern),
    (functools.partial, Values._partial),
]


def _member_path(value: Any) -> str:
    """How a function that stands in a class is reached from the class: `.method`; empty for any other value."""
    name = value.__qualname__ if isinstance(value, types.FunctionType) else ""
    if "." not in name or "<" in name or hasattr(value, "__wrapped__"):
        return ""
    return "." + name.partition(".")[2]


def _is_frozen(cls: Any) -> bool:
    return bool(cls.__dataclass_params__.frozen)


def _listed(opening: str, items: list[Pieces], closing: str) -> Pieces:
    pieces: Pieces = [opening]
    for number, item in enumerate(items):
        pieces += [", "] if number else []
        pieces += item
    return [*pieces, closing]


def _sort_key(pieces: Pieces) -> str:
    return "".join(piece if isinstance(piece, str) else piece.name for piece in pieces)


def _installed(module: types.ModuleType) -> bool:
    paths = [str(path) for path in getattr(module, "__path__", None) or ()]
    file = getattr(module, "__file__", None)
    return is_installed(module.__name__, vars(module), file if isinstance(file, str) else None, paths)
