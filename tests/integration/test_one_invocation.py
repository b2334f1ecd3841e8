"""The tour: one invocation from a decorated function to an answer, in the order of docs/design.md's reading path.

Every part is real: the OpenAI SDK over HTTP, the spool, the OTLP exporters, gRPC, chDB, the shell's own commands. Each
test is a station; they share one folder and run in order.
"""

from __future__ import annotations

import base64
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ell_otel as ell
from ell_otel import cli, config, registry
from ell_otel.cli import operating
from ell_otel.closure import verify
from ell_otel.ingest import decode
from ell_otel.ingest.drain import drain
from ell_otel.ingest.service import Service
from ell_otel.ingest.sink import StoreSink
from ell_otel.program_pb2 import ProgramVersion
from ell_otel.store import queries
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate, status
from ell_otel.telemetry import providers
from ell_otel.telemetry.segments import Kind, pending
from ell_otel.testing import FakeModel, recorded

APP = '''\
import ell_otel as ell
from house_style import greeting

SOMEVAR = 3
def some_unused_function_in_parent_scope(): pass

@ell.simple(model="gpt-4o")
def prompt_dependent_on_a_constant(another_val: int):
    """You are an expert arithmatician."""
    return f"{greeting()} Compute {SOMEVAR} + {another_val}"
'''
STYLE = """\
UNUSED = "not part of anything"
WORD = "Please."

def greeting():
    return WORD  # a helper in another module
"""
PROGRAM = "tour_app.prompt_dependent_on_a_constant"


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The folder, the app's module and what one station leaves for the next."""
    home = tmp_path_factory.mktemp("tour")
    (home / "tour_app.py").write_text(APP)
    (home / "house_style.py").write_text(STYLE)
    sys.path.insert(0, str(home))
    with FakeModel(lambda request: "7") as model:
        ell.init(dir=str(home / ".ell"), client=model.client())
        yield {"home": home, "directory": home / ".ell", "model": model, "app": importlib.import_module("tour_app")}
    providers.reset()
    sys.path.remove(str(home))
    for name in ("tour_app", "house_style"):
        del sys.modules[name]


@pytest.fixture(autouse=True)
def folder(tour: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the folder that each other test has for itself: the stations share one."""
    monkeypatch.setenv("ELL_OTEL_DIR", str(tour["directory"]))


def shell(capsys: pytest.CaptureFixture[str], *line: str, code: int = 0) -> list[dict[str, Any]]:
    """The data that a command prints with --json."""
    capsys.readouterr()
    assert cli.main([*line, "--json"]) == code
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["version"] == 1
    data: list[dict[str, Any]] = envelope["data"]
    return data


def test_1_a_decorated_function_builds_the_prompt_and_returns_the_answer(tour: dict[str, Any]) -> None:
    app: ModuleType = tour["app"]
    assert app.prompt_dependent_on_a_constant(4) == "7"
    assert tour["model"].requests == [
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "You are an expert arithmatician."},
                {"role": "user", "content": "Please. Compute 3 + 4"},
            ],
        }
    ]


def test_2_its_closure_holds_what_it_needs_and_nothing_else_and_runs_alone(
    tour: dict[str, Any], tmp_path: Path
) -> None:
    closure = ell.capture(tour["app"].prompt_dependent_on_a_constant)
    assert closure.name == PROGRAM
    assert closure.version.startswith("c1:")
    assert "SOMEVAR = 3" in closure.text
    assert 'WORD = "Please."' in closure.text
    assert "def greeting():" in closure.text
    assert "UNUSED" not in closure.text
    assert "some_unused_function" not in closure.text
    assert verify(closure.text, closure.version)
    alone = tmp_path / "alone.py"
    alone.write_text(closure.text + "\nprint(prompt_dependent_on_a_constant.__wrapped__(4))\n")
    done = subprocess.run([sys.executable, str(alone)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "Please. Compute 3 + 4\n"
    tour["closure"] = closure


def test_3_the_registry_knows_its_version_and_announces_it_once(tour: dict[str, Any]) -> None:
    program = tour["app"].prompt_dependent_on_a_constant.__ell_program__
    assert isinstance(program, registry.Program)
    assert program.closure().version == tour["closure"].version
    tour["app"].prompt_dependent_on_a_constant(5)
    assert [event.name for event in recorded(tour["directory"]).events] == ["ell.program"]


def test_4_the_event_carries_the_closure_as_text_and_as_protobuf(tour: dict[str, Any]) -> None:
    (event,) = recorded(tour["directory"]).events
    assert event.attributes["ell.program.source"] == tour["closure"].text
    message = ProgramVersion.FromString(base64.b64decode(event.attributes["ell.program.proto"]))
    assert message.name == PROGRAM
    assert message.version == tour["closure"].version
    assert [part.text for part in message.parts] == [part.text for part in tour["closure"].parts]


def test_5_each_run_is_a_span_and_the_model_request_below_it_bears_the_same_stamp(tour: dict[str, Any]) -> None:
    request, invocation = recorded(tour["directory"]).spans[:2]
    assert invocation.name == f"invoke_workflow {PROGRAM}"
    assert request.name == "chat gpt-4o"
    assert request.parent_span_id == invocation.span_id
    for name in ("ell.invocation.id", "ell.program.name", "ell.program.version"):
        assert request.attributes[name] == invocation.attributes[name]
    assert request.attributes["gen_ai.usage.input_tokens"] > 0


def test_6_what_lies_in_the_spool_is_otlp_that_decodes_into_the_exporters_columns(tour: dict[str, Any]) -> None:
    frames = [frame for segment in pending(tour["directory"] / "spool") for frame in segment.read().frames]
    spans = [decode.traces(frame.payload) for frame in frames if frame.kind is Kind.TRACES]
    assert [rows.spans for rows in spans] == [1, 1, 1, 1]


def test_7_whoever_opens_the_store_finds_the_invocation_in_it(tour: dict[str, Any]) -> None:
    settings = config.resolve(dir=str(tour["directory"]))
    with open_store(settings, purpose="the tour") as store:
        migrate(store)
        assert all(each.applied_at for each in status(store))
        drained = drain(tour["directory"], StoreSink(store))
        assert (drained.spans, drained.records, drained.damaged) == (4, 1, 0)
        (program,) = queries.programs(store)
        assert (program.name, program.versions, program.invocations, program.errors) == (PROGRAM, 1, 2, 0)
        detail = queries.find_version(store, PROGRAM)
        assert (detail.source, detail.version) == (tour["closure"].text, tour["closure"].version)


def test_8_the_embedded_collector_receives_the_same_over_otlp_while_commands_go_through_it(
    tour: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config.resolve(dir=str(tour["directory"]), grpc_port=0, http_port=0, clickhouse_port=0, port=0)
    service = Service(settings, fronts=operating.fronts(settings))
    service.start()
    try:
        ports = {component.name: component.port for component in service.components}
        for protocol, name in (("grpc", "OTLP/gRPC"), ("http/protobuf", "OTLP/HTTP")):
            ell.init(endpoint=f"http://127.0.0.1:{ports[name]}", protocol=protocol, content=True)
            tour["app"].prompt_dependent_on_a_constant(6)
            assert ell.flush()
        (program,) = shell(capsys, "log")
        assert (program["name"], program["invocations"], program["versions"]) == (PROGRAM, 4, 1)
    finally:
        ell.init(dir=str(tour["directory"]))
        service.stop()


def test_9_the_shell_answers_which_code_made_this_output(
    tour: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (newest,) = shell(capsys, "invocations", "--limit", "1")
    (shown,) = shell(capsys, "show", newest["id"][:10])
    assert json.loads(shown["result"]) == "7"
    assert "Compute 3 + 6" in shown["inferences"][0]["input_messages"]
    assert newest["version"] == tour["closure"].version
    (version,) = shell(capsys, "log", "prompt_dependent_on_a_constant")
    assert (version["number"], version["invocations"]) == (1, 4)
    assert version["cost"] > 0
    shell(capsys, "checkout", newest["version"], "-o", str(tmp_path / "then.py"))
    assert "SOMEVAR = 3" in (tmp_path / "then.py").read_text()
