"""docker-compose.yml and what it mounts, as far as it can be tried without Docker: the compose library resolves the file,
and ClickHouse's own engine reads its configuration and says what each user may do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
CLICKHOUSE = ROOT / "collector" / "clickhouse"
PASSWORDS = {
    f"ELL_{name}_PASSWORD": f"secret-of-{name.lower()}"
    for name in ("CLICKHOUSE", "INGEST", "GRAFANA_READER", "GRAFANA_ADMIN")
}
OTELCOL = ROOT / "build" / "otelcol"
RESOLVER = ROOT / "build" / "clients" / "compose"
resolved = pytest.mark.skipif(
    not RESOLVER.exists(), reason="build/clients/compose is missing: `make clients` builds it, with Go"
)
# What exits when it has done its work, and an image with nothing in it but the binary.
WITHOUT_HEALTH = {"migrate", "migrate-cluster", "demo", "collector"}


def resolve(profiles: str, **passwords: str) -> subprocess.CompletedProcess[str]:
    """What Docker's own library makes of the compose file."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), "COMPOSE_PROFILES": profiles, **passwords}
    command = [RESOLVER, ROOT / "docker-compose.yml"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def services(profiles: str) -> dict[str, dict[str, Any]]:
    done = resolve(profiles, **PASSWORDS)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return found


# -- the compose file -------------------------------------------------------------------------------------------------


@resolved
def test_each_profile_has_its_services_and_no_others() -> None:
    common = {"collector", "grafana"}
    assert set(services("single")) == {*common, "clickhouse", "migrate"}
    nodes = {f"clickhouse-{shard}{replica}" for shard in "12" for replica in "ab"}
    keepers = {f"keeper-{number}" for number in "123"}
    assert set(services("cluster,demo")) == {*common, *nodes, *keepers, "migrate-cluster", "demo"}


@resolved
@pytest.mark.parametrize("missing", PASSWORDS)
def test_no_password_has_a_default(missing: str) -> None:
    done = resolve("single", **{name: value for name, value in PASSWORDS.items() if name != missing})
    assert done.returncode != 0
    assert missing in done.stderr
    assert "top of docker-compose.yml" in done.stderr


@resolved
@pytest.mark.parametrize("profiles", ["single,demo", "cluster,demo"])
def test_images_are_pinned_ports_are_local_and_services_watched(profiles: str) -> None:
    found = services(profiles)
    for name, service in found.items():
        tag = service["image"].rpartition(":")[2]
        assert any(digit in tag for digit in "0123456789") or "build" in service, service["image"]
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}, name
        assert ("healthcheck" in service) != (name in WITHOUT_HEALTH), name
        assert service["logging"]["options"]["max-size"], name
    published = [port["published"] for service in found.values() for port in service.get("ports", ())]
    assert len(published) == len(set(published))


@resolved
@pytest.mark.parametrize("profiles", ["single,demo", "cluster,demo"])
def test_every_file_that_is_mounted_is_there_and_read_only(profiles: str) -> None:
    for service in services(profiles).values():
        for volume in service.get("volumes", ()):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume["source"]
                assert volume["read_only"], volume["source"]
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


@resolved
def test_what_a_configuration_reads_from_the_environment_is_set() -> None:
    for service in (*services("single").values(), *services("cluster").values()):
        bound = [Path(each["source"]) for each in service.get("volumes", ()) if each["type"] == "bind"]
        mounted = [path for each in bound for path in (each.rglob("*") if each.is_dir() else [each])]
        for path in (each for each in mounted if each.suffix in {".xml", ".yaml"}):
            wanted = re.findall(r'from_env="(\w+)"|\$\{(?:env:)?(\w+)\}', path.read_text())
            assert {name for names in wanted for name in names if name} <= set(service["environment"]), path


@resolved
@pytest.mark.skipif(not OTELCOL.exists(), reason="build/otelcol is missing: `make collector` builds it, with Go")
def test_the_collector_takes_its_file_with_the_environment_it_is_given() -> None:
    service = services("single")["collector"]
    (file,) = (volume["source"] for volume in service["volumes"] if volume["type"] == "bind")
    environment = {**service["environment"], "PATH": os.environ["PATH"]}
    command = [OTELCOL, "validate", "--config", file]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@resolved
def test_a_cluster_is_reached_under_the_name_of_the_single_server() -> None:
    nodes = [each for name, each in services("cluster").items() if name.startswith("clickhouse-")]
    assert [node["networks"]["default"]["aliases"] for node in nodes] == [["clickhouse"]] * 4
    assert {(node["environment"]["ELL_SHARD"], node["environment"]["ELL_REPLICA"]) for node in nodes} == {
        (shard, replica) for shard in "12" for replica in "ab"
    }


@resolved
def test_the_keepers_name_each_other() -> None:
    keepers = ElementTree.parse(CLICKHOUSE / "keeper.xml")
    there = {server.findtext("id"): server.findtext("hostname") for server in keepers.iter("server")}
    found = services("cluster")
    assert {found[str(name)]["environment"]["ELL_KEEPER_ID"]: name for name in there.values()} == there
    asked = [node.findtext("host") for node in ElementTree.parse(CLICKHOUSE / "cluster.xml").iter("node")]
    assert sorted(map(str, asked)) == sorted(map(str, there.values()))


# -- ClickHouse's configuration, read by ClickHouse's engine ----------------------------------------------------------

ASK = """
import json, sys
from ell_otel.store.client import Store
from ell_otel.store.migrate import migrate
path, config, statements = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
store = Store("test", {"interface": "chdb", "path": path, "database": "kept", "chdb_options": {"config-file": config}})
answers = []
for statement in statements:
    try:
        if statement == "migrate":
            answers.append(len(migrate(store)))
        elif statement.startswith(("SELECT", "WITH")):
            answers.append([list(row.values()) for row in store.query(statement)])
        else:
            store.command(statement)
            answers.append("done")
    except Exception as error:
        answers.append(f"{type(error).__name__}: {error}")
store.close()
print(json.dumps(answers, default=str))
"""


MAKE = "import chdb, sys; chdb.connect(sys.argv[1]).query('CREATE DATABASE kept')"


def ask(folder: Path, *statements: str, user: str = "", files: tuple[str, ...] = ()) -> list[Any]:
    """The answers of chDB that has been given the files, to a user of users.xml if one is named.

    chDB always is the user ``default``, and allows all by default: so the user in question takes that name. And its
    database ``default`` shows files as tables, so the tables stand in another, of which the grants are then.
    """
    shutil.rmtree(folder / "conf", ignore_errors=True)
    (folder / "conf" / "config.d").mkdir(parents=True)
    for name in files:
        tree = ElementTree.parse(CLICKHOUSE / name)
        for logger in tree.findall("logger"):
            tree.getroot().remove(logger)  # it would speak where the answers are
        for disk in tree.findall("storage_configuration/disks/s3"):
            ElementTree.SubElement(disk, "skip_access_check").text = "1"  # there is no S3 here
        tree.write(folder / "conf" / "config.d" / name)
    users = f"<users_config>{folder}/conf/users.xml</users_config>" if user else ""
    (folder / "conf" / "config.xml").write_text(f"<clickhouse>{users}</clickhouse>")
    if user:
        _named_default(user).write(folder / "conf" / "users.xml")
    environment = os.environ | PASSWORDS | {"ELL_SHARD": "2", "ELL_REPLICA": "b"}
    environment |= {"ELL_S3_ENDPOINT": "http://127.0.0.1:1/bucket/x/", "ELL_S3_KEY": "k", "ELL_S3_SECRET": "s"}
    arguments = [str(folder / "db"), str(folder / "conf" / "config.xml"), json.dumps(statements)]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def _named_default(user: str) -> ElementTree.ElementTree:
    tree = ElementTree.parse(CLICKHOUSE / "users.xml")
    users = tree.getroot().find("users")
    assert users is not None
    for each in list(users):
        if each.tag != user:
            users.remove(each)
    one = users[0]
    one.tag = "default"
    for password in one.findall("password"):
        one.remove(password)
    ElementTree.SubElement(one, "password")
    for grant in one.iter("query"):
        grant.text = str(grant.text).replace(" default.", " kept.")
    quotas = tree.getroot().find("quotas")
    assert quotas is not None
    ElementTree.SubElement(quotas, "default")
    return tree  # type: ignore[return-value]


def refused(answer: object) -> bool:
    return any(code in str(answer) for code in ("ACCESS_DENIED", "Not enough privileges", "READONLY", "read-only"))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables, made by the user whose work that is, and a few spans from the one whose that is."""
    folder = tmp_path_factory.mktemp("clickhouse")
    subprocess.run([sys.executable, "-c", MAKE, str(folder / "db")], check=True, timeout=120)
    (made,) = ask(folder, "migrate", user="ell")
    assert isinstance(made, int), made
    assert made > 0
    columns = "Timestamp, TraceId, SpanId, SpanName, ServiceName, SpanAttributes, Duration"
    attributes = (
        "map('ell.program.name', 'app.f', 'gen_ai.operation.name', 'invoke_workflow', 'ell.invocation.id', 'i')"
    )
    (inserted,) = ask(
        folder,
        f"INSERT INTO otel_traces ({columns}) SELECT now64(9), 't', toString(number), 'f', 's', {attributes}, 5 FROM numbers(3)",
        user="ingest",
    )
    assert inserted == "done"
    return folder


def test_the_collectors_user_inserts_through_every_view_and_can_do_nothing_else(tables: Path) -> None:
    others = ask(
        tables,
        "SELECT Arguments FROM ell_invocation_contents",
        "DROP TABLE otel_traces",
        "ALTER TABLE otel_traces DELETE WHERE 1",
        "INSERT INTO ell_prices (Model) VALUES ('x')",
        user="ingest",
    )
    assert [answer for answer in others if not refused(answer)] == []
    assert ask(tables, "SELECT count() FROM ell_invocations", user="ell") == [[[3]]]


def test_grafanas_user_reads_and_can_neither_write_nor_get_out(tables: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("1")
    answers = ask(
        tables,
        "SELECT count() FROM ell_invocations",
        "SELECT count() > 0 FROM system.parts",
        "SELECT getSetting('readonly'), getSetting('max_execution_time')",
        "SELECT 1 SETTINGS max_execution_time = 10",
        user="grafana",
    )
    assert answers == [[[3]], [[True]], [[2, 60]], [[1]]]
    forbidden = ask(
        tables,
        "INSERT INTO otel_traces (TraceId) VALUES ('x')",
        "CREATE TABLE mine (n UInt8) ENGINE = Memory",
        "DROP TABLE otel_traces",
        "SYSTEM FLUSH LOGS",
        "SET readonly = 0",
        f"SELECT * FROM file('{secret}', 'CSV', 'n UInt8')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'n UInt8')",
        "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'CSV', 'n UInt8')",
        "SELECT * FROM remote('127.0.0.1', 'kept.otel_traces')",
        user="grafana",
    )
    assert [answer for answer in forbidden if not refused(answer)] == []
    beyond = ask(
        tables,
        "SELECT 1 SETTINGS max_execution_time = 3600",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 SETTINGS max_memory_usage = 0",
        "SELECT 1 SETTINGS max_result_rows = 0",
        user="grafana",
    )
    assert all("shouldn't be" in str(answer) for answer in beyond), beyond


def test_grafanas_user_may_ask_all_that_the_dashboards_ask(tables: Path) -> None:
    from grafana import expanded, interpolated, queries

    from ell_otel.dashboards import alerts, dashboards

    values = dict.fromkeys(("service", "program", "model", "version", "status"), "*")
    values |= dict.fromkeys(("before", "after", "search", "slower_than_ms", "trace", "invocation"), "")
    asked = [query["rawSql"] for each in dashboards().values() for _, query in queries(each)]
    asked += [rule["data"][0]["model"]["rawSql"] for rule in alerts()["groups"][0]["rules"]]
    sent = [expanded(interpolated(sql, values), 0, 2_000_000_000) for sql in asked]
    answers = ask(tables, *sent, user="grafana")
    assert [answer for answer in answers if isinstance(answer, str)] == []


def test_the_servers_configuration_says_what_it_is_meant_to(tables: Path) -> None:
    settings, macros, nodes, _, ttl = ask(
        tables,
        "SELECT name, value FROM system.merge_tree_settings WHERE name LIKE 'fsync_%' AND changed ORDER BY name",
        "SELECT macro, substitution FROM system.macros ORDER BY macro",
        "SELECT shard_num, replica_num, host_name, port FROM system.clusters WHERE cluster = 'ell' ORDER BY ALL",
        "SYSTEM FLUSH LOGS",
        "SELECT engine_full FROM system.tables WHERE database = 'system' AND name = 'query_log'",
        files=("server.xml", "cluster.xml"),
    )
    assert settings == [["fsync_after_insert", "1"], ["fsync_part_directory", "1"]]
    assert macros == [["replica", "b"], ["shard", "2"]]
    assert nodes == [
        [shard, replica, f"clickhouse-{shard}{letter}", 9000]
        for shard in (1, 2)
        for replica, letter in ((1, "a"), (2, "b"))
    ]
    assert "TTL event_date + toIntervalDay(7)" in ttl[0][0]


def test_the_policy_for_cold_rows_has_the_volume_that_migrate_moves_them_to(tables: Path) -> None:
    from ell_otel.store.retention import COLD_VOLUME

    (volumes,) = ask(
        tables,
        "SELECT volume_name, disks[1], move_factor FROM system.storage_policies WHERE policy_name = 'tiered'",
        files=("server.xml", "tiered.xml"),
    )
    assert volumes == [["hot", "default", 0], [COLD_VOLUME, "s3_cached", 0]]
