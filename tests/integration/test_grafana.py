"""The dashboards as a person opens them: the demo app's telemetry, through a real server, read by its reader."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from grafana import expanded, interpolated, queries

from ell_otel.dashboards import alerts, dashboards

BY_NAME = dashboards()
COLLECTOR = Path(__file__).parents[2] / "collector"
TRAFFIC = COLLECTOR / "demo" / "traffic.py"
DRIVER = COLLECTOR.parent / "build" / "clients" / "grafana"
VARIABLES = ("service", "program", "model", "version", "status", "before", "after", "trace", "invocation")
MAILS = 20  # each makes three invocations, in each of two rounds
# The demo loses nothing, runs one instrumentation, uses models with a price and sends the source of all it runs.
WELL = {"Lost, as told by the senders", "Model calls that two instrumentations describe", "Models without a price"} | {
    "Versions whose source has not arrived"
}


class Grafana:
    """As much of Grafana as stands between a dashboard and its rows, for the hour around now."""

    def __init__(self, port: int, token: str) -> None:
        self._client = clickhouse_connect.get_client(
            host="127.0.0.1", port=port, username="reader", password=token, autogenerate_session_id=False
        )
        self._port, self._token = port, token
        self._now = int(time.time())

    def sent(self, sql: str, values: Mapping[str, str]) -> str:
        return expanded(interpolated(sql, values), self._now - 3600, self._now + 60)

    def by_its_driver(self, sent: list[str]) -> list[dict[str, Any]]:
        """What the library gets that Grafana's data source uses."""
        command = [DRIVER, f"127.0.0.1:{self._port}", "reader", self._token]
        done = subprocess.run(command, input=json.dumps(sent), check=True, timeout=120, capture_output=True, text=True)
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    def rows(self, sql: str, values: Mapping[str, str]) -> tuple[list[str], list[dict[str, Any]]]:
        sent = self.sent(sql, values)
        result = self._client.query(sent)
        columns = result.column_names or [row[0] for row in self._client.query(f"DESCRIBE TABLE ({sent})").result_rows]
        return list(columns), list(result.named_results())

    def opened(self, dashboard: Mapping[str, Any]) -> dict[str, str]:
        """The variables as they are when a dashboard is opened: the first of each list, or everything."""
        values: dict[str, str] = {}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query" and variable["includeAll"]:
                self.rows(variable["query"]["rawSql"], values | {variable["name"]: variable["allValue"]})
                values[variable["name"]] = variable["allValue"]
            elif variable["type"] == "query":
                _, rows = self.rows(variable["query"]["rawSql"], values)
                values[variable["name"]] = str(next(iter(rows[0].values())))
            elif variable["type"] != "datasource":
                values[variable["name"]] = variable["current"]["value"]
        return values

    def wait_for(self, count: str, wanted: int) -> None:
        deadline = time.monotonic() + 60
        while (there := self._client.command(count)) < wanted:
            assert time.monotonic() < deadline, f"{there} of {wanted} have arrived"
            time.sleep(0.2)

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    """What the compose file's demo sends in two rounds, over OTLP into ``ell-otel serve``, with its reader's token."""
    directory = tmp_path_factory.mktemp("served") / ".ell"
    with served(directory) as ports:
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports['OTLP/HTTP']}", "OTEL_SERVICE_NAME": "mail"}
        contents = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY", "ELL_OTEL_EXIT_MS": "20000"}
        environment = {name: value for name, value in os.environ.items() if name != "ELL_OTEL_DIR"} | sent | contents
        subprocess.run([sys.executable, TRAFFIC, "2"], env=environment, check=True, timeout=300, capture_output=True)
        made = Grafana(ports["ClickHouse HTTP"], (directory / "token").read_text().strip())
        made.wait_for("SELECT count() FROM ell_invocations", 2 * 3 * MAILS)
        yield made
        made.close()


@contextmanager
def served(directory: Path) -> Iterator[dict[str, int]]:
    """``ell-otel serve`` on free ports, by the names it gives them."""
    ports = [f"--{name}=0" for name in ("grpc-port", "http-port", "clickhouse-port", "port")]
    command = [sys.executable, "-m", "ell_otel", "serve", "--dir", str(directory), *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            found: dict[str, int] = {}
            for line in server.stdout or ():
                if listening := re.match(r"(.+) on \S*:(\d+)$", line.strip()):
                    found[listening[1]] = int(listening[2])
                if line.startswith("ready"):
                    break
            yield found
        finally:
            server.terminate()
            server.communicate(timeout=60)  # read to its end: a server that says goodbye to nobody does not end


@cache
def _seen(grafana: Grafana, name: str) -> dict[str, str]:
    """The variables of a dashboard that somebody has opened and chosen in, asked for once."""
    values = grafana.opened(BY_NAME[name])
    if name == "program":
        return values | {"program": "app.draft"} | _versions(grafana)
    if name == "invocations":
        latest = _panel("invocations", "The latest 200")["targets"][0]["rawSql"]
        _, rows = grafana.rows(latest, values | {"program": "app.draft"})
        return values | {"trace": rows[0]["trace"], "invocation": rows[0]["invocation"]}
    return values


def _versions(grafana: Grafana) -> dict[str, str]:
    chosen = {"program": "app.draft"}
    for variable in BY_NAME["program"]["templating"]["list"]:
        if variable["name"] in {"before", "after"}:
            _, rows = grafana.rows(variable["query"]["rawSql"], chosen)
            chosen[variable["name"]] = rows[0]["value"]
    return chosen


def _panel(name: str, title: str) -> dict[str, Any]:
    return next(panel for panel in BY_NAME[name]["panels"] if panel["title"] == title)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_panel_has_rows_and_the_columns_that_it_names(grafana: Grafana, name: str) -> None:
    values = _seen(grafana, name)
    for panel in BY_NAME[name]["panels"]:
        for target in panel.get("targets", ()):
            columns, rows = grafana.rows(target["rawSql"], values)
            assert bool(rows) != (panel["title"] in WELL), panel["title"]
            said = json.dumps(panel)
            named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
            linked = set(re.findall(r"__(?:data\.fields|field\.labels)\.(\w+)", said))
            assert named | linked <= set(columns), panel["title"]
            _check_shape(panel, columns, rows)


def _check_shape(panel: Mapping[str, Any], columns: list[str], rows: list[dict[str, Any]]) -> None:
    title = panel["title"]
    if panel["type"] == "timeseries":
        assert columns[0] == "time", title
        assert all(isinstance(row["time"], type(rows[0]["time"])) for row in rows), title
    elif panel["type"] == "stat":
        assert len(rows) == 1, title
    elif panel["type"] == "logs":
        assert columns[:2] == ["timestamp", "body"], title
    elif panel["type"] == "traces":
        wanted = {"traceID", "spanID", "parentSpanID", "serviceName", "operationName", "startTime", "duration", "tags"}
        assert wanted <= set(columns)
        assert len({row["traceID"] for row in rows}) == 1
        assert {row["parentSpanID"] for row in rows} <= {"", *(row["spanID"] for row in rows)}
    elif panel["type"] == "barchart":
        assert panel["options"]["xField"] in columns, title


def test_marks_and_rules_are_answered_too(grafana: Grafana) -> None:
    for name in ("programs", "program"):
        (mark,) = BY_NAME[name]["annotations"]["list"]
        _, rows = grafana.rows(mark["target"]["rawSql"], {})
        assert {row["text"] for row in rows} == {"app.answer v2", "app.draft v2"}
    for rule in alerts()["groups"][0]["rules"]:
        columns, rows = grafana.rows(rule["data"][0]["model"]["rawSql"], {})
        assert bool(rows) == (rule["uid"] != "ell-lost"), rule["title"]
        labels = set(re.findall(r"\.Labels\.(\w+)", rule["annotations"]["summary"]))
        assert labels <= set(columns), rule["title"]


@pytest.mark.skipif(not DRIVER.exists(), reason="build/clients/grafana is missing: `make clients` builds it, with Go")
def test_grafanas_driver_reads_every_answer(grafana: Grafana) -> None:
    asked = [(name, title, query["rawSql"]) for name, each in BY_NAME.items() for title, query in queries(each)]
    seen = {name: dict.fromkeys(VARIABLES, "") | _seen(grafana, name) for name in BY_NAME}
    sent = [grafana.sent(sql, seen[name]) for name, _, sql in asked]
    answers = grafana.by_its_driver(sent)
    assert [answer["Error"] for answer in answers] == [""] * len(asked)
    for (_, title, _), answer in zip(asked, answers, strict=True):
        assert bool(answer["Rows"]) != (title in WELL), title
    traces = next(answer for answer in answers if "traceID" in answer["Columns"])
    types = dict(zip(traces["Columns"], traces["Types"], strict=True))
    assert (types["startTime"], types["tags"]) == ("Float64", "Array(Map(String, String))")


def test_the_demos_edit_is_what_the_dashboard_says_has_changed(grafana: Grafana) -> None:
    values = _seen(grafana, "program")
    _, changed = grafana.rows(_panel("program", "What changed")["targets"][0]["rawSql"], values)
    assert [row["body"] for row in changed] == [
        '-     return "at length, with an apology and an explanation"',
        '+     return "in two short sentences"',
    ]
    _, (change,) = grafana.rows(_panel("program", "From before to after")["targets"][0]["rawSql"], values)
    assert change["cost"] < 0 < change["score"]


def test_the_files_are_for_the_data_source_that_is_provisioned() -> None:
    folder = COLLECTOR / "grafana" / "provisioning"
    assert "uid: ell-clickhouse" in (folder / "datasources" / "clickhouse.yaml").read_text()
