"""Programs of this process: which version each one is now, and which versions have been announced.

A version's closure is sent before the first span that carries it, once per process, and again at a long interval, for
the sake of a store that was emptied meanwhile.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ell_otel import git, redact
from ell_otel.closure import Closure, capture, installed
from ell_otel.program_pb2 import Git, Origin, Part, ProgramVersion, Use
from ell_otel.telemetry import emit
from ell_otel.telemetry.guard import guarded

if TYPE_CHECKING:
    from ell_otel.config import Settings
    from ell_otel.telemetry.providers import Pipeline

ANNOUNCE_AGAIN_S: Final = 6 * 3600.0


class Program:
    """A function whose versions we follow. ``target`` is what the user wrote, undecorated.

    ``names`` are local names around a nested ``target`` that its decorators may read, such as the model's. ``before``
    is called ahead of every run: for what takes time once and is no part of any run.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        names: Mapping[str, Any] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.target = target
        self.before = before or _nothing
        self._names = names or {}
        self._closure: Closure | None = None
        _programs.add(self)
        self._lock = threading.RLock()

    def closure(self) -> Closure:
        """The closure as of now. Captured at first use; again when a function or class it rests on was redefined."""
        closure = self._closure
        if closure is None or not closure.is_current():
            with self._lock:
                closure = self._closure = capture(self.target, names=self._names)
        return closure

    def announced(self, pipeline: Pipeline) -> Closure:
        """The closure as of now, after its version has been announced through ``pipeline``."""
        heed(pipeline.settings)
        closure = self.closure()
        announce(closure, pipeline)
        return closure


def heed(settings: Settings) -> None:
    """Have the closure engine take those packages for the user's that ``settings`` names."""
    global _heeded
    if settings is not _heeded:
        installed.count_as_users(settings.user_packages)
        _heeded = settings


_heeded: Settings | None = None


def announce(closure: Closure, pipeline: Pipeline) -> None:
    """Send a version's closure through ``pipeline``, unless that was done not long ago."""
    key = (closure.name, closure.version)
    now = time.monotonic()
    if now >= pipeline.announced.get(key, 0.0):
        with guarded("announcing a program version"):
            pipeline.announced[key] = now + ANNOUNCE_AGAIN_S
            emit.program_event(pipeline.logger, wire_version(closure))


def _nothing() -> None:
    """What most programs need done before a run."""


_programs: weakref.WeakSet[Program] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for program in list(_programs):
        program._lock = threading.RLock()  # a thread that held it in the parent is not here to give it back


os.register_at_fork(after_in_child=_after_fork_in_child)


def wire_version(closure: Closure) -> ProgramVersion:
    """``closure`` as the message that goes over the wire, with what git says of where it was found."""
    state = git.describe(Path(closure.file).parent) if closure.file else git.Git()
    return ProgramVersion(
        name=closure.name,
        version=closure.version,
        source=redact.hooked(closure.text),
        parts=[Part(module=part.module, names=part.names, text=redact.hooked(part.text)) for part in closure.parts],
        uses=[Use(name=use.name, version=use.version) for use in closure.uses],
        partial=closure.partial,
        warnings=closure.warnings,
        origin=Origin(file=closure.file or "", line=closure.line or 0, python=platform.python_version()),
        git=Git(commit=state.commit, branch=state.branch, dirty=state.dirty, remote=state.remote),
        packages=dict(closure.packages),
    )
