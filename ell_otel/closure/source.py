"""Where source text is found. Every text is read and parsed once per process.

A `Unit` is one piece of text that was compiled as a whole: a file, a notebook cell, an `exec` string. `unit_of_file`
and `unit_of_code` give the unit of a module's file or of a code object, or None when the text cannot be had.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import importlib.util
import io
import linecache
import os
import re
import sys
import tokenize
import zipimport
from bisect import bisect_right
from collections.abc import Mapping, Sized
from itertools import accumulate
from types import CodeType
from typing import Any

from ell_otel.closure.parsing import parse_quietly
from ell_otel.closure.quiet import let_go_when_quiet
from ell_otel.closure.remembered import remembered

_MAX_CACHED = 4096
_RUNS_THE_CELL = re.compile(r"%%(?:time|capture|prun|debug)\b")  # cell magics that execute the rest in the notebook
_COMMAND_OPTION = re.compile(r"-[bBdEiIOPqRsSuvx]*c")


class Unit:
    """A parsed text. Positions are character offsets into `text`, whose line ends are always a plain newline."""

    def __init__(self, filename: str, text: str, tree: ast.Module) -> None:
        self.filename = filename
        self.text = text
        self.tree = tree
        self._ascii = text.isascii()
        self._starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
        self.changing_lines: dict[str, list[int]] | None = None  # filled by `registration`
        self.indexes: dict[bool, Any] = {}  # filled by `dependencies.index_of`, which owns the type

    @remembered
    def has_walrus(self) -> bool:
        return ":=" in self.text

    @remembered
    def has_star_import(self) -> bool:
        return "import *" in self.text

    def offset(self, line: int, column: int) -> int:
        """The character offset of an AST position: 1-based line, column in UTF-8 bytes."""
        start = self._starts[line - 1]
        if self._ascii:
            return start + column
        text = self.text[start : self._starts[line] - 1]
        return start + len(text.encode("utf-8", "surrogatepass")[:column].decode("utf-8", "ignore"))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Start and end offset of a node that has a position."""
        return (
            self.offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self.offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def line_start(self, line: int) -> int:
        return self._starts[line - 1]

    def line(self, line: int) -> str:
        return self.text[self._starts[line - 1] : self._starts[line] - 1]

    def line_at(self, offset: int) -> int:
        """The 1-based line a character offset lies on."""
        return bisect_right(self._starts, offset)


_by_path: dict[str, tuple[tuple[int, int], Unit | None]] = {}
_by_text: dict[tuple[str, str], tuple[Unit | None]] = {}
let_go_when_quiet(_by_path.clear)
let_go_when_quiet(_by_text.clear)


def unit_of_file(path: str) -> Unit | None:
    """The unit of a `.py` file, read again only when its time or size has changed; None when it cannot be read."""
    try:
        status = os.stat(path)
    except OSError:
        return _unit_in_archive(path)
    stamp = (status.st_mtime_ns, status.st_size)
    known = _by_path.get(path)
    if known and known[0] == stamp:
        return known[1]
    unit = None
    if path.endswith((".py", ".pyw")) or not os.path.splitext(path)[1]:
        try:
            with open(path, "rb") as file:
                unit = parse(path, _decode(file.read()))
        except (OSError, SyntaxError, UnicodeDecodeError):
            unit = None
    _by_path[path] = (stamp, unit)
    return unit


def unit_of_code(code: CodeType, namespace: Mapping[str, Any]) -> Unit | None:
    """The unit a code object was compiled from: its file, or what `linecache` knows of a cell, doctest or `exec`."""
    return unit_of_file(code.co_filename) or unit_of_text_name(code.co_filename, namespace)


def unit_of_text_name(name: str, namespace: Mapping[str, Any]) -> Unit | None:
    """The unit of a text that is no plain file, by the file name its code objects carry."""
    # A copy of the namespace's loader keys only: linecache keeps what it is given, and must not keep user values.
    loader = {key: namespace[key] for key in ("__name__", "__loader__", "__spec__") if key in namespace}
    lines = linecache.getlines(name, loader)
    if lines:
        return parse(name, "".join(lines))
    if name == "<string>" and namespace.get("__name__") == "__main__":
        command = _command_line_program()
        return parse(name, command) if command is not None else None
    return _unit_in_archive(name)


def _command_line_program() -> str | None:
    """The text given as `python -c TEXT`, which may stand with other options in one word (`-Bc`, `-cprint(1)`)."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        option = _COMMAND_OPTION.match(word)
        if option:
            return word[option.end() :] or next(words, None)
        if not word.startswith("-") or word in ("-", "-m"):
            return None
        if word in ("-W", "-X", "--check-hash-based-pycs"):
            next(words, None)
    return None


def parse(name: str, text: str) -> Unit | None:
    """The unit of a text, or None when it is not Python. Equal texts share one unit."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    key = (name, text)
    if (known := _by_text.get(key)) is not None:
        return known[0]
    if len(_by_text) >= _MAX_CACHED:
        _by_text.clear()
    unit = _parsed(name, text)
    _by_text[key] = (unit,)
    return unit


def _parsed(name: str, text: str) -> Unit | None:
    try:
        return Unit(name, text, parse_quietly(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def file_of(namespace: Mapping[str, Any]) -> str | None:
    """The file that a module was made from, by its namespace.

    Python takes `__file__` from a script that has run to its end, while its threads and exit handlers still run; the
    loader knows it longer.
    """
    file = namespace.get("__file__")
    if file is None and namespace.get("__name__") == "__main__":
        file = getattr(namespace.get("__loader__"), "path", None)
    return file if isinstance(file, str) else None


def interactive_cells(namespace: Mapping[str, Any]) -> list[Unit]:
    """The cells run so far in a notebook or prompt, oldest first, as far as they can be had."""
    history = namespace.get("_ih") or namespace.get("In")
    names: list[str] = []
    if isinstance(history, list):
        texts = ((f"<cell {number}>", text) for number, text in enumerate(history) if isinstance(text, str))
        units = [parse(name, without_magics(text)) for name, text in texts]
        return [unit for unit in units if unit is not None]
    if namespace.get("__name__") == "__main__":
        names = [name for name in list(linecache.cache) if name.startswith(("<python-input-", "<stdin"))]
    for value in list(namespace.values()):
        code = getattr(value, "__code__", None)
        if isinstance(code, CodeType) and value.__globals__ is namespace:
            names.append(code.co_filename)
    if namespace.get("__name__") == "__main__":
        names.append("<string>")
    names = sorted(dict.fromkeys(names), key=_cell_number)
    units = [unit_of_text_name(name, namespace) for name in names]
    return [unit for unit in units if unit is not None]


def cell_history(namespace: Mapping[str, Any]) -> Sized | None:
    """What grows with each cell run in a notebook or prompt; None for the namespace of anything else."""
    history = namespace.get("_ih") or namespace.get("In")
    if isinstance(history, list):
        return history
    prompt = namespace.get("__name__") == "__main__" and "__file__" not in namespace and hasattr(sys, "ps1")
    return linecache.cache if prompt else None


def _cell_number(name: str) -> int:
    """The running number in `<python-input-12>` or `<doctest demo[12]>`; 0 when there is none."""
    digits = "".join(character if character.isdigit() else " " for character in name).split()
    return int(digits[-1]) if digits else 0


def without_magics(text: str) -> str:
    """A notebook cell with its `%magic`, `!shell` and `help?` lines turned into comments.

    IPython keeps a cell under a cell magic as the call it makes of it: then the cell is an argument of that call.
    """
    if text.startswith("get_ipython().run_cell_magic("):
        with contextlib.suppress(SyntaxError, ValueError):
            magic, options, cell = ast.literal_eval(text.removeprefix("get_ipython().run_cell_magic"))
            return without_magics(f"%%{magic} {options}\n{cell}")
    lines = text.split("\n")
    if lines and lines[0].startswith("%%") and not _RUNS_THE_CELL.match(lines[0]):
        return "# " + "\n# ".join(lines)
    return "\n".join(
        f"# {line}" if line.lstrip().startswith(("%", "!", "?")) or line.rstrip().endswith("?") else line
        for line in lines
    )


def _decode(data: bytes) -> str:
    if b"coding" not in data and not data.startswith(codecs.BOM_UTF8):
        return data.decode()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def _unit_in_archive(path: str) -> Unit | None:
    """The unit of a module inside a zip file on `sys.path`."""
    for entry in sys.path:
        if entry and path.startswith(entry + os.sep) and os.path.isfile(entry):
            module = path[len(entry) + 1 :].removesuffix(".py").removesuffix(os.sep + "__init__")
            try:
                text = zipimport.zipimporter(entry).get_source(module)
            except (zipimport.ZipImportError, OSError, ValueError):
                return None
            return parse(path, text) if text is not None else None
    return None


def absolute_import(node: ast.ImportFrom, package: str) -> str:
    """The absolute module name of a `from … import`, relative levels resolved against `package`."""
    if not node.level:
        return node.module or ""
    try:
        return importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    except ImportError:
        return node.module or ""
