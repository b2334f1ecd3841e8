"""The oracle of the fault tests: a ledger that the fault cannot reach, and an audit of the store against it.

The ledger lies on another file system and is synced line by line: ``intent`` before a record is sent, ``acked`` when it
has been acknowledged. After a trial: acked is a part of stored, stored is a part of intents, and every text is whole.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ell_otel.config import resolve
from ell_otel.errors import ExportError
from ell_otel.ingest.drain import drain
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.telemetry.segments import SPOOL_NAME, Kind
from ell_otel.telemetry.spool import SegmentWriter

T0 = 1_760_000_000_000_000_000


def elsewhere() -> Path:
    """A folder on another file system than pytest's, where there is one."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="ell-ledger-", dir=shared if shared.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Ledger:
    """What was meant, accepted and acknowledged. Usable from several threads and processes."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or elsewhere() / "ledger"
        self._fd = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def write(self, what: str, number: int) -> None:
        with self._lock:
            os.write(self._fd, f"{what} {number}\n".encode())
            os.fsync(self._fd)

    def numbers(self, what: str) -> set[int]:
        lines = (line.split() for line in self.path.read_text().splitlines())
        return {int(line[1]) for line in lines if len(line) == 2 and line[0] == what}

    def reaches(self, count: int, what: str = "acked", seconds: float = 60) -> bool:
        """Wait until there are ``count``, however slow the machine is; whether there are."""
        until = time.monotonic() + seconds
        while not (there := len(self.numbers(what)) >= count) and time.monotonic() < until:
            time.sleep(0.02)
        return there


def text_of(number: int) -> str:
    """The text of a record: it can be made again, so its hash need not be kept."""
    return hashlib.sha256(b"%d" % number).hexdigest() * (1 + number % 40)


def span_of(number: int) -> bytes:
    """The request that carries record ``number``."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="ledger", start_time_unix_nano=T0 + number)
    span.trace_id, span.span_id = (number + 1).to_bytes(16, "big"), (number + 1).to_bytes(8, "big")
    span.attributes.add(key="text").value.string_value = text_of(number)
    return request.SerializeToString()


def append(writer: SegmentWriter, ledger: Ledger, numbers: Iterable[int]) -> None:
    """Append these records, and go on when one is refused."""
    for number in numbers:
        ledger.write("intent", number)
        try:
            writer.append(Kind.TRACES, span_of(number))
        except ExportError:
            continue
        ledger.write("acked", number)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Numbers of records, by what is wrong with them, and how often any came twice."""

    acked: int
    lost: set[int]
    invented: set[int]
    changed: set[int]
    duplicates: int


def audit(
    directory: Path, ledger: Ledger, promise: str = "acked", *, waiting: Path | None = None, store: Path | None = None
) -> Verdict:
    """Compare the store, with all that waits for it, to the ledger. ``promise`` is what must not be lost.

    ``waiting`` is where frames wait, when it is not the spool of ``directory``; ``store`` is a folder for a store of
    the audit's own, when there is none in ``directory``.
    """
    waiting = waiting or directory / SPOOL_NAME
    with open_store(resolve({}, dir=str(store or directory)), purpose="audit") as opened:
        migrate(opened)
        drain(waiting.parent, StoreSink(opened), folder=waiting.name)
        sql = "SELECT SpanId AS id, SpanAttributes['text'] AS text FROM otel_traces WHERE SpanName = 'ledger'"
        rows = [(int(str(row["id"]), 16) - 1, str(row["text"])) for row in opened.query(sql)]
    seen = Counter(number for number, _ in rows)
    promised, meant = ledger.numbers(promise), ledger.numbers("intent")
    return Verdict(
        acked=len(promised),
        lost=promised - set(seen),
        invented=set(seen) - meant,
        changed={number for number, text in rows if text != text_of(number)},
        duplicates=sum(seen.values()) - len(seen),
    )


def clean(verdict: Verdict) -> bool:
    """Whether nothing is lost, nothing invented and nothing changed."""
    return not (verdict.lost or verdict.invented or verdict.changed)
