"""The canonical form of a closure's text, and the version made from it. `docs/closure.md` is the specification.

    version = "c1:" + sha256( the statements' digests, in canonical order )

A statement's digest is the SHA-256 of its syntax tree in a notation of our own, so neither formatting nor a Python
release shows in it. The canonical order forgets the order of independent statements and keeps that of dependent ones.
"""

from __future__ import annotations

import ast
import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from ell_otel.closure.parsing import parse_quietly
from ell_otel.closure.quiet import let_go_when_quiet
from ell_otel.closure.references import Analysis
from ell_otel.closure.scopes import analyse

_Contested = list[tuple[set[int], set[int]]]
Shape = tuple[str, list[str], Callable[[str, Any], Any] | None]
TAG = "c1:"
_shapes: dict[type[ast.AST], Shape] = {}
# Fields that say nothing about the program, or nothing that its other fields do not say.
_IGNORED = frozenset({"ctx", "type_comment", "kind", "type_ignores", "str"})


@dataclass(frozen=True, slots=True)
class Form:
    """A statement as the canonical order sees it: its digest, and the names it has to do with."""

    digest: bytes
    is_import: bool
    writes: frozenset[str]  # names it binds, or whose objects it changes, while executing
    reads: frozenset[str]  # names it reads while executing
    later_writes: frozenset[str]  # the same of the functions in it, once they are called
    later_reads: frozenset[str]


def verify(text: str, version: str) -> bool:
    """Whether the version is the one of this text. A text that is not Python has none."""
    try:
        return version_of(forms_of(text)) == version
    except (SyntaxError, ValueError):
        return False


def version_of(forms: Iterable[Form]) -> str:
    """The version of a closure given by its statements, in the order of its text."""
    digest = hashlib.sha256()
    for form in canonical_order(list(forms)):
        digest.update(form.digest)
    return TAG + digest.hexdigest()


@lru_cache(maxsize=8192)
def forms_of(text: str) -> tuple[Form, ...]:
    """The forms of a text's statements. Raises SyntaxError when it is not Python."""
    return tuple(form_of(node, analyse(node)) for node in parse_quietly(text).body)


let_go_when_quiet(forms_of.cache_clear)


def form_of(node: ast.stmt, analysis: Analysis) -> Form:
    """The form of a statement that has been analysed."""
    uses: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for reference in analysis.references:
        use = "write" if reference.use in ("change", "pass", "act") else reference.use
        uses[use, reference.eager and not reference.annotation].add(reference.name)
    return Form(
        hashlib.sha256(notation(node).encode("ascii")).digest(),
        isinstance(node, (ast.Import, ast.ImportFrom)),
        frozenset(uses["write", True]),
        frozenset(uses["read", True]),
        frozenset(uses["write", False]),
        frozenset(uses["read", False]),
    )


def canonical_order(forms: list[Form]) -> list[Form]:
    """The forms by digest, as far as the order of dependent ones allows (the smallest such sequence).

    Only names written more than once constrain the order: where a name is written once, a program that runs has no
    choice. Two statements are dependent when both touch such a name and one of them writes it.
    """
    contested = _contested(forms)
    if not contested:
        return sorted(forms, key=lambda form: form.digest)
    waiting, following = _dependencies(forms, contested)
    ready = [(form.digest, number) for number, form in enumerate(forms) if not waiting[number]]
    heapq.heapify(ready)
    result = []
    while ready:
        _, number = heapq.heappop(ready)
        result.append(forms[number])
        for later in following[number]:
            waiting[later] -= 1
            if not waiting[later]:
                heapq.heappush(ready, (forms[later].digest, later))
    return result


def _dependencies(forms: list[Form], contested: _Contested) -> tuple[list[int], list[set[int]]]:
    """For each statement: how many must come before it, and which must come after."""
    following: list[set[int]] = [set() for _ in forms]
    for writers, readers in contested:
        last_writer = -1
        since: list[int] = []
        for number in sorted(writers | readers):
            if number in writers:
                for earlier in [*since, last_writer]:
                    if earlier >= 0:
                        following[earlier].add(number)
                last_writer, since = number, []
            else:
                if last_writer >= 0:
                    following[last_writer].add(number)
                since.append(number)
    waiting = [0] * len(forms)
    for later in following:
        for number in later:
            waiting[number] += 1
    return waiting, following


def _contested(forms: list[Form]) -> _Contested:
    """For each name written by several statements: the statements that write it and those that read it, executing.

    A statement also writes what functions it uses while executing write, and reads what they read.
    """
    writers: dict[str, set[int]] = defaultdict(set)
    later: dict[str, set[int]] = defaultdict(set)
    for number, form in enumerate(forms):
        if not form.is_import:
            for name in form.writes:
                writers[name].add(number)
            for name in form.later_writes:
                later[name].add(number)
    graph = _Uses(forms) if later or any(len(numbers) > 1 for numbers in writers.values()) else None
    found = []
    for name in writers.keys() | later.keys():
        if graph is None or (len(writers[name]) < 2 and name not in later):
            continue
        executing = writers[name] | graph.reaching(later[name])
        if len(executing) > 1:
            found.append((executing, graph.reading(name) - executing))
    return found


class _Uses:
    """Which statements make use of which, while they execute, through the functions they call."""

    def __init__(self, forms: list[Form]) -> None:
        self._forms = forms
        self._readers: dict[str, list[int]] = defaultdict(list)
        self._later_readers: dict[str, list[int]] = defaultdict(list)
        for number, form in enumerate(forms):
            for name in form.reads:
                self._readers[name].append(number)
            for name in form.later_reads:
                self._later_readers[name].append(number)

    def reading(self, name: str) -> set[int]:
        """Statements that, executing, read the name, themselves or through functions."""
        return set(self._readers[name]) | self.reaching(set(self._later_readers[name]))

    def reaching(self, numbers: set[int]) -> set[int]:
        """Statements that, executing, read a name bound by one of these definitions or by what leads to them."""
        executing: set[int] = set()
        names: set[str] = set()
        todo, seen = list(numbers), set(numbers)
        while todo:
            for name in self._forms[todo.pop()].writes - names:
                names.add(name)
                executing.update(self._readers.get(name, ()))
                for number in [*self._readers.get(name, ()), *self._later_readers.get(name, ())]:
                    if number not in seen:
                        seen.add(number)
                        todo.append(number)
        return executing


def notation(node: ast.AST) -> str:
    """A syntax tree in the notation of the specification: ASCII, one line."""
    out: list[str] = []
    todo: list[str | ast.AST] = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
        else:
            todo += _node(item)[::-1]
    return "".join(out)


def _node(node: ast.AST) -> list[str | ast.AST]:
    """The notation of a node, in which the children that have children of their own stand as they are."""
    if (leaf := _leaf(node)) is not None:
        return [leaf]
    parts: list[str | ast.AST] = []
    name, fields, normal = _shape(type(node))
    text = f"({name}"
    for field in fields:
        value = getattr(node, field, None)
        if normal is not None:
            value = normal(field, value)
        if value is None:
            continue
        if type(value) is not list:
            leaf = _leaf(value)
            if leaf is None:
                parts += [f"{text} {field}=", value]
                text = ""
            else:
                text += f" {field}={leaf}"
        elif value:
            text += f" {field}=["
            for item in value:
                leaf = "(None)" if item is None else _leaf(item)
                if leaf is None:
                    parts += [text, item]
                    text = " "
                else:
                    text += f"{leaf} "
            text = f"{text[:-1]}]"
    return [*parts, f"{text})"]


def _leaf(value: Any) -> str | None:
    """The notation of a plain value, and of a node that has no others in it or one name. None for other nodes."""
    kind = type(value)
    if kind is str:
        return _value(value)
    if kind is ast.Name:
        return f"(Name id={_value(value.id)})"
    if kind is ast.Constant:
        return f"(Constant {_value(value.value)})"
    if kind is ast.Attribute:
        inner = value.value
        of_name = type(inner) is ast.Name
        return f"(Attribute attr={_value(value.attr)} value=(Name id={_value(inner.id)}))" if of_name else None
    if not isinstance(value, ast.AST):
        return _value(value)
    return None if value._fields else f"({kind.__name__})"


def _shape(kind: type[ast.AST]) -> Shape:
    """The name of a kind of node, its fields in the order of their names, and what brings those to their normal."""
    if kind not in _shapes:
        _shapes[kind] = (kind.__name__, sorted(set(kind._fields) - _IGNORED), _NORMAL.get(kind.__name__))
    return _shapes[kind]


def _normal_joined(_field: str, value: Any) -> Any:
    return _joined(value)


def _normal_formatted(field: str, value: Any) -> Any:
    """An empty format specification is none."""
    return None if field == "format_spec" and value is not None and not _joined(value.values) else value


def _normal_delete(_field: str, value: Any) -> Any:
    """`del (a, b)` and `del a, b` are the same."""
    return value[0].elts if len(value) == 1 and isinstance(value[0], (ast.Tuple, ast.List)) else value


# Where releases differ, or formatters make a difference that is none: what the fields of a node are brought to.
_NORMAL: dict[str, Callable[[str, Any], Any]] = {
    "JoinedStr": _normal_joined,
    "TemplateStr": _normal_joined,
    "FormattedValue": _normal_formatted,
    "Interpolation": _normal_formatted,
    "Delete": _normal_delete,
}


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts joined and empty ones left out."""
    parts: list[ast.expr] = []
    for value in values:
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            parts.append(value)
        elif parts and isinstance(parts[-1], ast.Constant):
            parts[-1] = ast.Constant(str(parts[-1].value) + value.value)
        elif value.value:
            parts.append(value)
    return parts


def _value(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"' if value.isidentifier() and value.isascii() else encode_basestring_ascii(value)
    if isinstance(value, bytes):
        return f"bytes:{value.hex()}"
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"int:{value:x}"
    if value is Ellipsis:
        return "Ellipsis"
    return f"{type(value).__name__}:{value!r}"
