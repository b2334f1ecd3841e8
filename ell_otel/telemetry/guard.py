"""Telemetry never harms the host program: what goes wrong in ours is told, at most once a minute, and not raised.

Under pytest the unexpected is raised after all, so that our own faults are found; a condition we know of (an
``EllOtelError``: a full disk, an unreachable collector) never is.
"""

from __future__ import annotations

import logging
import os
import time
from types import TracebackType
from typing import Final

from ell_otel.errors import EllOtelError

QUIET_S: Final = 60.0

log = logging.getLogger("ell_otel")
_last_told: dict[str, float] = {}


class guarded:
    """Run a piece of telemetry: an exception in it ends there. ``doing`` completes "ell-otel failed while …"."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if isinstance(error, EllOtelError):
            tell(self._doing, str(error))
            return True
        if "PYTEST_VERSION" in os.environ:
            return False
        goes_on = "Your program goes on without this piece of telemetry"
        tell(self._doing, f"ell-otel failed while {self._doing}: {error!r}. {goes_on}")
        return True


def tell(key: str, message: str) -> None:
    """Warn about ``key``, unless that was done within the last minute."""
    now = time.monotonic()
    if now - _last_told.get(key, -QUIET_S) >= QUIET_S:
        _last_told[key] = now
        log.warning(message)


def forget() -> None:
    """Tell everything again, as if nothing had been told: for tests."""
    _last_told.clear()
