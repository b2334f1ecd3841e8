"""Records that a collector refuses for what they are, kept beside the spool instead of being lost.

They lie in ``<.ell>/refused/`` as segments, so whoever has found out what is wrong with them, or with the collector,
can move the segments into the spool, where everything that reads it takes them over. They are counted as lost all the
same: they are not where they were sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ell_otel import config
from ell_otel.errors import ExportError
from ell_otel.telemetry.budget import Budget
from ell_otel.telemetry.guard import guarded
from ell_otel.telemetry.segments import Kind
from ell_otel.telemetry.spool import SegmentWriter

REFUSED_NAME: Final = "refused"
MAX_BYTES: Final = 64 << 20
"""Of all that is kept here; what is refused first says most about why."""


class Refused:
    """The folder of refused records, made with the first of them."""

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._writer: SegmentWriter | None = None

    def keep(self, kind: Kind, payload: bytes) -> Path | None:
        """Write an export request there, synced; the folder, or None where that cannot be done, which is told."""
        with guarded("keeping what a collector refused"):
            if self._writer is None:
                self._writer = self._begun()
            self._writer.append(kind, payload)
            return self._writer.spool
        return None

    def close(self) -> None:
        """Give the segment up, so that others may move it."""
        with guarded("keeping what a collector refused"):
            if self._writer is not None:
                self._writer.close()

    def _begun(self) -> SegmentWriter:
        directory = config.find_directory(self._settings)
        try:
            config.make_directory(directory)
        except OSError as error:
            raise ExportError(f"cannot make {directory}: {error.strerror}; name another with ELL_OTEL_DIR") from error
        return SegmentWriter(
            directory / REFUSED_NAME,
            segment_bytes=self._settings.segment_bytes,
            durability="strict",
            budget=Budget(MAX_BYTES, "drop_new"),
        )
