"""The power cut at every moment of a real run: what its system calls had made durable by then, against what was promised.

``strace`` writes down each write, fsync and rename of an application. A file that is only appended to was, at any moment,
the beginning of what it is in the end; a power cut leaves as much of that as had been synced, and only under names whose
folder had been. (Disks that lose power in earnest are beyond this; ``test_segments_model`` has one that lies worse.)
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from oracle import Ledger
from victims import strace, write

from ell_otel.telemetry.segments import pending
from ell_otel.telemetry.spool import FSYNC_INTERVAL_S

LINE = re.compile(r"(?P<pid>\d+) +(?P<time>[\d.]+) (?P<call>.*)")
WRITE = re.compile(r'write\(\d+<(?P<path>[^>]*)>, "(?P<text>[^"]*)".* = (?P<size>\d+)$')
SYNC = re.compile(r"fsync\(\d+<(?P<path>[^>]*)>")
RENAME = re.compile(r'rename\("[^"]*", "(?P<path>[^"]*)"\) += 0')


@dataclass
class Disk:
    """What has been written and what of that a power cut leaves."""

    written: dict[str, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    synced: dict[str, int] = field(default_factory=dict)
    synced_names: set[str] = field(default_factory=set)

    def sync(self, path: str, size: int, names: set[str]) -> None:
        self.synced[path] = max(size, self.synced.get(path, 0))
        self.synced_names |= {name for name in names if name.startswith(f"{path}/")}


def moments(trace: Path, ledger: Path, frames: dict[int, tuple[str, int]]) -> list[tuple[float, set[int], set[int]]]:
    """After every system call: the time, the records acknowledged and the records that a power cut would leave."""
    disk, acked, found = Disk(), set(), []
    begun: dict[str, tuple[str, int, set[str]]] = {}
    for line in filter(None, map(LINE.match, trace.read_text().splitlines())):
        call = line["call"]
        if (done := WRITE.match(call)) and done["path"] == str(ledger) and done["text"].startswith("acked"):
            acked = acked | {int(done["text"].split()[1].removesuffix("\\n"))}
        elif done:
            disk.written[done["path"]] = disk.written.get(done["path"], 0) + int(done["size"])
        elif done := RENAME.match(call):
            disk.names.add(done["path"])
        elif done := SYNC.match(call):
            begun[line["pid"]] = (done["path"], disk.written.get(done["path"], 0), set(disk.names))
        if "fsync" in call and call.endswith("= 0"):  # as it was when the call began: what came meanwhile may be lost
            disk.sync(*begun.pop(line["pid"]))
        left = {n for n, (path, end) in frames.items() if path in disk.synced_names and end <= disk.synced.get(path, 0)}
        found.append((float(line["time"]), acked, left))
    return found


def run(tmp_path: Path, durability: str, records: int) -> list[tuple[float, set[int], set[int]]]:
    ledger, trace = Ledger(), tmp_path / "trace"
    head = [each for each in strace() if each not in {"-o", "/dev/null"}]
    head += ["-ttt", "-y", "-s", "64", "-e", "trace=write,fsync,rename", "-o", str(trace)]
    assert write(tmp_path / ".ell", ledger, 0, records, durability, *head) == 0
    frames = {}
    for segment in pending(tmp_path / ".ell" / "spool"):
        for batch in segment.batches():
            for frame in batch.frames:
                span = ExportTraceServiceRequest.FromString(frame.payload).resource_spans[0].scope_spans[0].spans[0]
                frames[int.from_bytes(span.span_id, "big") - 1] = (str(segment.path), frame.end)
    assert len(frames) == records
    found = moments(trace, ledger.path, frames)
    assert len(found[-1][1]) == records
    return found


def test_strict_every_record_that_was_accepted_survives_a_power_cut_at_every_moment(tmp_path: Path) -> None:
    found = run(tmp_path, "strict", 60)
    assert len(found) > 240
    assert [acked - left for _, acked, left in found if acked - left] == []


def test_in_a_group_a_power_cut_takes_no_more_than_the_last_moments(tmp_path: Path) -> None:
    found = run(tmp_path, "group", 400)
    accepted: dict[int, float] = {}
    waited: dict[int, float] = {}
    for time, acked, left in found:
        for number in acked - accepted.keys():
            accepted[number] = time
        for number in (acked & left) - waited.keys():
            waited[number] = time - accepted[number]
    end = found[-1][0]
    missing = [
        number for number, time in accepted.items() if number not in waited and time < end - 10 * FSYNC_INTERVAL_S
    ]
    assert missing == []
    assert len(waited) > 100
    assert statistics.median(waited.values()) <= 1.5 * FSYNC_INTERVAL_S
