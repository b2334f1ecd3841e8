"""Rows in: all of them once, whatever they hold, however often they are sent."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from store_rows import MS, T0, evaluation, hash_of, inference, invocation, program_event, rows_of, span

from ell_otel.store import queries
from ell_otel.store.client import Store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import Rows, write

Open = Callable[..., Store]
LAST_NS = 2**63 - 1


def test_what_is_sent_again_counts_once_before_and_after_the_merge(opened: Open) -> None:
    store = opened()
    migrate(store)
    version = hash_of("1")
    rows = rows_of(
        invocation(1, "a.b", version),
        inference(1, "a.b", version, "gpt-4o", {"input_tokens": 1000, "output_tokens": 100}),
        program_event("a.b", version, attributes={"ell.program.uses": '[{"name": "a.c", "version": "c1:2"}]'}),
        evaluation(1, "a.b", version, "0.5"),
    )
    for _ in range(3):
        write(store, rows)
    before = _summary(store)
    for table in ("otel_traces", "otel_logs", "ell_spans", "ell_program_sources", "ell_evaluations"):
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    assert _summary(store) == before == (1, 1, 1, 1, 1000, 0.0035, 0.5, 1, 2)
    counts = queries.counts(store)
    assert (counts.spans, counts.records) == (2, 2)


def _summary(store: Store) -> tuple[object, ...]:
    (program,) = queries.programs(store)
    (version,) = queries.versions(store, "a.b")
    (listed,) = queries.invocations(store)
    detail = queries.find_invocation(store, listed.id)
    counts = queries.counts(store)
    return (
        program.invocations,
        version.invocations,
        len(detail.inferences),
        len(detail.evaluations),
        listed.input_tokens,
        listed.cost,
        version.score,
        len(queries.find_version(store, "a.b").uses),
        counts.invocations + counts.inferences,
    )


def test_odd_values_are_kept_as_they_are(opened: Open) -> None:
    store = opened()
    migrate(store)
    version, odd = hash_of("1"), "nul\0 quote' back\\slash \u2028 😀 {x:String} %s"
    rows = rows_of(
        invocation(1, "a.b", version, Timestamp=0, Duration=2**63, attributes={"ell.invocation.result": odd}),
        invocation(2, "a.b", version, Timestamp=LAST_NS, Duration=2**64 - 1, StatusCode="Error", StatusMessage=odd),
        inference(1, "a.b", version, odd, {"input_tokens": 2**63, "output_tokens": -1}, Timestamp=1),
        evaluation(1, "a.b", version, "NaN"),
        evaluation(1, "a.b", version, "Infinity", Timestamp=T0 + 1),
        evaluation(1, "a.b", version, "no number", Timestamp=T0 + 2),
    )
    write(store, rows)
    last, first = queries.invocations(store)
    assert (first.started, first.duration_ms) == (datetime(1970, 1, 1, tzinfo=UTC), 2**63 / 1e6)
    assert (last.started.year, last.error, last.status) == (2262, odd, "error")
    detail = queries.find_invocation(store, first.id)
    assert detail.result == odd
    assert (detail.inferences[0].request_model, detail.inferences[0].input_tokens) == (odd, None)
    assert [found.score for found in detail.evaluations] == [None, None, None]
    (known,) = queries.versions(store, "a.b")
    assert known.score is None
    assert known.cost is None
    assert all(not isinstance(value, float) or math.isfinite(value) for value in (known.p50_ms, known.p95_ms))


def test_what_a_large_delivery_makes_is_a_dozen_files(opened: Open) -> None:
    store = opened()
    migrate(store)
    version = hash_of("1")
    text = " ".join(hash_of(f"{n:x}") for n in range(300))
    write(
        store,
        rows_of(*(invocation(n, "a.b", version, attributes={"ell.invocation.arguments": text}) for n in range(1500))),
    )
    (part,) = store.query(
        "SELECT files, data_uncompressed_bytes AS size FROM system.parts WHERE active AND table = 'otel_traces'"
    )
    assert int(str(part["size"])) > 20 << 20, "more than the engine's default of 10 MB"
    assert int(str(part["files"])) < 20


def test_a_batch_may_touch_more_days_than_the_engine_allows_by_default(opened: Open) -> None:
    store = opened()
    migrate(store)
    write(store, rows_of(*(invocation(n, "a.b", hash_of("1"), Timestamp=T0 + n * 86_400_000 * MS) for n in range(130))))
    assert queries.counts(store).invocations == 130


def test_nested_columns_and_an_empty_batch_are_written(opened: Open) -> None:
    store = opened()
    migrate(store)
    write(store, Rows())
    write(
        store,
        span(
            {},
            Events__Timestamp=[T0, T0 + 1],
            Events__Name=["a", "b"],
            Events__Attributes=[{"k": "v"}, {}],
            Links__TraceId=["t"],
            Links__SpanId=["s"],
            Links__TraceState=[""],
            Links__Attributes=[{}],
        ),
    )
    (row,) = store.query("SELECT `Events.Name` AS names, `Events.Attributes` AS attributes FROM otel_traces")
    assert row == {"names": ["a", "b"], "attributes": [{"k": "v"}, {}]}


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from store_rows import invocation, hash_of, rows_of
from ell_otel.config import resolve
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write
store = open_store(resolve({}, dir=sys.argv[1]), purpose="to be killed")
migrate(store)
for n in range(10):
    write(store, rows_of(*(invocation(100 * n + k, "a.b", hash_of("1")) for k in range(100))))
    print(n, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_written_is_there_after_kill_9(tmp_path: Path, opened: Open) -> None:
    folder = str(Path(__file__).parent)
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / ".ell"), folder], capture_output=True, text=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert process.stdout.split() == [str(n) for n in range(10)]
    store = opened()
    assert queries.counts(store).invocations == queries.counts(store).spans == 1000
    assert store.local
    assert os.path.isdir(tmp_path / ".ell" / "store")
