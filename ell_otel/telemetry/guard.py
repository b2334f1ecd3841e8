"""Telemetry never harms the host program: what goes wrong in ours is told, at most once a minute, and not raised.

Three exceptions go through. One that a signal handler of the host's (a time limit, say) raises in the midst of ours: it
is the host's. One that is no ``Exception``, such as KeyboardInterrupt. And, after
``raise_faults``, the unexpected: our tests use it, so that our own faults are found; a user's tests are not our place.
A condition we know of (an ``EllOtelError``: a full disk, an unreachable collector) is only ever told.
"""

from __future__ import annotations

import logging
import sys
import time
from types import FrameType, TracebackType
from typing import Final

from ell_otel.errors import EllOtelError

QUIET_S: Final = 60.0

_OURS: Final = frozenset({"ell_otel", "opentelemetry", "google", "grpc", "requests", "urllib3", "wrapt"})

log = logging.getLogger("ell_otel")
_last_told: dict[str, float] = {}
_raising = False


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
        return isinstance(error, Exception) and overcome(error, self._doing)


def overcome(error: Exception, doing: str) -> bool:
    """Tell of what went wrong in a piece of telemetry; False where it has to be raised again.

    For ``except`` clauses on the way of every model call, where a ``with guarded`` more is one hundredth of the whole.
    """
    if isinstance(error, EllOtelError):
        tell(doing, str(error))
        return True
    if _raising or raised_by_host(error):
        return False
    goes_on = "Your program goes on without this piece of telemetry"
    tell(doing, f"ell-otel failed while {doing}: {error!r}. {goes_on}")
    return True


def tell(key: str, message: str) -> None:
    """Warn about ``key``, unless that was done within the last minute. Never raises, whatever the logging is set to.

    When the interpreter is being taken down, modules may be missing that a run needs: that is no news to anybody.
    """
    if sys.is_finalizing():
        return
    now = time.monotonic()
    if now - _last_told.get(key, -QUIET_S) >= QUIET_S:
        _last_told[key] = now
        try:
            log.warning(message)
        except Exception:  # a filter or handler of the host's: there is nobody left to tell
            return


def raise_faults(on: bool) -> None:
    """Let unexpected exceptions of ours through, and tell everything anew: for tests."""
    global _raising
    _raising = on
    _last_told.clear()


def raised_by_host(error: BaseException) -> bool:
    """Whether a signal handler of the host's raised it: other code of the host's runs here only because we look at
    something of its, which without us nobody does."""
    trace = error.__traceback__
    while trace is not None:
        if _is_hosts(trace.tb_frame) and _is_handling_a_signal(trace.tb_frame):
            return True
        trace = trace.tb_next
    return False


def _is_hosts(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package not in _OURS and package not in sys.stdlib_module_names


def _is_handling_a_signal(frame: FrameType) -> bool:
    """A handler is given the frame that it interrupts."""
    given = (item for value in frame.f_locals.values() for item in (value if type(value) is tuple else (value,)))
    return frame.f_back is not None and any(item is frame.f_back for item in given)


class _LetThrough(logging.Filter):
    """OpenTelemetry catches and logs every exception in two places that we call, its encoder and its context. One that
    a signal handler of the host raises there is the host's, and its log record is where we can still get hold of it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Exception) and _called_by_us() and raised_by_host(error):
            raise error
        return True


def _called_by_us() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in {"logging", "opentelemetry"} and frame.f_globals is not globals():
            return package == "ell_otel"
        frame = frame.f_back
    return False


for _name in ("opentelemetry.exporter.otlp.proto.common._internal", "opentelemetry.context"):
    logging.getLogger(_name).addFilter(_LetThrough())
