"""Parsing in a process that has other threads and filters of warnings of its own."""

from __future__ import annotations

import ast
import os
import threading
import warnings
from contextlib import suppress
from typing import Any

_ATTEMPTS = 20
_one_at_a_time = threading.RLock()


def parse_quietly(text: str) -> ast.Module:
    """`ast.parse` without the warnings (invalid escapes, `is` with a literal) the user's compiler has given already."""
    tree: ast.Module = _parsed(text, "exec")
    return tree


def parse_expression(text: str) -> ast.expr:
    """The same of a text that is one expression."""
    body: ast.expr = _parsed(text, "eval").body
    return body


def _parsed(text: str, mode: str) -> Any:
    """CPython 3.11 counts the depth of the trees it makes for all threads together, and raises SystemError when two
    parse at once. Ours wait for each other; where the other thread was one of the user's, it is done again.
    """
    for _ in range(_ATTEMPTS):
        with suppress(SystemError), _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode=mode)
    return ast.parse(text, mode=mode)


def _after_fork_in_child() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.RLock()  # a thread that held it in the parent is not here to give it back


os.register_at_fork(after_in_child=_after_fork_in_child)
