"""Whose code a module is: the user's own, or installed, which is imported rather than inlined.

Where its file lies decides: the standard library's directories, this interpreter's site directories, and what pip has
recorded in another entry of `sys.path` (`pip install --target`, as for a bundle that is deployed as one folder), where
the user's own modules may lie beside it.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

OWN_PACKAGE = __name__.partition(".")[0]
_SITE_NAMES = ("site-packages", "dist-packages")
_MAX_CACHED = 4096
_users: frozenset[str] = frozenset()


def count_as_users(packages: Iterable[str]) -> None:
    """Take these packages and what is in them for the user's own code, although they are installed."""
    global _users
    _users = frozenset(packages)


def is_installed(name: str, namespace: Mapping[str, Any] | None, file: str | None, paths: list[str]) -> bool:
    """Whether a module is imported rather than inlined: built-in, frozen, standard library or a site directory.

    `file` is its `__file__`, `paths` its `__path__`. A module with neither is the user's only when it was made in
    this process (a notebook, an `exec`), which shows in its having no loader.
    """
    top = name.partition(".")[0]
    if top == OWN_PACKAGE:
        return True
    if _users and any(name == package or name.startswith(f"{package}.") for package in _users):
        return False
    if file:
        return _in_site(os.path.abspath(file))
    if paths:
        return all(_in_site(os.path.abspath(path)) for path in paths)
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return True
    return namespace is not None and namespace.get("__spec__") is not None and name != "__main__"


@lru_cache(maxsize=_MAX_CACHED)
def _in_site(path: str) -> bool:
    if os.path.islink(path) and _is_below_root(os.path.realpath(path)):
        return True
    return _is_below_root(path)


def _is_below_root(path: str) -> bool:
    return _is_directory_below_root(os.path.dirname(path)) or path in _recorded(tuple(sys.path))


@lru_cache(maxsize=_MAX_CACHED)
def _is_directory_below_root(path: str) -> bool:
    search_path = tuple(sys.path)
    roots = (*_site_roots(search_path), *(f"{entry}{os.sep}" for entry in _recorded(search_path)))
    paths = {os.path.join(form, "") for form in (path, os.path.realpath(path))}
    return any(candidate.startswith(roots) for candidate in paths)


@lru_cache(maxsize=8)
def _site_roots(search_path: tuple[str, ...]) -> tuple[str, ...]:
    """Directories, each ending in a separator, all of whose modules are installed."""
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots.update(site.getsitepackages() if hasattr(site, "getsitepackages") else ())
    roots.add(site.getusersitepackages())
    roots.update(entry for entry in search_path if os.path.basename(entry.rstrip(os.sep)) in _SITE_NAMES)
    roots.add(os.path.dirname(os.__file__))
    roots.update(entry for entry in search_path if os.path.basename(entry).startswith("python3") and ".zip" in entry)
    return tuple(sorted({form.rstrip(os.sep) + os.sep for root in roots for form in (root, os.path.realpath(root))}))


@lru_cache(maxsize=8)
def _recorded(search_path: tuple[str, ...]) -> frozenset[str]:
    """Files and directories that pip has put into entries of ``search_path`` beside the user's own."""
    known = _site_roots(search_path)
    entries = {os.path.abspath(entry) for entry in search_path}
    others = {form for entry in entries for form in (entry, os.path.realpath(entry)) if f"{form}{os.sep}" not in known}
    return frozenset(os.path.join(entry, name) for entry in others for name in _tops(entry))


def _tops(entry: str) -> Iterator[str]:
    """The first part of each path in the ``RECORD`` of a distribution in this directory."""
    for record in Path(entry).glob("*.dist-info/RECORD"):
        try:
            lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # it is being taken away, or is not ours to read: then its modules count as the user's
            continue
        yield from {line.partition(",")[0].partition("/")[0] for line in lines} - {"", ".", "..", "__pycache__"}
