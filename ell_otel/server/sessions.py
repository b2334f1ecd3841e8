"""What a client keeps from one request to the next under a ``session_id``: settings that it SET, the database it USEs.

A session holds no handle of the engine, only what is to be said to a fresh one. So it costs nothing while it waits, a
reader's can hold nothing that a reader may not say in each request, and it has no temporary tables. All calls come from
the one event loop of the interface.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from ell_otel.server.engine import EngineError

SESSIONS: Final = 256
"""How many are remembered; a new one takes the place of that which has waited longest."""
_DEFAULT_S: Final = 60.0
_LONGEST_S: Final = 3600.0


@dataclass(slots=True)
class Session:
    """One session's state."""

    settings: dict[str, str] = field(default_factory=dict)
    database: str = ""
    busy: bool = False
    expires: float = 0.0


class Sessions:
    """The sessions of all users, by user and id."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], Session] = {}

    @contextmanager
    def entered(self, user: str, name: str, timeout: str, *, must_exist: bool) -> Iterator[Session]:
        """The session for the time of one request. Without a name it is forgotten behind it.

        Raises ``EngineError`` when another request is in it, or when it must exist and does not (any more).
        """
        if not name:
            yield Session()
            return
        session = self._found(user, name, must_exist)
        session.busy = True
        try:
            yield session
        finally:
            session.busy = False
            seconds = float(timeout) if timeout.isdecimal() else _DEFAULT_S
            session.expires = self._clock() + min(seconds, _LONGEST_S)

    def _found(self, user: str, name: str, must_exist: bool) -> Session:
        self._forget(lambda session: session.expires <= self._clock())
        if session := self._kept.pop((user, name), None):
            self._kept[user, name] = session  # at the end: last used
            if session.busy:
                raise EngineError(373, f"Session {name[:80]} is locked by a concurrent client. (SESSION_IS_LOCKED)")
            return session
        if must_exist:
            raise EngineError(372, f"Session {name[:80]} not found. (SESSION_NOT_FOUND)")
        self._forget(lambda _: len(self._kept) >= SESSIONS)
        return self._kept.setdefault((user, name), Session())

    def _forget(self, when: Callable[[Session], bool]) -> None:
        """Those for which this holds, the longest unused first, but none that a request is in."""
        for key, session in list(self._kept.items()):
            if not session.busy and when(session):
                del self._kept[key]
