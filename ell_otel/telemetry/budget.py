"""How many bytes a spool folder may hold, and what gives way when they are used up.

Several processes write into one folder and each looks at all of it, but not at every record: room is granted in steps,
so the folder can exceed its budget by a step for each process that writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from ell_otel import semconv
from ell_otel.errors import ExportError, SpoolFullError
from ell_otel.telemetry.segments import Frame, Kind, pending, taking

BLOCK_S: Final = 30.0
"""Longest wait for room with the policy ``block``; then the record is lost, and counted."""
_STEP_BYTES: Final = 1 << 20
_POLL_S: Final = 0.05
_REFUSING_S: Final = 0.2  # looking at a full folder for every record would cost the host more than the record


class Budget:
    """``limit`` bytes (0: any number) and a policy: ``block``, ``drop_new`` or ``drop_old``.

    ``on_dropped(count, error)`` is told how many accepted records ``drop_old`` has removed.
    """

    def __init__(
        self, limit: int, policy: str = "drop_new", on_dropped: Callable[[int, ExportError], None] = lambda *_: None
    ) -> None:
        self._limit = limit
        self._policy = policy
        self._on_dropped = on_dropped
        self._granted = 0
        self._refusing_until = 0.0

    def segment_bytes(self, wanted: int) -> int:
        """The segment size: small enough that closing one makes a difference to the folder."""
        return min(wanted, max(1, self._limit // 4)) if self._limit else wanted

    def grants(self, size: int) -> bool:
        """Whether ``size`` bytes may be written without looking at the folder again. Takes them when so."""
        if not self._limit:
            return True
        if size > self._granted:
            return False
        self._granted -= size
        return True

    def make_room(self, spool: Path, size: int, *, give_up: Callable[[], None] = lambda: None) -> None:
        """Look at the folder, and grant ``size`` bytes as the policy has it, or raise ``SpoolFullError``.

        Where there is no room ``give_up`` is called first, to close the segment of whoever asks: it may be what fills
        the folder, and only when closed can it be taken over or removed.
        """
        until = time.monotonic() + BLOCK_S
        if time.monotonic() < self._refusing_until:
            raise self._full(spool)
        while (room := self._limit - _size_of(spool)) < size:
            give_up()
            if self._policy == "drop_old" and self._drop_oldest(spool):
                continue
            if self._policy != "block" or size > self._limit or time.monotonic() > until:
                self._refusing_until = time.monotonic() + _REFUSING_S
                raise self._full(spool)
            time.sleep(_POLL_S)
        self._granted = min(room, max(size, min(_STEP_BYTES, self._limit // 16))) - size

    def _drop_oldest(self, spool: Path) -> bool:
        """Remove the oldest segment that nobody writes, unless the spool is being drained: then room comes anyway."""
        with taking(spool, wait=False) as held:
            for segment in pending(spool) if held else ():
                if segment.sealed():
                    lost = sum(records(frame) for batch in segment.batches() for frame in batch.frames)
                    segment.remove()
                    if lost:
                        self._on_dropped(lost, self._full(spool))
                    return True
        return False

    def _full(self, spool: Path) -> SpoolFullError:
        return SpoolFullError(
            f"the spool {spool} has reached its {self._limit} bytes ({self._policy}). Take it over with "
            "`ell-otel spool flush` or a running `ell-otel serve`, or raise ELL_OTEL_SPOOL_BYTES"
        )


UNLIMITED: Final = Budget(0)


def records(frame: Frame) -> int:
    """How many spans or log records a frame stands for: one when it is no OTLP, and of a loss event all it counted."""
    try:
        return _records(frame)
    except DecodeError:
        return 1


def _records(frame: Frame) -> int:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    if frame.kind is Kind.TRACES:
        traces = ExportTraceServiceRequest.FromString(frame.payload)
        return sum(len(scope.spans) for resource in traces.resource_spans for scope in resource.scope_spans)
    logs = ExportLogsServiceRequest.FromString(frame.payload)
    scopes = (scope for resource in logs.resource_logs for scope in resource.scope_logs)
    return sum(_meant(record.attributes) for scope in scopes for record in scope.log_records)


def _meant(attributes: object) -> int:
    counts = (pair.value.int_value for pair in attributes if pair.key == semconv.ELL_LOSS_COUNT)  # type: ignore[attr-defined]
    return next(counts, 1)


def _size_of(spool: Path) -> int:
    try:
        with os.scandir(spool) as entries:
            return sum(_size(entry) for entry in entries)
    except OSError:  # not there yet, or no folder: whoever writes to it says so
        return 0


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # taken over meanwhile
        return 0
