"""Files that a program reads while its modules are imported: their content belongs to the closure.

Where a statement binds plain data that came from a file, the data stands in the text instead. Elsewhere (a class body,
a default, an argument) the expression that reads is replaced by what it gives; its path is worked out from the text,
from constants, `__file__`, and the functions of `pathlib`, `os.path` and `importlib.resources`. Nothing of the user's
is called for that.
"""

from __future__ import annotations

import ast
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ell_otel.closure.references import chain_of, last_name
from ell_otel.closure.spaces import MISSING, Kept, Space
from ell_otel.closure.statements import Statement
from ell_otel.closure.values import is_plain, literal, without_secrets

if TYPE_CHECKING:
    from ell_otel.closure.resolution import Resolution

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "pathlib.Path": pathlib.Path,
    "pathlib.PurePath": pathlib.PurePath,
    "pathlib.Path.cwd": pathlib.Path.cwd,
    "str": str,
    "os.fspath": os.fspath,
    "os.getcwd": os.getcwd,
    **{f"os.path.{name}": getattr(os.path, name) for name in ("join", "dirname", "abspath", "realpath", "normpath")},
}
_OPENING = frozenset({"open", "io.open", "codecs.open"})
_METHODS = frozenset({"joinpath", "with_name", "with_suffix", "with_stem", "resolve", "absolute", "expanduser"})
_READING = frozenset({"read", "read_text", "read_bytes", "readlines"})


class _Unknown(Exception):
    """An expression whose value the text alone does not tell."""


class Files:
    """The files of one closure."""

    def __init__(self, resolution: Resolution) -> None:
        self._resolution = resolution
        self._known: dict[Statement, bool] = {}

    def value_of(self, space: Space, name: str, positions: list[int]) -> str | None:
        """The name's value as a literal, where statements that read files had to do with it and it is plain data."""
        live = space.live(name)
        if live is MISSING or not is_plain(live):
            return None
        statements = [space.index.statements[position] for position in positions]
        if any(statement.is_definition for statement in statements) or not any(
            self.reads(space, s) for s in statements
        ):
            return None
        return literal(without_secrets(live, name))

    def reads(self, space: Space, statement: Statement) -> bool:
        """Whether executing the statement reads a file, itself or through functions of the user's it calls."""
        if statement not in self._known:
            self._known[statement] = bool(statement.analysis.reading) or self._calls_reader(space, statement)
        return self._known[statement]

    def _calls_reader(self, space: Space, statement: Statement) -> bool:
        paths = [*statement.calls, *((name,) for name in statement.analysis.mapped)]
        todo, seen = [(space, path) for path in paths], set()
        while todo:
            here, path = todo.pop()
            slot, _ = self._resolution.behind(here, path)
            if slot.kind != "defined" or slot in seen:
                continue
            seen.add(slot)
            for binder in slot.space.index.bindings(slot.name):
                found = slot.space.index.statements[binder]
                if found.analysis.reads_file_when_called:
                    return True
                later = [tuple(name.split(".")) for name in found.analysis.called_later]
                handed = [] if found.is_definition else [(n,) for n in found.analysis.names("read", eager=True)]
                todo += [(slot.space, path) for path in (*later, *handed)]
        return False

    def follow(self, kept: Kept) -> set[int]:
        """Put what a statement's calls read in their place; the ids of the nodes that are gone with them."""
        statement = kept.statement
        kept.contents = self._contents(kept) if statement.analysis.reading else []
        gone = {id(part) for call, _ in kept.contents for part in ast.walk(call)}
        left = [call for call in statement.analysis.reading if id(call) not in gone]
        if statement.is_definition:
            left = [call for call in left if last_name(call.func) != "open"]
        through = not (statement.is_definition or statement.analysis.reading) and self.reads(kept.space, statement)
        if left or through:
            name = next(iter(sorted(statement.binds)), "something")
            self._resolution.incomplete(
                f"{kept.space.name}.{name} is read from a file whose content is not in the closure"
            )
        return gone

    def _contents(self, kept: Kept) -> list[tuple[ast.Call, str]]:
        """The calls of a statement that read files while it executes, each with what it gives as a literal."""
        found: list[tuple[ast.Call, str]] = []
        inside: set[int] = set()
        node = kept.statement.node
        name = next(iter(kept.statement.binds), "") if isinstance(node, ast.Assign) else ""
        local = _assigned_in(node.body) if isinstance(node, ast.ClassDef) else {}
        for call in kept.statement.analysis.reading:
            if id(call) in inside:
                continue
            try:
                value, opened = _Paths(self._resolution, kept.space, local).content(call)
            except (_Unknown, OSError, ValueError, TypeError, AttributeError, RecursionError):
                continue
            text = literal(without_secrets(value, name))
            kind = "BytesIO" if isinstance(value, bytes) else "StringIO"
            found.append((call, f"__import__('io').{kind}({text})" if opened else text))
            inside.update(id(part) for part in ast.walk(call))
        return found


class _Paths:
    """The paths in one module's text."""

    def __init__(self, resolution: Resolution, space: Space, local: Mapping[str, ast.expr]) -> None:
        self._resolution = resolution
        self._space = space
        self._local = local

    def content(self, call: ast.Call) -> tuple[Any, bool]:
        """What a call that reads a whole file gives, and whether it gives that as an open file."""
        function = call.func
        if self._meaning(function) in _OPENING or (isinstance(function, ast.Attribute) and function.attr == "open"):
            return self._read(call, "read"), True
        return self._whole(call, function), False

    def _whole(self, call: ast.Call, function: ast.expr) -> Any:
        if self._meaning(function) in ("pkgutil.get_data", "importlib.resources.read_text"):
            package, name = (self._value(argument) for argument in call.args[:2])
            data = (_directory_of(package) / name).read_bytes()
            return data if self._meaning(function) == "pkgutil.get_data" else data.decode()
        if not isinstance(function, ast.Attribute) or function.attr not in _READING:
            raise _Unknown
        if function.attr in ("read_text", "read_bytes"):
            path = pathlib.Path(self._value(function.value))
            given = {k.arg: self._value(k.value) for k in call.keywords if k.arg is not None}
            arguments = [self._value(argument) for argument in call.args]
            return path.read_bytes() if function.attr == "read_bytes" else path.read_text(*arguments, **given)
        if call.args or not isinstance(function.value, ast.Call):
            raise _Unknown
        return self._read(function.value, function.attr)

    def _read(self, opened: ast.Call, how: str) -> Any:
        """What `open(path).read()` gives, and `path.open().read()`."""
        if self._meaning(opened.func) in _OPENING:
            path, arguments = self._value(opened.args[0]), opened.args[1:]
        elif isinstance(opened.func, ast.Attribute) and opened.func.attr == "open":
            path, arguments = self._value(opened.func.value), opened.args
        else:
            raise _Unknown
        mode = self._value(arguments[0]) if arguments else "r"
        given = {k.arg: self._value(k.value) for k in opened.keywords if k.arg is not None}
        if len(arguments) > 1 or not str(given.get("mode", mode)).startswith("r"):
            raise _Unknown
        with open(path, **{"mode": mode, **given}) as file:
            return file.readlines() if how == "readlines" else file.read()

    def _value(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self._of_name(node.id)
        if isinstance(node, ast.Attribute) and node.attr in ("parent", "parents", "name", "stem"):
            return getattr(self._path(node.value), node.attr)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            return self._value(node.value)[node.slice.value]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self._path(node.left) / self._value(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._text(node.left) + self._text(node.right)
        if isinstance(node, ast.JoinedStr):
            return "".join(map(self._part, node.values))
        if isinstance(node, ast.Call) and not node.keywords:
            return self._of_call(node)
        raise _Unknown

    def _part(self, node: ast.expr) -> str:
        if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
            return str(self._value(node.value))
        return self._text(node)

    def _of_name(self, name: str) -> Any:
        if name in self._local:
            return self._value(self._local[name])
        live = self._space.live(name)
        if isinstance(live, (str, pathlib.PurePath)):  # `__file__` too
            return live
        raise _Unknown

    def _of_call(self, node: ast.Call) -> Any:
        meaning = self._meaning(node.func)
        arguments = [self._value(argument) for argument in node.args]
        if meaning == "importlib.resources.files":
            return _directory_of(*arguments)
        if meaning in _FUNCTIONS:
            return _FUNCTIONS[meaning](*arguments)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            return getattr(self._path(node.func.value), node.func.attr)(*arguments)
        raise _Unknown

    def _path(self, node: ast.AST) -> Any:
        value = self._value(node)
        if type(value) not in (pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath):
            raise _Unknown
        return value

    def _text(self, node: ast.AST) -> str:
        value = self._value(node)
        if type(value) is not str:
            raise _Unknown
        return value

    def _meaning(self, function: ast.AST) -> str:
        """The dotted name of an installed function, or a built-in's; empty for any other."""
        root, chain = chain_of(function)
        if not isinstance(root, ast.Name) or any(isinstance(part, ast.Subscript) for part in ast.walk(function)):
            return ""
        slot, rest = self._resolution.behind(self._space, (root.id, *chain))
        if slot.kind == "builtin":
            return slot.name
        return ".".join(filter(None, (slot.module, slot.attribute, *rest))) if slot.kind == "external" else ""


def _directory_of(package: str) -> pathlib.Path:
    """Where a loaded package's files are."""
    path = getattr(sys.modules.get(package), "__file__", None)
    if not isinstance(path, str):
        raise _Unknown
    return pathlib.Path(path).parent


def _assigned_in(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """The names that a class body binds once by a plain assignment."""
    pairs = [(s.targets[0], s.value) for s in body if isinstance(s, ast.Assign) and len(s.targets) == 1]
    names = [target.id for target, _ in pairs if isinstance(target, ast.Name)]
    return {t.id: value for t, value in pairs if isinstance(t, ast.Name) and names.count(t.id) == 1}
