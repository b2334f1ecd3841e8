"""Sessions: bounded in number and in time, and one request's at a time."""

from __future__ import annotations

import pytest

from ell_otel.server.engine import EngineError
from ell_otel.server.sessions import SESSIONS, Sessions


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def enter(
    sessions: Sessions, name: str, *, timeout: str = "", must_exist: bool = False, mark: str = ""
) -> dict[str, str]:
    """One request in the session, which leaves its mark there; what it found."""
    with sessions.entered("reader", name, timeout, must_exist=must_exist) as session:
        found = dict(session.settings)
        session.settings["mark"] = mark
        return found


def test_a_session_is_forgotten_when_its_time_is_over() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    enter(sessions, "a", timeout="10", mark="1")
    clock.now = 9.0
    assert enter(sessions, "a", timeout="10") == {"mark": "1"}
    clock.now = 19.0
    with pytest.raises(EngineError, match="not found"):
        enter(sessions, "a", must_exist=True)


def test_no_session_is_kept_for_longer_than_an_hour() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    enter(sessions, "a", timeout="9999999")
    clock.now = 3600.0
    assert enter(sessions, "a") == {}


def test_a_new_session_takes_the_place_of_the_one_that_waited_longest() -> None:
    sessions = Sessions(Clock())
    for number in range(SESSIONS):
        enter(sessions, str(number), mark="x")
    enter(sessions, "0")
    enter(sessions, "new")
    enter(sessions, "0", must_exist=True)
    with pytest.raises(EngineError, match="not found"):
        enter(sessions, "1", must_exist=True)
    assert len(sessions._kept) == SESSIONS


def test_a_session_in_use_is_locked_and_never_forgotten() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    with sessions.entered("reader", "a", "1", must_exist=False):
        clock.now = 100.0
        with pytest.raises(EngineError, match="locked"):
            enter(sessions, "a")
    assert enter(sessions, "a", must_exist=True) == {}


def test_without_a_name_nothing_is_kept() -> None:
    sessions = Sessions(Clock())
    enter(sessions, "", mark="x")
    assert enter(sessions, "") == {}
    assert not sessions._kept
