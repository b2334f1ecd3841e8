"""Spans of other libraries carry the program as ours do, and a request that two of them describe counts once."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import gc
import hashlib
import json
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from canaries import CANARIES
from collectors import http_collector
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ell_otel as ell
from ell_otel import cli
from ell_otel.telemetry import providers, stamping
from ell_otel.telemetry.processors import CONTENT
from ell_otel.testing import FakeModel, RecordedSpan, recorded

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": "Because."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 3},
}
ASKED: Any = {"model": "claude-test", "max_tokens": 10, "messages": [{"role": "user", "content": "Why?"}]}


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    ell.instrument()
    yield
    ell.uninstrument()


def answer(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, json=MESSAGE)


def ask(client: anthropic.Anthropic) -> str:
    return client.messages.create(**ASKED).content[0].text


async def ask_at_once(client: anthropic.AsyncAnthropic) -> list[Any]:
    async with client:
        return await asyncio.gather(*[client.messages.create(**ASKED) for _ in range(2)])


def test_anthropics_own_spans_name_the_program_without_a_provider_of_the_applications(folder: Path) -> None:
    with anthropic.Anthropic(api_key="no", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))) as client:
        assert ask(client) == "Because."
    (span,) = recorded(folder).spans
    assert span.attributes["gen_ai.provider.name"] == "anthropic"
    assert span.attributes["ell.program.name"] == f"{__name__}.ask"
    assert span.attributes["gen_ai.usage.output_tokens"] == 3


def contents_of(span: RecordedSpan) -> dict[str, Any]:
    return {name: json.loads(span.attributes[name]) for name in CONTENT if name in span.attributes}


def test_anthropics_contents_are_in_the_local_store_with_secrets_redacted(folder: Path) -> None:
    secret = CANARIES["openai"]
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with anthropic.Anthropic(api_key="no", http_client=http) as client:
        client.messages.create(**{**ASKED, "messages": [{"role": "user", "content": f"Why {secret}?"}]})
    (span,) = recorded(folder).spans
    contents = contents_of(span)
    assert contents["gen_ai.input.messages"][0]["parts"] == [{"type": "text", "content": "Why [REDACTED]?"}]
    assert contents["gen_ai.output.messages"][0]["parts"] == [{"type": "text", "content": "Because."}]


def test_images_of_any_library_are_kept_by_digest(folder: Path) -> None:
    image = os.urandom(20_000)
    text = base64.b64encode(image).decode()
    parts = [
        {"type": "blob", "mime_type": "image/png", "modality": "image", "content": text},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}},
        {"type": "text", "content": "Why? " * 2000},
    ]
    tracer = providers.pipeline().tracer_provider.get_tracer("some.library")

    @ell.program
    def ask() -> None:
        with tracer.start_as_current_span("chat") as span:
            said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
            span.set_attributes(said | {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": parts}])})

    ask()
    (message,) = contents_of(recorded(folder).span("chat"))["gen_ai.input.messages"]
    name = f"sha256:{hashlib.sha256(image).hexdigest()}"
    assert message["parts"] == [
        {"type": "uri", "mime_type": "image/png", "modality": "image", "uri": name},
        {"type": "image_url", "image_url": {"url": {"$blob": name, "prefix": "data:image/png;base64,"}}},
        parts[2],
    ]
    assert (folder / "blobs" / name.removeprefix("sha256:")).read_bytes() == image


def test_anthropics_images_are_not_in_its_spans(folder: Path) -> None:
    text = base64.b64encode(os.urandom(20_000)).decode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": text}}
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with anthropic.Anthropic(api_key="no", http_client=http) as client:
        client.messages.create(**{**ASKED, "messages": [{"role": "user", "content": [image]}]})
    (span,) = recorded(folder).spans
    assert contents_of(span)["gen_ai.input.messages"][0]["role"] == "user"
    assert text[:100] not in json.dumps(span.attributes)


def test_anthropics_contents_stay_here_when_spans_go_to_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        ell.uninstrument()
        ell.instrument()
        http = httpx2.Client(transport=httpx2.MockTransport(answer))
        with anthropic.Anthropic(api_key="no", http_client=http) as client:
            mode = client.open_telemetry["traces"]["content_mode"]
            assert ask(client) == "Because."
        ell.flush()
        (span,) = collector.spans
    assert mode == "metadata_only"
    assert not [each.key for each in span.attributes if each.key in CONTENT]


def test_anthropics_contents_are_not_given_to_an_applications_own_exporters(
    applications: InMemorySpanExporter, folder: Path
) -> None:
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with anthropic.Anthropic(api_key="no", http_client=http) as client:
        assert client.open_telemetry["traces"]["content_mode"] == "metadata_only"


def test_anthropics_spans_of_coroutines_that_run_in_tasks_name_who_made_them(folder: Path) -> None:
    transport = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    asyncio.run(ask_at_once(anthropic.AsyncAnthropic(api_key="no", http_client=transport)))
    programs = [span.attributes["ell.program.name"] for span in recorded(folder).spans]
    assert programs == [f"{__name__}.ask_at_once"] * 2


@pytest.fixture
def applications() -> Iterator[InMemorySpanExporter]:
    """What the application's own tracer provider exports; OpenInference reports to that one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ell.init(tracer_provider=provider)
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    yield exporter
    instrumentor.uninstrument()


def ask_openai(client: Any) -> Any:
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Why?"}])


def test_a_request_that_two_instrumentations_describe_counts_once_and_doctor_names_the_second(
    applications: InMemorySpanExporter, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeModel() as model, model.client() as client:
        usage = ask_openai(client).usage
    spans = applications.get_finished_spans()
    assert len(spans) == 2
    assert {span.attributes["ell.program.name"] for span in spans} == {f"{__name__}.ask_openai"}
    twice = [span.instrumentation_scope.name for span in spans if "ell.duplicate" in span.attributes]
    assert twice == ["openinference.instrumentation.openai"]
    ell.flush()

    assert cli.main(["log", "--json", "--dir", str(folder)]) == cli.OK
    (program,) = json.loads(capsys.readouterr().out)["data"]
    assert (program["invocations"], program["input_tokens"]) == (1, usage.prompt_tokens)
    cli.main(["doctor", "--json", "--dir", str(folder)])
    findings = json.loads(capsys.readouterr().out)["data"]
    (finding,) = [each["finding"] for each in findings if each["about"] == "duplicate"]
    assert finding.startswith("openinference.instrumentation.openai described 1 ")


def test_whoever_tells_of_a_call_again_when_only_its_ids_are_left_names_its_program_and_does_not_count(
    folder: Path,
) -> None:
    tracer = providers.pipeline().tracer_provider.get_tracer("elsewhere")
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    carrier: dict[str, str] = {}

    def ask() -> None:
        with tracer.start_as_current_span("chat", attributes=chat):
            inject(carrier)

    ask()
    for _ in range(stamping.MAX_RECENT):  # others meanwhile
        tracer.start_span("chat", attributes=chat).end()
    tracer.start_span("chat again", extract(carrier), attributes=chat).end()
    with tracer.start_as_current_span("work", attributes={"n": 1}):
        inject(carrier)
    tracer.start_span("another chat", extract(carrier), attributes=chat).end()
    again, other = (recorded(folder).span(name).attributes for name in ("chat again", "another chat"))
    assert again["ell.program.name"].endswith(".<locals>.ask")
    assert again["ell.duplicate"] == "true"
    assert "ell.duplicate" not in other


class Visit:
    """A host's request, which it finds by a context variable."""


visit: contextvars.ContextVar[Visit] = contextvars.ContextVar("visit")


def test_what_was_in_the_hosts_context_does_not_live_on_when_a_call_is_over(folder: Path) -> None:
    def serve(coming: Visit) -> None:
        visit.set(coming)
        with anthropic.Anthropic(
            api_key="not-needed", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
        ) as client:
            ask(client)

    coming = Visit()
    contextvars.copy_context().run(serve, coming)
    lives = weakref.ref(coming)
    del coming
    gc.collect()
    assert lives() is None
    assert len(recorded(folder).spans) == 1


def test_doctor_counts_the_model_calls_of_which_nothing_is_known(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeModel() as model, model.client() as client:
        ask_openai(client)
        asked = {"model": "text-embedding-3-small", "input": "Why?"}
        thread = threading.Thread(target=client.embeddings.create, kwargs=asked)
        thread.start()
        thread.join()
    cli.main(["log", "--json", "--dir", str(folder)])  # the store is made when a command first reads
    capsys.readouterr()
    cli.main(["doctor", "--json", "--dir", str(folder)])
    findings = json.loads(capsys.readouterr().out)["data"]
    (finding,) = [each["finding"] for each in findings if each["about"] == "programs"]
    assert finding.startswith("1 of 2 model requests name no program")


def test_a_span_of_openinference_alone_is_an_inference_like_any_other(
    applications: InMemorySpanExporter, folder: Path
) -> None:
    ell.uninstrument()
    with FakeModel() as model, model.client() as client:
        usage = ask_openai(client).usage
    (span,) = recorded(folder).spans
    assert span.attributes["gen_ai.operation.name"] == "chat"
    assert span.attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert span.attributes["gen_ai.usage.input_tokens"] == usage.prompt_tokens
    assert json.loads(span.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Why?"}]}
    ]
    assert not [name for name in span.attributes if name.startswith(("llm.input_messages", "input.value"))]
