"""Where frames go from a spool: one protocol, ``Sink``, and its first implementation, the store.

A sink makes what it is given durable, or raises, and then the frames stay where they were. What it refuses for good is
bisected, so that one bad row costs itself: it comes back in ``Taken.aside`` and is put in quarantine. A store without
room or memory is no row's fault, though it may refuse large inserts and take small ones: all of them wait.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ell_otel.errors import DecodeError, StoreError
from ell_otel.ingest import decode
from ell_otel.ingest.spans import messages
from ell_otel.store.client import Store
from ell_otel.store.messages import POSSIBLE, write_messages
from ell_otel.store.writer import LOG_COLUMNS, TRACE_COLUMNS, Rows, write
from ell_otel.telemetry.segments import Frame, Kind

_DECODE: Final = {Kind.TRACES: decode.traces, Kind.LOGS: decode.logs}
# Codes of the engine that speak of its state: files, sockets, time, memory, room, threads, too many parts, replicas.
_UNWELL: Final = re.compile(
    r"\bCode: (7[4-7]|88|95|96|107|159|160|173|198|20[239]|210|236|24[123]|252|285|319|394|425|439|473|499|999)\b"
    "|No space left|Read-only file system|Permission denied|Too many open files"
)
_MANY_BYTES: Final = 4 << 20
_TRIES: Final = 64  # inserts of a refused batch without one that is accepted: then it is not the rows that are bad


@dataclass(slots=True)
class Taken:
    """What a sink has made durable, and what it never will: (kind of thing, its bytes)."""

    spans: int = 0
    records: int = 0
    aside: list[tuple[str, bytes]] = field(default_factory=list)


class Sink(Protocol):
    """The next hop."""

    @property
    def name(self) -> str: ...
    def put(self, frames: Sequence[Frame]) -> Taken:
        """Raises ``StoreError`` or ``ExportError`` when not all of them are durable; giving them again is harmless."""
        ...


class StoreSink:
    """Decodes frames into rows and inserts them. ``insert`` makes rows durable before it returns, or raises.

    Many spans for the engine of this process are decoded by the engine, which takes a third of Python's time for it and
    can do it on another core. It costs 30 ms more to plan, and so does not pay for few.
    """

    def __init__(self, store: Store, insert: Callable[[Store, Rows], None] = write) -> None:
        self.name = store.name
        self._store = store
        self._insert = insert

    def put(self, frames: Sequence[Frame]) -> Taken:
        taken, rest = self._by_the_engine(frames) if self._many_here(frames) else (Taken(), frames)
        rows = Rows()
        for frame in rest:
            try:
                rows.extend(_DECODE[frame.kind](frame.payload))
            except DecodeError:
                taken.aside.append((frame.kind.name.lower(), frame.payload))
        bad = self._write(rows)
        taken.spans += rows.spans
        taken.records += rows.records
        for row in bad:
            taken.spans -= row.spans
            taken.records -= row.records
            taken.aside.append(("row.json", _as_json(row)))
        return taken

    def _many_here(self, frames: Sequence[Frame]) -> bool:
        size = sum(len(frame.payload) for frame in frames if frame.kind is Kind.TRACES)
        return POSSIBLE and self._store.local and size >= _MANY_BYTES

    def _by_the_engine(self, frames: Sequence[Frame]) -> tuple[Taken, Sequence[Frame]]:
        """What became of the spans, and the frames that are left to decode here: all, where it refuses the spans."""
        taken = Taken()
        try:
            write_messages(self._store, _messages(frames, taken))
        except StoreError as error:
            if _unwell(error):
                raise
            return Taken(), frames
        return taken, [frame for frame in frames if frame.kind is not Kind.TRACES]

    def _write(self, rows: Rows) -> list[Rows]:
        """Insert; the rows, one by one, that the store refuses while it takes their neighbours."""
        pending, bad, tries, accepted = [rows], [], 0, rows.spans + rows.records == 0
        while pending:
            part = pending.pop()
            try:
                self._insert(self._store, part)
                accepted = True
            except StoreError as error:
                tries += 1
                if _unwell(error) or (tries > _TRIES and not accepted):
                    raise
                pending += reversed(halves) if (halves := part.halves()) else []
                bad += [] if halves else [part]
                reason = error
        if not accepted:  # the neighbours fared no better: it is the store that is unwell
            raise reason
        return bad


def _messages(frames: Sequence[Frame], taken: Taken) -> Iterator[list[bytes]]:
    for frame in frames:
        if frame.kind is Kind.TRACES:
            try:
                count, spans = messages(frame.payload)
            except DecodeError:
                taken.aside.append((frame.kind.name.lower(), frame.payload))
            else:
                taken.spans += count
                yield spans


def _unwell(error: StoreError) -> bool:
    return error.retryable or _UNWELL.search(str(error.__cause__ or error)) is not None


def _as_json(row: Rows) -> bytes:
    columns, data = (TRACE_COLUMNS, row.traces) if row.spans else (LOG_COLUMNS, row.logs)
    named = {name: values[0] for (name, _), values in zip(columns, data, strict=True)}
    return json.dumps(named, ensure_ascii=True, default=str).encode()
