"""Collectors that exist, between an app and ``ell-otel serve``'s ClickHouse interface: the same rows and answers as direct.

One run of an app is recorded as it left the process. The same requests then go straight to the server, through the
OpenTelemetry Collector with ``collector/otelcol/config.yaml``, and through rotel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import rotel
import yaml
from collectors import free_port, http_collector
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb

from ell_otel import cli, config
from ell_otel.cli.operating import fronts
from ell_otel.ingest.service import Service
from ell_otel.store.client import open_store
from ell_otel.store.writer import LOG_COLUMNS, TRACE_COLUMNS

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "collector" / "otelcol"
OTELCOL = ROOT / "build" / "otelcol"
ROTEL = Path(rotel.__file__).with_name("rotel-agent")
KAFKA = ROOT / "build" / "clients" / "kafka"
ALONE = ["agent", "config", "gateway"]
OVER = ["agent-kafka", "gateway-kafka"]
APP = """\
import ell_otel as ell
from ell_otel.testing import FakeModel

def tone():
    return "kind"

@ell.simple(model="gpt-4o")
def reply(mail: str):
    return f"Answer in a {tone()} way: {mail}"

@ell.program
def handle(mail):
    answer = reply(mail)
    ell.score("polite", 1.0, of=answer)
    return answer

@ell.program
def fail(mail):
    raise ValueError("no 'ü' \\n please \\\\")

with FakeModel(lambda request: "Grüße\\t'!'") as model:
    ell.init(client=model.client())
    for n in range(20):
        handle(f"mail {n}")
    try:
        fail("x")
    except ValueError:
        pass
"""
Requests = list[tuple[str, bytes]]
Rows = dict[str, list[dict[str, Any]]]
otelcol_is_built = pytest.mark.skipif(
    not OTELCOL.exists(), reason="build/otelcol is missing: `make collector` builds it, with Go"
)


kafka_is_built = pytest.mark.skipif(
    not KAFKA.exists(), reason="build/clients/kafka is missing: `make clients`, with Go"
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Requests:
    """What an app sent, contents and all: path and body of each OTLP request."""
    home = tmp_path_factory.mktemp("app")
    (home / "app.py").write_text(APP)
    taken: Requests = []
    with http_collector(lambda path, body: taken.append((path, body))) as collector:
        environment = os.environ | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
            "OTEL_SERVICE_NAME": "shop",
            "ELL_OTEL_EXIT_MS": "20000",
        }
        subprocess.run([sys.executable, "app.py"], cwd=home, env=environment, check=True, timeout=60)
    assert {path for path, _ in taken} == {"/v1/traces", "/v1/logs"}
    return taken


def send(port: int, taken: Requests) -> None:
    for path, body in taken:
        headers = {"content-type": "application/x-protobuf"}
        answer = requests.post(f"http://127.0.0.1:{port}{path}", body, headers=headers, timeout=20)
        assert answer.status_code == 200, answer.text


class Served:
    """``ell-otel serve`` in this process. What it has acknowledged may be still in its spool when it has stopped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        environment = {"ELL_OTEL_INGEST_TOKEN": "", "ELL_OTEL_DIR": str(directory)}
        settings = config.resolve(environment, grpc_port=0, http_port=0, clickhouse_port=0, port=0)
        self.service = Service(settings, fronts=fronts(settings))

    def __enter__(self) -> Served:
        self.service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()

    def port(self, name: str) -> int:
        return next(each.port for each in self.service.components if each.name == name)

    @property
    def password(self) -> str:
        return (self.directory / "ingest-token").read_text().strip()

    @property
    def clickhouse(self) -> dict[str, str]:
        """What a collector is told of it."""
        url = f"http://127.0.0.1:{self.port('ClickHouse HTTP')}"
        return {"ELL_CLICKHOUSE_URL": url, "ELL_CLICKHOUSE_PASSWORD": self.password}

    def count(self, table: str) -> int:
        url = self.clickhouse["ELL_CLICKHOUSE_URL"]
        answer = requests.post(url, f"SELECT count() FROM {table}", auth=("ingest", self.password), timeout=20)
        return int(answer.text)

    def wait_for(self, expected: Rows) -> None:
        """Until there are as many rows."""
        until = time.monotonic() + 30
        while {table: self.count(table) for table in expected} != {name: len(rows) for name, rows in expected.items()}:
            assert time.monotonic() < until, {table: self.count(table) for table in expected}
            time.sleep(0.05)


def by_content(found: Rows) -> Rows:
    return {table: sorted(rows, key=lambda row: json.dumps(row, sort_keys=True)) for table, rows in found.items()}


def rows(directory: Path, leave_out: Set[str] = frozenset()) -> Rows:
    """All rows of the contract's columns, in an order of their own content."""
    with open_store(config.resolve({}, dir=str(directory)), purpose="test") as store:
        found = {}
        for table, columns in (("otel_traces", TRACE_COLUMNS), ("otel_logs", LOG_COLUMNS)):
            names = ", ".join(_exact(*column) for column in columns if column[0] not in leave_out)
            found[table] = store.query(f"SELECT {names} FROM {table} FINAL")
    return by_content(found)


def _exact(name: str, kind: str) -> str:
    """The column, times to the nanosecond, of which Python's hold a thousand."""
    return f"toString(`{name}`) AS `{name} to the ns`" if "DateTime64" in kind else f"`{name}`"


def log(directory: Path, capsys: pytest.CaptureFixture[str], *line: str) -> Any:
    capsys.readouterr()
    assert cli.main(["log", *line, "--json", "--dir", str(directory)]) == 0
    return json.loads(capsys.readouterr().out)["data"]


@pytest.fixture(scope="module")
def direct(recorded: Requests, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a server that was sent the requests themselves."""
    directory = tmp_path_factory.mktemp("direct") / ".ell"
    with Served(directory) as served:
        send(served.port("OTLP/HTTP"), recorded)
    assert cli.main(["log", "--dir", str(directory)]) == 0  # takes over what lies in the spool
    return directory


@contextmanager
def running(command: list[str], environment: Mapping[str, str], port: int, log_file: Path) -> Iterator[Any]:
    """The collector's process, from when it listens; unless it is killed, until it has ended well."""
    with log_file.open("ab") as file:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=file, stderr=file)
    try:
        until = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < until, log_file.read_text()
            time.sleep(0.05)
        yield process
        if process.poll() is None:
            process.terminate()
            assert process.wait(20) == 0, log_file.read_text()
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        requests.get(f"http://127.0.0.1:{port}/", timeout=1)
    except requests.ConnectionError:
        return False
    return True


def otelcol(name: str, folder: Path, port: int, **more: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment of the Collector with a configuration that is shipped."""
    environment = {
        "ELL_CLICKHOUSE_USER": "ingest",
        "ELL_CLICKHOUSE_PASSWORD": "x",
        "ELL_OTLP_HOST": "127.0.0.1",
        "ELL_OTLP_GRPC_PORT": str(free_port()),
        "ELL_OTLP_HTTP_PORT": str(port),
        "ELL_HEALTH_ENDPOINT": f"127.0.0.1:{free_port()}",
        "ELL_METRICS_PORT": str(free_port()),
        "ELL_OTELCOL_DIR": str(folder / f"{name}-queue"),
    }
    return [str(OTELCOL), "--config", str(CONFIGS / f"{name}.yaml")], environment | more


@otelcol_is_built
def test_through_the_collector_come_the_same_rows_and_answers(
    recorded: Requests, direct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, port = rows(direct), free_port()
    with Served(tmp_path / ".ell") as served:
        command, environment = otelcol("config", tmp_path, port, **served.clickhouse)
        with running(command, environment, port, tmp_path / "otelcol.log"):
            send(port, recorded)
            served.wait_for(expected)
    assert rows(tmp_path / ".ell") == expected
    assert log(tmp_path / ".ell", capsys) == log(direct, capsys)
    assert log(tmp_path / ".ell", capsys, "app.reply") == log(direct, capsys, "app.reply")


@otelcol_is_built
def test_what_the_collector_accepted_survives_it_and_the_servers_absence(
    recorded: Requests, direct: Path, tmp_path: Path
) -> None:
    """It is killed while there is no server; the next one finds everything in the queue on disk."""
    expected, port = rows(direct), free_port()
    absent = {"ELL_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}"}
    command, environment = otelcol("config", tmp_path, port, **absent)
    with running(command, environment, port, tmp_path / "otelcol.log") as process:
        send(port, recorded)
        process.kill()
        process.wait()
    with (
        Served(tmp_path / ".ell") as served,
        running(command, environment | served.clickhouse, port, tmp_path / "otelcol.log"),
    ):
        served.wait_for(expected)
    assert rows(tmp_path / ".ell") == expected


def spans(**traces: Any) -> bytes:
    """A request with one trace for each name, made by the function given with it."""
    request = trace_pb.ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name, change in traces.items():
        now = time.time_ns()
        span = scope.spans.add(name=name, start_time_unix_nano=now, end_time_unix_nano=now + 1000)
        span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
        change(span)
    return request.SerializeToString()


@otelcol_is_built
def test_an_agent_and_a_gateway_sample_spans_but_never_errors_evaluations_or_logs(
    recorded: Requests, direct: Path, tmp_path: Path
) -> None:
    """And what looks like a secret is gone at the first of them."""
    expected, port, gateway = rows(direct)["otel_logs"], free_port(), free_port()
    own = spans(
        plain=lambda span: None,
        failed=lambda span: setattr(span.status, "code", 2),
        judged=lambda span: span.events.add(name="gen_ai.evaluation.result"),
        scored=lambda span: span.attributes.add(key="gen_ai.evaluation.name").value.__setattr__("string_value", "x"),
        slow=lambda span: setattr(span, "end_time_unix_nano", span.start_time_unix_nano + 31 * 10**9),
        leaky=lambda span: (
            setattr(span.status, "code", 2),
            span.attributes.add(key="http.request.header.authorization").value.__setattr__(
                "string_value", "Basic c2Vj"
            ),
            span.attributes.add(key="note").value.__setattr__("string_value", f"use sk-{'Ab1' * 10} please"),
            span.attributes.add(key="gen_ai.usage.input_tokens").value.__setattr__("int_value", 7),
        ),
    )
    soon = ["--config", "yaml:processors::tail_sampling::decision_wait: 1s"]
    with Served(tmp_path / ".ell") as served:
        command, environment = otelcol("gateway", tmp_path, gateway, **served.clickhouse, ELL_SAMPLING_PERCENTAGE="0")
        to = {"ELL_GATEWAY": f"127.0.0.1:{environment['ELL_OTLP_GRPC_PORT']}", "ELL_GATEWAY_INSECURE": "true"}
        agent, agents = otelcol("agent", tmp_path, port, **to)
        with (
            running(command + soon, environment, gateway, tmp_path / "gateway.log"),
            running(agent, agents, port, tmp_path / "agent.log"),
        ):
            send(port, [*recorded, ("/v1/traces", own)])
            served.wait_for({"otel_traces": [{}] * 6, "otel_logs": expected})
    found = rows(tmp_path / ".ell")
    assert found["otel_logs"] == expected
    assert sorted(row["SpanName"] for row in found["otel_traces"]) == [
        "failed",
        "invoke_workflow app.fail",
        "judged",
        "leaky",
        "scored",
        "slow",
    ]
    leaky = next(row["SpanAttributes"] for row in found["otel_traces"] if row["SpanName"] == "leaky")
    assert leaky == {
        "http.request.header.authorization": "****",
        "note": "use **** please",
        "gen_ai.usage.input_tokens": "7",
    }


@contextmanager
def kafka(*topics: str) -> Iterator[str]:
    """A broker in memory; its address."""
    with subprocess.Popen([KAFKA, *topics], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        yield broker.stdout.readline().strip()
        broker.communicate("")


@otelcol_is_built
@kafka_is_built
def test_through_kafka_come_the_same_rows_also_what_was_written_before_there_was_a_gateway(
    recorded: Requests, direct: Path, tmp_path: Path
) -> None:
    expected, port = rows(direct), free_port()
    half = len(recorded) // 2
    with kafka("otlp_spans", "otlp_logs") as broker, Served(tmp_path / ".ell") as served:
        agent, agents = otelcol("agent", tmp_path, port, ELL_KAFKA_BROKERS=broker)
        gateway, gateways = otelcol(
            "gateway", tmp_path, 0, **served.clickhouse, ELL_KAFKA_BROKERS=broker, ELL_SAMPLING_PERCENTAGE="100"
        )
        health = int(gateways["ELL_HEALTH_ENDPOINT"].rpartition(":")[2])
        agent += ["--config", str(CONFIGS / "agent-kafka.yaml")]
        gateway += ["--config", str(CONFIGS / "gateway-kafka.yaml")]
        gateway += ["--config", "yaml:processors::tail_sampling::decision_wait: 1s"]
        with running(agent, agents, port, tmp_path / "agent.log"):
            send(port, recorded[:half])
            time.sleep(2)  # an agent writes at least once a second
            with running(gateway, gateways, health, tmp_path / "gateway.log"):
                send(port, recorded[half:])
                served.wait_for(expected)
    assert rows(tmp_path / ".ell") == expected


def test_through_rotel_come_the_same_answers(
    recorded: Requests, direct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the same rows, but that it writes no event name, and lists and whole floats in its own way."""
    expected, port = rows(direct, {"EventName"}), free_port()
    with Served(tmp_path / ".ell") as served:
        settings = {
            "CLICKHOUSE_EXPORTER_ENDPOINT": f"http://127.0.0.1:{served.port('ClickHouse HTTP')}",
            "CLICKHOUSE_EXPORTER_DATABASE": "default",
            "CLICKHOUSE_EXPORTER_USER": "ingest",
            "CLICKHOUSE_EXPORTER_PASSWORD": served.password,
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{free_port()}",
            "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{port}",
            "PID_FILE": str(tmp_path / "rotel.pid"),
        }
        environment = {f"ROTEL_{name}": value for name, value in settings.items()}
        with running([str(ROTEL), "start", "--exporter", "clickhouse"], environment, port, tmp_path / "rotel.log"):
            send(port, recorded)
            served.wait_for(expected)
    found = rows(tmp_path / ".ell", {"EventName"})
    reasons = [row["SpanAttributes"].pop("gen_ai.response.finish_reasons", "") for row in found["otel_traces"]]
    assert set(reasons) == {"", '{"values":[{"stringValue":"stop"}]}'}
    scores = [row["LogAttributes"].pop("gen_ai.evaluation.score.value", "") for row in found["otel_logs"]]
    assert set(scores) == {"", "1.0"}
    for row in expected["otel_traces"]:
        row["SpanAttributes"].pop("gen_ai.response.finish_reasons", "")
    for row in expected["otel_logs"]:
        row["LogAttributes"].pop("gen_ai.evaluation.score.value", "")
    assert by_content(found) == by_content(expected)
    assert log(tmp_path / ".ell", capsys) == log(direct, capsys)
    assert log(tmp_path / ".ell", capsys, "app.reply") == log(direct, capsys, "app.reply")


# -- the configurations -----------------------------------------------------------------------------------------------


def parsed(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return found


@otelcol_is_built
@pytest.mark.parametrize("names", [[name] for name in ALONE] + [[name.removesuffix("-kafka"), name] for name in OVER])
def test_the_collector_finds_its_configuration_valid(names: list[str]) -> None:
    environment = os.environ | {"ELL_CLICKHOUSE_PASSWORD": "x"}
    command = [OTELCOL, "validate", *(f"--config={CONFIGS / name}.yaml" for name in names)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert said.returncode == 0, said.stderr


def test_the_distribution_has_exactly_what_the_configurations_use() -> None:
    built = yaml.safe_load((CONFIGS / "builder-config.yaml").read_text())
    kinds = ("receivers", "processors", "exporters", "extensions")
    modules = {kind: {each["gomod"].split()[0].rsplit("/")[-1] for each in built[kind]} for kind in kinds}
    used = {
        kind: {
            name.replace("_", "") + ("" if name == "file_storage" else kind.removesuffix("s"))
            for config in map(parsed, ALONE + OVER)
            for name in config.get(kind, ())
        }
        for kind in kinds
    }
    assert modules == used


def test_every_file_redacts_alike_keeps_its_queue_on_disk_and_drops_no_log() -> None:
    redactions = [parsed(name)["processors"]["redaction"] for name in ALONE]
    assert redactions[0] == redactions[1] == redactions[2]
    for name in ALONE:
        made = parsed(name)
        pipelines = made["service"]["pipelines"]
        assert made["extensions"]["file_storage"]["fsync"] is True
        for exporter in made["exporters"].values():
            assert exporter["sending_queue"]["storage"] == "file_storage"
            assert exporter["retry_on_failure"]["max_elapsed_time"] == 0
        assert "batch" not in made["processors"]
        assert pipelines["logs"]["processors"] == ["memory_limiter", "redaction"]
