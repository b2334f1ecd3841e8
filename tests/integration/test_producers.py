"""Libraries that tell of model calls themselves, as they are, in applications that have never heard of us.

Each application has a tracer provider of its own and switches its library's telemetry on; we come from outside. So two
tell of each request, and what an agent asks it asks in tasks of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ell_otel import cli
from ell_otel.testing import FakeModel

OWN = """\
import asyncio, json, openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(seen))
trace.set_tracer_provider(provider)
"""
TOLD = """
print(json.dumps([
    {"name": span.name, "by": span.instrumentation_scope.name}
    | {name: value for name, value in span.attributes.items() if isinstance(value, str)}
    for span in seen.get_finished_spans()
]))
"""
CALLS = """
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
STREAMED = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}

def ask(client):
    return client.chat.completions.create(**ASKED)

def begin(client):
    return client.chat.completions.create(**STREAMED)

def embed(client):
    return client.embeddings.create(model="e", input="Why?")

def ask_in_vain(client):
    try:
        client.with_options(base_url="http://127.0.0.1:9/v1", max_retries=0).chat.completions.create(**ASKED)
    except openai.APIConnectionError as error:
        return error

async def ask_async(client):
    return await client.chat.completions.create(**ASKED)

async def ask_async_streaming(client):
    return [type(chunk).__name__ async for chunk in await client.chat.completions.create(**STREAMED)]

async def main():
    async with openai.AsyncOpenAI() as client:
        await asyncio.gather(ask_async(client), asyncio.create_task(ask_async(client)))
        print(await ask_async_streaming(client))

with openai.OpenAI() as client:
    print([type(each).__name__ for each in (ask(client), embed(client), ask_in_vain(client), *begin(client))])
asyncio.run(main())
"""
AGENTS = """
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

Agent.instrument_all()
agent = Agent("openai-chat:m")
teller = Agent("openai-chat:m")

@teller.tool_plain
def weather() -> str:
    return "sunny"

def ask():
    return agent.run_sync("Why?").output

def ask_nobody():
    return agent.run_sync("Why?", model=TestModel()).output

def ask_with_tool():
    return teller.run_sync("Weather?").output

def ask_streaming():
    streamer = Agent("openai-chat:m")
    return list(streamer.run_stream_sync("Why?").stream_text()), streamer.name

async def ask_async(how):
    helper = Agent("openai-chat:m")
    return (await how(helper.run("Why?"))).output, helper.name

async def ask_async_streaming():
    streamer = Agent("openai-chat:m")
    async with streamer.run_stream("Why?") as result:
        return [text async for text in result.stream_text()], streamer.name

async def ask_by_steps():
    async with agent.iter("Why?") as run:
        return [type(node).__name__ async for node in run]

async def ask_events():
    reporter = Agent("openai-chat:m")
    async with reporter.run_stream_events("Why?") as events:
        return [type(event).__name__ async for event in events], reporter.name

async def itself(coroutine):
    return await coroutine

async def main():
    print(await asyncio.gather(ask_async(itself), ask_async(asyncio.create_task), asyncio.create_task(direct())))
    print(await ask_async_streaming(), await ask_by_steps(), await ask_events())

async def direct():
    only = Agent("openai-chat:m")
    return (await only.run("Why?")).output, only.name

print(ask(), ask_nobody(), ask_with_tool(), ask_streaming())
asyncio.run(main())
"""
LOGFIRE = """\
import asyncio, json, openai, logfire
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = InMemorySpanExporter()
logfire.configure(
    send_to_logfire=False, console=False, inspect_arguments=False, additional_span_processors=[SimpleSpanProcessor(seen)]
)
logfire.instrument_openai()
"""
TRACELOOP = (
    f"{OWN}from opentelemetry.instrumentation.openai import OpenAIInstrumentor\nOpenAIInstrumentor().instrument()\n"
)
ONCE, TWICE = (1, 5), (2, 10)  # invocations and tokens of a question
PLAIN = {
    "app.ask": ONCE,
    "app.begin": ONCE,
    "app.embed": (1, 1),
    "app.ask_in_vain": (1, 0),
    "app.ask_async": TWICE,
    "app.ask_async_streaming": ONCE,
}


@dataclass(frozen=True)
class Producer:
    """``by``: the name of its instrumentation. ``calls``: what is to be counted by program."""

    app: str
    by: str
    calls: dict[str, tuple[int, int]]


PRODUCERS = {
    "traceloop": Producer(TRACELOOP + CALLS + TOLD, "opentelemetry.instrumentation.openai.v1", PLAIN),
    "logfire": Producer(LOGFIRE + CALLS + TOLD, "logfire.openai", PLAIN),
    "pydantic-ai": Producer(
        OWN + AGENTS + TOLD,
        "pydantic-ai",
        {
            "app.ask": ONCE,
            "app.ask_nobody": (1, 51),
            "app.ask_with_tool": (2, 23),
            "app.ask_streaming": ONCE,
            "app.ask_async": TWICE,
            "app.direct": ONCE,
            "app.ask_async_streaming": ONCE,
            "app.ask_by_steps": ONCE,
            "app.ask_events": ONCE,
        },
    ),
}


def run(cwd: Path, *command: str) -> list[str]:
    """What ``command`` prints."""
    with FakeModel() as model:
        env = os.environ | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed"}
        env |= {"ELL_OTEL_DIR": str(cwd / ".ell"), "TRACELOOP_TELEMETRY": "false"}
        done = subprocess.run(
            [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120
        )
    assert done.returncode == 0, done.stderr
    assert "ell-otel failed" not in done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module", params=PRODUCERS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """A producer, its application's folder, and what that prints under ``ell-otel run`` and without us."""
    producer = PRODUCERS[request.param]
    cwd = tmp_path_factory.mktemp("producer")
    (cwd / "app.py").write_text(producer.app)
    return producer, cwd, run(cwd, "-m", "ell_otel", "run", "app.py"), run(cwd, "app.py")


def of_producer(told: tuple[Any, ...], printed: list[str]) -> list[dict[str, str]]:
    return [span for span in json.loads(printed[-1]) if span["by"] == told[0].by]


def test_the_application_and_what_it_tells_of_itself_are_as_without_us(told: tuple[Any, ...]) -> None:
    _, _, ours, bare = told
    assert ours[:-1] == bare[:-1]
    names = [Counter(span["name"] for span in of_producer(told, printed)) for printed in (ours, bare)]
    assert names[0] == names[1]


def test_every_span_of_the_library_names_the_program_in_whatever_the_application_exports(
    told: tuple[Any, ...],
) -> None:
    spans = of_producer(told, told[2])
    assert {span.get("ell.program.name") for span in spans} == set(told[0].calls)
    assert len({(span["ell.program.name"], span["ell.program.version"]) for span in spans}) == len(told[0].calls)


def test_a_request_that_both_tell_of_counts_once_and_doctor_says_who_told_it_again(
    told: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(told[1] / ".ell")
    assert cli.main(["log", "--json", "--dir", store]) == cli.OK
    programs: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["data"]
    assert {each["name"]: (each["invocations"], each["input_tokens"]) for each in programs} == told[0].calls
    cli.main(["doctor", "--json", "--dir", store])
    found = [each["finding"] for each in json.loads(capsys.readouterr().out)["data"] if each["about"] == "duplicate"]
    assert len(found) == 1
