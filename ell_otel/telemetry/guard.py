"""Telemetry never harms the host program: what goes wrong in ours is told, at most once a minute, and not raised.

Under pytest the unexpected is raised after all, so that our own faults are found; a condition we know of (an
``EllOtelError``: a full disk, an unreachable collector) never is.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ell_otel.errors import EllOtelError

QUIET_S: Final = 60.0

log = logging.getLogger("ell_otel")
_last_told: dict[str, float] = {}


@contextmanager
def guarded(doing: str, on_error: Callable[[], None] | None = None) -> Iterator[None]:
    """Run a piece of telemetry: an exception in it ends there. ``doing`` completes "ell-otel failed while …"."""
    try:
        yield
    except EllOtelError as error:
        tell(doing, str(error))
    except Exception as error:
        if "PYTEST_VERSION" in os.environ:
            raise
        tell(doing, f"ell-otel failed while {doing}: {error!r}. Your program goes on without this piece of telemetry")
    else:
        return
    if on_error is not None:
        on_error()


def tell(key: str, message: str) -> None:
    """Warn about ``key``, unless that was done within the last minute."""
    now = time.monotonic()
    if now - _last_told.get(key, -QUIET_S) >= QUIET_S:
        _last_told[key] = now
        log.warning(message)
