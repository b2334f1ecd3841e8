"""The tables as a cluster has them: every query over Distributed tables, of which each shard is this process itself.

Two shards that are one hold every row twice, and there is no Keeper, so this is about whether ClickHouse takes the
statements (it refuses subqueries over two Distributed tables, for one), not about figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import chdb
import pytest
from grafana import expanded, interpolated, queries
from store_rows import T0, evaluation, hash_of, id_of, inference, invocation, program_event, rows_of

from ell_otel.dashboards import alerts, dashboards
from ell_otel.errors import StoreError
from ell_otel.store import migrate, targets
from ell_otel.store.client import Store
from ell_otel.store.lifting import lift, lifting
from ell_otel.store.queries import (
    InvocationFilter,
    counts,
    find_invocation,
    find_version,
    invocations,
    programs,
    trace,
    unpriced_models,
    versions,
)
from ell_otel.store.writer import Rows, write

SHARD = "<shard><replica><host>{}</host><port>9000</port></replica></shard>"
VERSION = hash_of("aaaaaa")
CHOSEN = dict.fromkeys(("service", "program", "model", "version", "status"), "*") | {"slower_than_ms": "0"}
CHOSEN |= {"search": "gare", "trace": f"{1:032x}", "invocation": id_of(1), "before": VERSION, "after": VERSION}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("cluster")
    config = folder / "config.xml"
    shards = SHARD.format("127.0.0.1") + SHARD.format("localhost")
    # chDB listens nowhere, but takes a shard at this machine's port 9000 for itself when told so.
    servers = f"<tcp_port>9000</tcp_port><remote_servers replace='1'><ell>{shards}</ell></remote_servers>"
    config.write_text(f"<clickhouse>{servers}</clickhouse>")
    first = chdb.connect(f"{folder / 'db'}?config-file={config}")
    for name in ("node", "whole"):
        first.query(f"CREATE DATABASE {name}")
    options = {"interface": "chdb", "path": str(folder / "db"), "chdb_options": {"config-file": str(config)}}
    node, whole = (Store(name, {**options, "database": name}) for name in ("node", "whole"))
    for script in migrate._scripts():
        for statement in migrate.statements(script.text):
            for adapted in targets.cluster("ell")(statement):
                _make(adapted, node, whole)
    write(whole, rows_of(*(part for n in range(1, 25) for part in _run(n)), program_event("app.greet", VERSION)))
    yield whole
    node.close()
    whole.close()
    first.close()


def _make(statement: str, node: Store, whole: Store) -> None:
    """What a cluster makes everywhere is made once: what is of a node in one database, what is over them in another."""
    statement = statement.replace(" ON CLUSTER 'ell'", "").replace("currentDatabase()", "'node'")
    statement = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?([^)]*)\)", r"\1(\2)", statement)
    statement = re.sub(r" AS (\w+_local)\n", r" AS node.\1\n", statement)
    of_a_node = "MATERIALIZED VIEW" in statement or re.match(
        r"(CREATE TABLE IF NOT EXISTS|ALTER TABLE) \w+_local", statement
    )
    (node if of_a_node else whole).command(statement)


def _run(n: int) -> Iterator[Rows]:
    yield invocation(n, "app.greet", VERSION)
    yield inference(n, "app.greet", VERSION, "gpt-4o-mini", {"input_tokens": 10})
    yield evaluation(n, "app.greet", VERSION, "1")


def test_a_subquery_over_two_distributed_tables_is_refused_here_as_it_would_be_there(store: Store) -> None:
    with pytest.raises(StoreError, match="Double-distributed"):
        store.query("SELECT count() FROM ell_spans WHERE TraceId IN (SELECT TraceId FROM ell_spans)")


def test_a_row_is_lifted_on_its_node_and_read_over_all_of_them(store: Store) -> None:
    rows = store.query("SELECT uniqExact(InvocationId) AS runs, count() AS rows FROM ell_invocations")
    assert rows == [{"runs": 24, "rows": 48}]


def test_what_a_table_lacks_is_lifted_over_all_nodes_and_what_it_has_is_not(store: Store) -> None:
    views = [
        view for script in migrate._scripts() for each in migrate.statements(script.text) if (view := lifting(each))
    ]
    (view,) = (view for view in views if view.target == "ell_spans")
    runs = "SELECT uniqExact(InvocationId) AS runs, count() AS rows FROM ell_spans"
    before = store.query(runs)
    for each in views:
        lift(store, each)
    assert store.query(runs) == before
    store.command(
        "ALTER TABLE node.ell_spans_local DELETE WHERE SpanId < '0000000000000010' SETTINGS mutations_sync = 1"
    )
    assert store.query(runs) != before
    lift(store, view)
    assert store.query(f"{runs} FINAL") == before


def test_every_panel_and_every_rule_is_answered(store: Store) -> None:
    asked = [(title, query["rawSql"]) for each in dashboards().values() for title, query in queries(each)]
    asked += [(rule["title"], rule["data"][0]["model"]["rawSql"]) for rule in alerts()["groups"][0]["rules"]]
    for title, sql in asked:
        try:
            store.query(expanded(interpolated(sql, CHOSEN), T0 // 10**9 - 60, T0 // 10**9 + 600))
        except StoreError as error:
            pytest.fail(f"{title}: {error}")


@pytest.mark.parametrize(
    "ask",
    [
        programs,
        counts,
        unpriced_models,
        lambda store: versions(store, "app.greet"),
        lambda store: find_version(store, VERSION),
        lambda store: invocations(store, InvocationFilter(model="gpt-4o-mini", text="gare", program="app.greet")),
        lambda store: find_invocation(store, id_of(1)),
        lambda store: trace(store, f"{1:032x}"),
    ],
)
def test_every_question_of_the_shell_is_answered(store: Store, ask: Callable[[Store], object]) -> None:
    assert ask(store) is not None
