"""litellm as it is, with its own telemetry on, in an application that has never heard of us.

It wants openai 2 where our other tests have 3, so it lies in a folder of its own (``make clients``), and the application
runs in a process of its own. What litellm tells of a call it tells later: in a pool's thread, in a task of its own, or
when a stream has been read to its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ell_otel import cli
from ell_otel.testing import FakeModel, RecordedSpan, recorded

HOME = Path(__file__).parents[2] / "build" / "clients" / "litellm"

APP = """\
import asyncio, os, litellm

litellm.callbacks = ["otel"]
ASKED = {"api_base": os.environ["MODEL_URL"], "api_key": "not-needed", "num_retries": 0}
CHAT = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}], **ASKED}

def ask():
    return litellm.completion(**CHAT)

def ask_streaming():
    return list(litellm.completion(stream=True, stream_options={"include_usage": True}, **CHAT))

def embed():
    return litellm.embedding(model="openai/text-embedding-3-small", input=["a"], **ASKED)

def ask_in_vain():
    try:
        litellm.completion(**{**CHAT, "api_base": "http://127.0.0.1:9/v1"})
    except litellm.exceptions.InternalServerError:
        print("in vain")

async def ask_async():
    return await litellm.acompletion(**CHAT)

async def ask_async_streaming():
    stream = await litellm.acompletion(stream=True, stream_options={"include_usage": True}, **CHAT)
    return [chunk async for chunk in stream]

async def main():
    await asyncio.gather(ask_async(), ask_async())
    await ask_async_streaming()
    await asyncio.sleep(1)  # it tells of a call in a task that nobody waits for

print(type(ask()).__name__, len(ask_streaming()) > 1, type(embed()).__name__)
ask_in_vain()
asyncio.run(main())
"""

pytestmark = pytest.mark.skipif(
    not (HOME / ".done").exists(), reason="build/clients/litellm is missing: `make clients` installs it"
)


def run(cwd: Path, app: str) -> tuple[str, list[RecordedSpan]]:
    """What an application prints under ``ell-otel run``, and the spans about models that it leaves in the spool."""
    (cwd / "app.py").write_text(app)
    path = os.pathsep.join(filter(None, (str(HOME), os.environ.get("PYTHONPATH"))))
    with FakeModel() as model:
        done = subprocess.run(
            [sys.executable, "-m", "ell_otel", "run", "app.py"],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": path, "MODEL_URL": model.base_url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout, [span for span in recorded(cwd / ".ell").spans if "gen_ai.request.model" in span.attributes]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[RecordedSpan]]:
    cwd = tmp_path_factory.mktemp("litellm")
    (cwd / ".ell").mkdir()
    return cwd, *run(cwd, APP)


def test_the_application_runs_as_without_us(told: tuple[Path, str, list[RecordedSpan]]) -> None:
    lines = [line for line in told[1].splitlines() if line.startswith(("ModelResponse", "in vain"))]
    assert lines == ["ModelResponse True EmbeddingResponse", "in vain"]


def test_every_span_of_litellm_and_of_the_client_under_it_names_the_program(
    told: tuple[Path, str, list[RecordedSpan]],
) -> None:
    calls = {"ask": 1, "ask_streaming": 1, "ask_async": 2, "ask_async_streaming": 1, "ask_in_vain": 1}
    names = Counter((span.name.split()[0], span.attributes["ell.program.name"]) for span in told[2])
    expected = {(kind, f"app.{name}"): n for name, n in calls.items() for kind in ("chat", "litellm_request")}
    embedded = {key: n for key, n in names.items() if key[1] == "app.embed"}
    assert names == Counter(expected) + Counter(embedded)
    assert ("litellm_request", "app.embed") in embedded
    versions = {(span.attributes["ell.program.name"], span.attributes["ell.program.version"]) for span in told[2]}
    assert len(versions) == len(calls) + 1


def test_a_call_that_both_describe_counts_once(
    told: tuple[Path, str, list[RecordedSpan]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["log", "--json", "--dir", str(told[0] / ".ell")]) == cli.OK
    programs: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["data"]
    counts = {each["name"]: (each["invocations"], each["input_tokens"]) for each in programs}
    each, twice = (1, 5), (2, 10)
    assert counts == {
        "app.ask": each,
        "app.ask_streaming": each,
        "app.ask_async": twice,
        "app.ask_async_streaming": each,
        "app.ask_in_vain": (1, 0),
        "app.embed": (1, 1),
    }


DECORATED = """\
import os, litellm
import ell_otel as ell

litellm.callbacks = ["otel"]

@ell.program
def ask():
    asked = {"api_base": os.environ["MODEL_URL"], "api_key": "not-needed", "num_retries": 0}
    chunks = litellm.completion("openai/gpt-4o-mini", [{"role": "user", "content": "Why?"}], stream=True, **asked)
    return len(list(chunks)) > 1

print("answered", ask())
"""


def test_the_program_in_which_litellm_sets_its_own_provider_is_recorded(tmp_path: Path) -> None:
    (tmp_path / ".ell").mkdir()
    printed, spans = run(tmp_path, DECORATED)
    assert "answered True" in printed
    (program,) = [span for span in recorded(tmp_path / ".ell").spans if span.name == "invoke_workflow app.ask"]
    assert program.attributes["ell.invocation.result"] == "true"
    assert {span.attributes["ell.invocation.id"] for span in spans} == {program.attributes["ell.invocation.id"]}
