"""Modules that a closure needs for what they do to it: importing them registers tools, subclasses, entries of tables.

`import plugins` alone binds nothing that is used; yet the statements of `plugins` that change an object of the closure,
or hand themselves to what collects them, belong to it. Which modules Python would have executed follows from the
import statements, so that it does not depend on what else the process has loaded. Most of them have nothing to do
with the closure; a glance at their words tells, without parsing.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ell_otel.closure.installed import is_installed
from ell_otel.closure.parsing import parse_quietly
from ell_otel.closure.quiet import let_go_when_quiet
from ell_otel.closure.registration import Registrations, runs_programs
from ell_otel.closure.source import absolute_import, file_of
from ell_otel.closure.spaces import Slot, Space, declared_global

if TYPE_CHECKING:
    from ell_otel.closure.resolution import Resolution

_IMPORT = re.compile(
    r"^[ \t]*((?:from[ \t]+[\w.]+[ \t]+import[ \t]+(?:\([^)]*\)|[^\n;#(]*)|import[ \t]+[^\n;#]*))", re.MULTILINE
)
_LASTING = (ast.Constant, ast.JoinedStr, ast.Lambda)  # values that no statement elsewhere can change


@dataclass(frozen=True, slots=True)
class _Glance:
    """What a look at a file tells without parsing it: its words, and what it imports."""

    words: frozenset[str]
    imports: tuple[ast.Import | ast.ImportFrom, ...]


_glances: dict[str, tuple[tuple[int, int], _Glance]] = {}
let_go_when_quiet(_glances.clear)


class Effects:
    """The modules imported by those of one closure, and what they do to it."""

    def __init__(self, resolution: Resolution, registrations: Registrations) -> None:
        self._resolution = resolution
        self._registrations = registrations
        self._looked_at: dict[Space, int] = {}  # how many of a module's statements have been
        self._glances: dict[str, _Glance | None] = {}
        self._imported: dict[str, list[str]] = {}
        self._reached: dict[str, list[tuple[Space, int]]] = {}  # by module: the import statements that execute it

    def follow(self) -> None:
        """Keep what the modules reached so far do to what is kept so far."""
        self._reach()
        if not self._reached:
            return
        changed, through = self.open_to_change()
        names = {name for _, name in changed | through}
        for module, importing in list(self._reached.items()):
            glance = self._glance(module)
            unconcerned = glance is None or names.isdisjoint(glance.words)
            space = None if unconcerned else self._resolution.spaces.of_module(module)
            if space is not None and (positions := list(self._positions(space, changed, through))):
                for position in positions:
                    self._resolution.keep_whole(space, position)
                self._note_import(space, importing)

    def _note_import(self, space: Space, importing: list[tuple[Space, int]]) -> None:
        """Remember with the statements that import a module that they are there for what it does."""
        for importer, place in importing:
            effects = self._resolution.keep(importer, place).effects
            if space not in effects:
                effects.append(space)

    def _reach(self) -> None:
        """The modules that the import statements of the closure's modules execute, directly or through others."""
        for space in self._resolution.order:
            statements = space.index.statements if space.cells is None else []
            for position in range(self._looked_at.get(space, 0), len(statements)):
                node = statements[position].node
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    for module in self._executed_by(node, space.package):
                        self._reached.setdefault(module, []).append((space, position))
            self._looked_at[space] = len(statements)

    def _executed_by(self, node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
        """The modules of the user's that an import statement executes, directly or through others."""
        todo, seen = list(_modules_of(node, package)), set()
        while todo:
            module = todo.pop()
            glance = self._glance(module) if module not in seen else None
            seen.add(module)
            if glance is not None:
                yield module
                todo += self._imported_by(module, glance)

    def _imported_by(self, module: str, glance: _Glance) -> list[str]:
        if module not in self._imported:
            package = str(getattr(sys.modules[module], "__package__", "") or "")
            names = (name for node in glance.imports for name in _modules_of(node, package))
            self._imported[module] = list(dict.fromkeys(names))
        return self._imported[module]

    def _glance(self, module: str) -> _Glance | None:
        if module not in self._glances:
            self._glances[module] = _glance(module)
        return self._glances[module]

    def open_to_change(self) -> tuple[set[tuple[Space, str]], set[tuple[Space, str]]]:
        """Names of the closure whose objects other modules may change, and those through which they may do it."""
        changed: set[tuple[Space, str]] = set()
        through: set[tuple[Space, str]] = set()
        for space in self._resolution.order:
            for name, slot in list(space.slots.items()):
                if slot.kind == "defined" and slot.space is space and not space.index.binders.get(name):
                    changed.add((space, name))  # bound by functions only
                    through |= self._registrations.through(space, name)
            for kept in list(space.kept.values()) if space.cells is None else ():
                if kept.statement.is_import:
                    continue
                lasting = _is_lasting(kept.statement.node)
                for name in kept.statement.binds:
                    if lasting and not declared_global(space, name):
                        continue
                    if self._resolution.readings.only_changes(self._resolution.slot(space, name)):
                        continue
                    changed.add((space, name))
                    through |= self._registrations.through(space, name)
        return changed, through

    def keep_changes_between(self) -> bool:
        """Keep the statements by which the closure's modules change what another of them binds; whether any was new."""
        found = False
        through: set[tuple[Space, str]] | None = None
        for space in list(self._resolution.order):
            for position in () if space.cells is not None else space.index.reaching_out:
                kept = space.kept.get(position)
                if kept is None or not kept.followed:
                    through = self.open_to_change()[1] if through is None else through
                    if self._changes_another(space, position, through):
                        self._resolution.keep_whole(space, position)
                        found = True
        return found

    def _changes_another(self, space: Space, position: int, through: set[tuple[Space, str]]) -> bool:
        """Whether a statement changes something kept of another module, or calls a function of it that does."""
        statement = space.index.statements[position]
        for reference in statement.analysis.references:
            if reference.use == "change" and reference.eager:
                changed, _ = self._resolution.behind(space, (reference.name, *reference.chain))
                decorated = statement.is_definition and self._resolution.readings.only_changes(changed)
                if changed.space is not space and _is_kept(changed.space, changed.name) and not decorated:
                    return True
        for path in () if runs_programs(space, statement, self._resolution.roots[:1]) else statement.calls:
            called, rest = self._resolution.behind(space, path)
            if called.space is space or called.kind != "defined":
                continue
            acts = rest and _is_kept(called.space, called.name) and self._registrations.acts(space, path)
            if acts or (not rest and (called.space, called.name) in through):
                return True
        return False

    def _positions(
        self, space: Space, changed: set[tuple[Space, str]], through: set[tuple[Space, str]]
    ) -> Iterator[int]:
        """Positions of statements of one module that change something of another one."""
        index = space.index
        for name in {*index.changers, *index.appliers, *index.passers}:
            slot = self._meant(space, name)
            if slot is None or slot.space is space:
                continue
            for position in {*index.changers.get(name, ()), *index.appliers.get(name, ())}:
                statement = index.statements[position]
                for reference in statement.analysis.references:
                    if reference.name != name or not reference.eager or reference.use not in ("change", "read"):
                        continue
                    meant = self._meant(space, name, reference.chain)
                    key = (meant.space, meant.name) if meant is not None else None
                    if key in (changed if reference.use == "change" else through):
                        yield position
            if (slot.space, slot.name) in changed:
                yield from self._registrations.passed_on(space, name)

    def spaces_with(self, word: str) -> Iterator[Space]:
        """The modules reached so far in whose text a word stands."""
        for module in list(self._reached):
            glance = self._glance(module)
            space = self._resolution.spaces.of_module(module) if glance is not None and word in glance.words else None
            if space is not None:
                yield space

    def _meant(self, space: Space, name: str, chain: tuple[str, ...] = ()) -> Slot | None:
        """What an imported name means, and an attribute of it where it is a module."""
        if name not in space.index.binders and not space.index.stars:
            return None
        return self._resolution.behind(space, (name, *chain))[0]


def _is_kept(space: Space, name: str) -> bool:
    positions = space.index.bindings(name)
    return any(position in space.kept for position in positions) or (not positions and name in space.slots)


def _is_lasting(node: ast.stmt) -> bool:
    """Whether what a statement binds cannot be changed: a plain function, a text, a number."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return not node.decorator_list
    return isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, _LASTING)


def _modules_of(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """The loaded modules that an import statement executes: packages first, submodules it names last."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        module = absolute_import(node, package)
        names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            if (found := ".".join(parts[:depth])) in sys.modules:
                yield found


def _glance(module: str) -> _Glance | None:
    """The glance at a loaded module of the user's; None for installed ones and those without a file."""
    namespace = getattr(sys.modules.get(module), "__dict__", {})
    path = file_of(namespace)
    if path is None or not path.endswith(".py") or is_installed(module, namespace, path, []):
        return None
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size)
        known = _glances.get(path)
        if known is None or known[0] != stamp:
            known = _glances[path] = (stamp, _look(Path(path).read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return None
    return known[1]


def _look(text: str) -> _Glance:
    lines = [match[1].strip() for match in _IMPORT.finditer(text)]
    nodes = _statements("\n".join(lines))  # all at once, unless there is a line of a docstring among them
    if nodes is None:
        nodes = [node for line in lines for node in _statements(line) or ()]
    imports = (node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))
    return _Glance(frozenset(re.findall(r"\w+", text)), tuple(imports))


def _statements(text: str) -> list[ast.stmt] | None:
    try:
        return parse_quietly(text).body if text else []
    except SyntaxError:
        return None
