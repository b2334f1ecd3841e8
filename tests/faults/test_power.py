"""The power cut at every moment of a real run: what its system calls had made durable by then, against what was promised.

``strace`` writes down each write, fsync and rename of an application. A file that is only appended to was, at any moment,
the beginning of what it is in the end; a power cut leaves as much of that as had been synced, and only under names whose
folder had been. (Disks that lose power in earnest are beyond this; ``test_segments_model`` has one that lies worse.)
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from machine import need
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from oracle import Ledger
from victims import HERE, strace, write

from ell_otel.telemetry.segments import pending
from ell_otel.telemetry.spool import FSYNC_INTERVAL_S

LINE = re.compile(r"(?P<pid>\d+) +(?P<time>[\d.]+) (?P<call>.*)")
WRITE = re.compile(r'write\(\d+<(?P<path>[^>]*)>, "(?P<text>[^"]*)".* = (?P<size>\d+)$')
SYNC = re.compile(r"fsync\(\d+<(?P<path>[^>]*)>")
UNFINISHED = " <unfinished ...>"
SYNCED = re.compile(r"f(?:data)?sync\(\d+<([^>]*)>")
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
    cut: dict[str, str] = {}  # by thread: a call that another's interrupted in the log
    for line in filter(None, map(LINE.match, trace.read_text().splitlines())):
        call, pid = line["call"], line["pid"]
        if done := SYNC.match(call):
            begun[pid] = (done["path"], disk.written.get(done["path"], 0), set(disk.names))
        if call.endswith(UNFINISHED):
            cut[pid] = call.removesuffix(UNFINISHED)
            continue
        if "resumed>" in call:
            call = cut.pop(pid) + call.partition("resumed>")[2]
        if (done := WRITE.match(call)) and done["path"] == str(ledger) and done["text"].startswith("acked"):
            acked = acked | {int(done["text"].split()[1].removesuffix("\\n"))}
        elif done:
            disk.written[done["path"]] = disk.written.get(done["path"], 0) + int(done["size"])
        elif done := RENAME.match(call):
            disk.names.add(done["path"])
        elif SYNC.match(call) and call.endswith(
            "= 0"
        ):  # as it was when the call began: what came meanwhile may be lost
            disk.sync(*begun[pid])
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


INSERT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from oracle import Ledger, span_of
from ell_otel.config import resolve
from ell_otel.ingest import decode
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write
ledger = Ledger(Path(sys.argv[3]))
with open_store(resolve({}, dir=sys.argv[2]), purpose="power") as store:
    migrate(store)
    write(store, decode.traces(span_of(0)))
    for number in range(1, 4):
        ledger.write("intent", number)
        write(store, decode.traces(span_of(number)))
        ledger.write("acked", number)
"""


def test_an_insert_has_synced_the_files_and_the_folder_of_its_part_before_it_returns(tmp_path: Path) -> None:
    """So that what delivery acknowledges is as durable as the segment that it then removes."""
    ledger, trace = Ledger(), tmp_path / "trace"
    need("strace", "strace")
    head = ["strace", "-f", "-qq", "-y", "-s", "64", "-e", "trace=write,fsync,fdatasync", "-o", str(trace)]
    command = [sys.executable, "-c", INSERT, str(HERE), str(tmp_path / ".ell"), str(ledger.path)]
    subprocess.run([*head, *command], check=True, capture_output=True, timeout=120)
    lines = trace.read_text().splitlines()
    for number in range(1, 4):
        begin = next(index for index, line in enumerate(lines) if f'"intent {number}\\n' in line)
        end = next(index for index, line in enumerate(lines) if f'"acked {number}\\n' in line)
        synced = {found[1] for line in lines[begin:end] if (found := SYNCED.search(line))}
        files = {path for path in synced if path.endswith((".bin", ".cmrk2", ".cmrk4", ".mrk2", ".txt", ".idx"))}
        assert files, synced
        assert any(path.rstrip("/").rpartition("/")[2].startswith(("tmp_insert", "2025")) for path in synced - files)
