"""Migrations: applied once, completed after a kill, refused when they do not fit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from importlib import resources

import pytest
from store_rows import T0, evaluation, hash_of, invocation, program_event, record, rows_of

from ell_otel import semconv
from ell_otel.config import resolve
from ell_otel.errors import MigrationError, StoreError
from ell_otel.store import queries, targets
from ell_otel.store.client import Store
from ell_otel.store.migrate import _LEDGER, _scripts, migrate, plan, statements, status
from ell_otel.store.writer import LOG_COLUMNS, TRACE_COLUMNS, write

Open = Callable[..., Store]
NAMES = [
    "0001_otel.sql",
    "0002_spans.sql",
    "0003_programs.sql",
    "0004_prices.sql",
    "0005_indexes.sql",
    "0006_parts.sql",
    "0007_merges.sql",
    "0008_blocks.sql",
]


def test_a_dry_run_lists_and_changes_nothing(opened: Open) -> None:
    store = opened()
    assert [applied.name for applied in migrate(store, dry_run=True)] == NAMES
    assert store.query("SHOW TABLES") == []


def test_migrating_twice_applies_everything_once(opened: Open) -> None:
    store = opened()
    assert [applied.name for applied in migrate(store)] == NAMES
    assert migrate(store) == []
    assert all(applied.applied_at is not None for applied in status(store))
    for table, columns in (("otel_traces", TRACE_COLUMNS), ("otel_logs", LOG_COLUMNS)):
        described = {row["name"]: row["type"] for row in store.query(f"DESCRIBE TABLE {table}")}
        assert {name: described[name] for name, _ in columns} == dict(columns)


def test_a_run_stopped_after_any_statement_is_completed_by_the_next(opened: Open) -> None:
    class Killed(Exception):
        pass

    store = opened()
    command, insert = store.command, store.insert
    met: set[tuple[object, ...]] = set()

    def stopping_before(action: Callable[..., None]) -> Callable[..., None]:
        def run(*given: object) -> None:
            what = (given[0], str(given[3])[:30] if len(given) > 3 else "")  # the statement, or the row recorded
            if what not in met:
                met.add(what)
                raise Killed
            action(*given)

        return run

    store.command = stopping_before(command)  # type: ignore[method-assign]
    store.insert = stopping_before(insert)  # type: ignore[method-assign]
    while True:
        try:
            migrate(store)
            break
        except Killed:
            continue
    store.command, store.insert = command, insert  # type: ignore[method-assign]
    assert len(met) > 20
    assert [applied.name for applied in status(store) if applied.applied_at] == NAMES
    write(store, rows_of(invocation(1, "a.b", hash_of("1")), program_event("a.b", hash_of("1"))))
    assert queries.counts(store).invocations == 1


def test_a_store_of_a_newer_release_is_refused_with_the_remedy(opened: Open) -> None:
    store = opened()
    migrate(store)
    store.command("INSERT INTO ell_migrations VALUES (9999, '9999_later.sql', 'x', now64(3))")
    with pytest.raises(MigrationError, match=r"newer release \(schema 9999.*pip install -U ell-otel"):
        migrate(store)


def test_an_edited_file_and_a_gap_in_the_record_are_found(opened: Open) -> None:
    store = opened()
    migrate(store)
    store.command("INSERT INTO ell_migrations VALUES (2, '0002_invocations.sql', 'edited', now64(3) + 1)")
    with pytest.raises(MigrationError, match=r"0002 .* was applied from another file"):
        status(store)
    store.command("ALTER TABLE ell_migrations DELETE WHERE Number = 2 SETTINGS mutations_sync = 1")
    with pytest.raises(MigrationError, match=r"0002 .* is not recorded although a later one is"):
        status(store)


def test_a_store_made_before_the_indexes_of_today_has_them_for_its_old_rows(opened: Open) -> None:
    store = opened()
    for statement in targets.chdb(_LEDGER)[0], *_statements_before(5):
        store.command(statement)
    for script in _scripts()[:4]:
        store.command(f"INSERT INTO ell_migrations VALUES ({script.number}, '', '{script.sha256}', now64(3))")
    version = hash_of("1")
    write(store, rows_of(*(invocation(n, "a.b", version) for n in range(1, 3000))))
    assert [applied.name for applied in migrate(store)] == NAMES[4:]
    made = store.query(
        "SELECT name, data_compressed_bytes AS size FROM system.data_skipping_indices WHERE table = 'ell_spans'"
    )
    assert {row["name"]: int(str(row["size"])) > 1000 for row in made} == {"idx_invocation": True, "idx_trace": True}
    planned = store.query("EXPLAIN indexes = 1 SELECT * FROM ell_spans WHERE InvocationId = 'none'")
    assert sum("Granules: 0/" in str(row["explain"]) for row in planned) >= 1, planned
    assert queries.find_invocation(store, f"{7:08x}".ljust(32, "f")).invocation.program == "a.b"


def _statements_before(number: int) -> Iterator[str]:
    for script in _scripts()[: number - 1]:
        for statement in statements(script.text):
            yield from targets.chdb(statement)


def test_a_failing_statement_is_named_with_what_to_do(opened: Open) -> None:
    store = opened()
    store.command("CREATE TABLE otel_traces (Timestamp DateTime64(9)) ENGINE = MergeTree ORDER BY Timestamp")
    with pytest.raises(MigrationError, match=r"0001_otel.sql stopped at 'CREATE VIEW.*Run `ell-otel migrate`"):
        migrate(store)


def test_tables_made_by_an_older_exporter_stay_and_their_rows_are_lifted(opened: Open) -> None:
    store = opened()
    for table, columns in (("otel_traces", TRACE_COLUMNS), ("otel_logs", LOG_COLUMNS)):
        kept = [(name, "Int64" if name == "Duration" else kind) for name, kind in columns if name != "EventName"]
        store.command(
            f"CREATE TABLE {table} ({', '.join(f'`{name}` {kind}' for name, kind in kept)}) "
            "ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY Timestamp"
        )
    old = rows_of(invocation(1, "a.b", hash_of("1")), program_event("a.b", hash_of("1")))
    write(store, old)
    migrate(store)
    write(store, rows_of(invocation(2, "a.b", hash_of("1")), evaluation(2, "a.b", hash_of("1"), "1")))
    assert [found.id for found in queries.invocations(store)] == [f"{n:08x}".ljust(32, "f") for n in (2, 1)]
    (version,) = queries.versions(store, "b")
    assert (version.invocations, version.score) == (2, 1.0)
    assert queries.find_version(store, "b").source == "# a.b\n"
    (engine,) = store.query(
        "SELECT engine FROM system.tables WHERE name = 'otel_traces' AND database = currentDatabase()"
    )
    assert engine == {"engine": "MergeTree"}


def test_writing_before_migrating_says_what_to_type(opened: Open) -> None:
    with pytest.raises(StoreError, match="no table otel_traces: make it with `ell-otel migrate`"):
        write(opened(), invocation(1, "a.b", hash_of("1")))


def test_statements_end_at_a_semicolon_at_the_end_of_a_line() -> None:
    text = "-- a; comment;\nSELECT ';' AS a,\n-- another;\n  2 AS b;\n\nSELECT 3;\n-- the end"
    assert list(statements(text)) == ["SELECT ';' AS a,\n  2 AS b", "SELECT 3"]


def test_every_attribute_name_in_the_sql_stands_in_semconv() -> None:
    known = {value for value in vars(semconv).values() if isinstance(value, str)}
    package = resources.files("ell_otel.store")
    files = [*(package / "migrations").iterdir(), *(package / "queries").iterdir()]
    text = "".join(file.read_text(encoding="utf-8") for file in files if file.name.endswith((".sql", ".py")))
    used = set(re.findall(r"Attributes\['([^']+)'\]|attributes\['([^']+)'\]", text))
    assert len(used) > 30
    assert {one or other for one, other in used} <= known


def test_every_statement_for_a_cluster_is_one_that_the_engine_can_read(opened: Open) -> None:
    store, on = opened(), r"ON CLUSTER 'it\'s'"
    adapted = [one for text in _texts() for each in statements(text) for one in targets.cluster("it's")(each)]
    for each in adapted:
        store.query(f"EXPLAIN AST {each}")
        assert on in each.partition("\n")[0], each
    text = "\n".join(adapted)
    for table in ("otel_traces", "otel_logs", "ell_spans", "ell_evaluations", "ell_program_sources", "ell_labels"):
        assert f"CREATE TABLE IF NOT EXISTS {table}_local {on}" in text
        assert f"Distributed('it\\'s', currentDatabase(), {table}_local, " in text
    assert f"ell_spans_mv {on} TO ell_spans_local AS" in text
    assert "FROM otel_traces_local" in text
    replicated = re.findall(r"ENGINE = Replicated\w+\('(/clickhouse/[^']+)', '([^']+)'(?:, CheckedOn)?\)", text)
    assert len(replicated) == 7
    assert all("{shard}" in path + replica and "{replica}" in replica for path, replica in replicated)


def test_a_cluster_needs_a_server_and_tables_over_all_its_nodes(opened: Open) -> None:
    with pytest.raises(MigrationError, match=r"is no cluster: name a server of main with --store"):
        migrate(opened(), resolve({}, cluster="main"))


def test_the_plan_is_what_a_run_would_do(opened: Open) -> None:
    store = opened()
    planned = plan(store, resolve({}, keep=("otel_traces=30",)))
    assert store.query("SHOW TABLES") == []
    for statement in planned:
        store.command(statement)
    assert planned[-1] == "ALTER TABLE otel_traces MODIFY TTL toDateTime(Timestamp) + toIntervalDay(30)"
    write(store, invocation(1, "a.b", hash_of("1"), Timestamp=time.time_ns()))
    assert queries.counts(store).invocations == 1


def _texts() -> list[str]:
    folder = resources.files("ell_otel.store") / "migrations"
    return [(folder / name).read_text(encoding="utf-8") for name in NAMES]


def test_a_label_points_where_it_was_put_last_and_edges_come_from_events(opened: Open) -> None:
    store = opened()
    migrate(store)
    event = {"event.name": "ell.label", "ell.program.name": "a.b", "ell.label.name": "production"}
    for n in (1, 2):
        put = record({**event, "ell.program.version": hash_of(str(n))}, Timestamp=T0 + n)
        write(store, rows_of(put, put))
    sql = "SELECT argMax(ProgramVersion, Timestamp) AS version, count() AS puts FROM ell_labels FINAL"
    assert store.query(sql) == [{"version": hash_of("2"), "puts": 2}]
    uses = {"ell.program.uses": '[{"name": "a.c", "version": "c1:2"}]'}
    write(store, program_event("a.b", hash_of("1"), attributes=uses))
    (edge,) = store.query("SELECT ProgramName, Kind, TargetName, TargetVersion FROM ell_program_edges")
    assert edge == {"ProgramName": "a.b", "Kind": "uses", "TargetName": "a.c", "TargetVersion": "c1:2"}
