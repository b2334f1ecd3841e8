"""Applications that bring logfire or Sentry, run by ``ell-otel run``: joined, never replaced, and as they are without us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ell_otel.testing import FakeModel, RecordedSpan, recorded

LOGFIRE = """
import json, openai, logfire
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = InMemorySpanExporter()
logfire.configure(
    send_to_logfire=False, console=False, inspect_arguments=False, additional_span_processors=[SimpleSpanProcessor(seen)]
)
logfire.instrument_openai()

def ask(client):
    with logfire.span("asking"):
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why?"}])

with openai.OpenAI() as client:
    said = ask(client).choices[0].message.content
print(json.dumps({
    "said": said,
    "provider": type(trace.get_tracer_provider()).__module__,
    "spans": [
        {name: span.attributes.get(name) for name in ("gen_ai.request.model", "ell.program.name", "ell.duplicate")}
        | {"name": span.name, "scope": span.instrumentation_scope.name}
        for span in seen.get_finished_spans()
    ],
}))
"""

SENTRY = """
import json, openai, sentry_sdk
from sentry_sdk.transport import Transport

sent = []

class Kept(Transport):
    def capture_envelope(self, envelope):
        sent.extend(item.payload.json for item in envelope.items if item.type in ("transaction", "event"))

sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Kept, traces_sample_rate=1.0)

def ask(client):
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why?"}])

with openai.OpenAI() as client, openai.OpenAI(max_retries=0, base_url="http://127.0.0.1:9/v1") as nobody:
    with sentry_sdk.start_transaction(name="asking"):
        said = ask(client).choices[0].message.content
        try:
            ask(nobody)
        except openai.APIConnectionError as error:
            sentry_sdk.capture_exception(error)
sentry_sdk.flush()
print(json.dumps({
    "said": said,
    # Sentry shows every subprocess, and we ask git once where the program comes from.
    "ops": [
        span["op"] for item in sent for span in item.get("spans", []) if not span["op"].startswith("subprocess")
    ],
    "errors": [value["type"] for item in sent for value in item.get("exception", {}).get("values", [])],
}))
"""


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    with FakeModel() as fake:
        yield fake


def run(model: FakeModel, folder: Path, app: str, *command: str) -> dict[str, Any]:
    """What the app prints of itself, run by ``command``."""
    (folder / "app.py").write_text(app)
    env = os.environ | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed"}
    done = subprocess.run(
        [sys.executable, *command, "app.py"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "ell-otel failed" not in done.stderr
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def asked(folder: Path) -> list[RecordedSpan]:
    return [span for span in recorded(folder / ".ell").spans if "gen_ai.request.model" in span.attributes]


def test_an_application_with_logfire_keeps_its_provider_and_its_spans_name_the_program(
    model: FakeModel, tmp_path: Path
) -> None:
    alone = run(model, tmp_path, LOGFIRE)
    with_us = run(model, tmp_path, LOGFIRE, "-m", "ell_otel", "run")
    assert (with_us["said"], with_us["provider"]) == (alone["said"], alone["provider"])
    theirs = [span for span in with_us["spans"] if span["scope"].startswith("logfire")]
    assert [span["name"] for span in theirs] == [span["name"] for span in alone["spans"]]
    about_model = [span for span in with_us["spans"] if span["gen_ai.request.model"]]
    assert {span["ell.program.name"] for span in about_model} == {"app.ask"}
    assert len(about_model) - len([span for span in about_model if span["ell.duplicate"]]) == 1

    counted = [span for span in asked(tmp_path) if "ell.duplicate" not in span.attributes]
    assert [span.attributes["ell.program.name"] for span in counted] == ["app.ask"]
    (announced,) = recorded(tmp_path / ".ell").events
    assert announced.attributes["ell.program.version"] == counted[0].attributes["ell.program.version"]
    assert "asking" not in [span.name for span in recorded(tmp_path / ".ell").spans], "the application's own, not ours"


def test_an_application_with_sentry_reports_what_it_did_and_its_calls_name_the_program(
    model: FakeModel, tmp_path: Path
) -> None:
    alone = run(model, tmp_path, SENTRY)
    with_us = run(model, tmp_path, SENTRY, "-m", "ell_otel", "run")
    assert with_us == alone
    assert "APIConnectionError" in with_us["errors"]
    assert [span.attributes["ell.program.name"] for span in asked(tmp_path)] == ["app.ask", "app.ask"]
    assert [span.attributes.get("error.type") for span in asked(tmp_path)] == [None, "openai.APIConnectionError"]
