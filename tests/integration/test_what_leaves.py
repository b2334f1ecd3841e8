"""What leaves the process: one policy for everything that people, models and errors wrote, whoever recorded it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from canaries import CANARIES
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

import ell_otel as ell
from ell_otel import redact
from ell_otel.telemetry import providers
from ell_otel.testing import FakeModel, recorded

SECRET = CANARIES["openai"]
NAME = "Rumpelstiltskin"


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    ell.instrument()
    yield
    redact.use(None)
    ell.uninstrument()


def everything(folder: Path) -> str:
    """All that is on disk."""
    ell.flush()
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).decode("latin-1")


def reported(tracer: Any) -> None:
    """What another library's instrumentation does with an error: an event with a message and a stack."""
    with pytest.raises(ConnectionError), tracer.start_as_current_span("chat gpt", attributes={"gen_ai.system": "x"}):
        raise ConnectionError(f"refused {SECRET} of {NAME}")


def test_another_librarys_exception_event_has_no_secret_in_its_message_and_stack(folder: Path) -> None:
    applications = TracerProvider(shutdown_on_exit=False)
    ell.init(tracer_provider=applications)
    reported(applications.get_tracer("another library"))
    written = everything(folder)
    assert "exception.stacktrace" in written
    assert "refused [REDACTED] of Rumpelstiltskin" in written
    assert SECRET not in written


@ell.program
def asked(client: Any, note: str) -> str:
    """Ask, and mention Rumpelstiltskin in the source."""
    answer: str = (
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": note}])
        .choices[0]
        .message.content
    )
    return answer


@ell.program
def failing(note: str) -> None:
    raise LookupError(note)


def use_all(note: str) -> None:
    with FakeModel(lambda request: note) as model, model.client() as client:
        assert asked(client, note) == note
    with pytest.raises(LookupError):
        failing(note)


def test_the_users_hook_applies_to_contents_arguments_results_errors_and_closures(folder: Path) -> None:
    applications = TracerProvider(shutdown_on_exit=False)
    ell.init(tracer_provider=applications, content=True, redact=lambda text: text.replace(NAME, "N.N."))
    use_all(f"it is {NAME}")
    reported(applications.get_tracer("another library"))
    written = everything(folder)
    assert NAME not in written
    names = ("ell.request", "gen_ai.input.messages", "gen_ai.output.messages", "ell.invocation.arguments")
    spans = recorded(folder).spans
    for name in (*names, "ell.invocation.result"):
        assert [span for span in spans if "N.N." in span.attributes.get(name, "")] or name == "ell.request", name
    assert "LookupError: it is N.N." in [span.message for span in spans]
    assert [
        event for event in recorded(folder).events if "N.N. in the source" in event.attributes["ell.program.source"]
    ]


def test_a_hook_that_fails_lets_nothing_through(folder: Path) -> None:
    def fail(text: str) -> str:
        raise RuntimeError(text)

    ell.init(redact=fail)
    use_all(f"it is {NAME}")
    assert NAME not in everything(folder)
    messages = [span.attributes.get("gen_ai.input.messages") for span in recorded(folder).spans]
    assert "[REDACTED]" in messages


# -- late stamps ------------------------------------------------------------------------------------------------------


def crowded(tracer: Any) -> None:
    with tracer.start_as_current_span("chat gpt", attributes={"gen_ai.request.model": "gpt"}) as span:
        for number in range(300):
            span.set_attribute(f"gen_ai.odd.{number}", number)


@ell.program
def program_with_a_crowded_span(tracer: Any) -> None:
    crowded(tracer)


def test_a_span_that_evicts_its_oldest_attributes_still_names_its_program(folder: Path) -> None:
    applications = TracerProvider(shutdown_on_exit=False)
    ell.init(tracer_provider=applications)
    tracer = applications.get_tracer("another library")
    crowded(tracer)
    program_with_a_crowded_span(tracer)
    alone, inside = [span.attributes for span in recorded(folder).spans if span.name == "chat gpt"]
    assert "gen_ai.odd.0" not in alone
    assert alone["ell.program.name"] == f"{__name__}.crowded"
    assert inside["ell.program.name"] == f"{__name__}.program_with_a_crowded_span"
    assert alone["ell.program.version"].startswith("c1:")
    assert len(inside["ell.invocation.id"]) == 32


def test_the_events_of_another_librarys_model_call_name_the_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemoryLogRecordExporter()
    logs = LoggerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(providers, "get_logger_provider", lambda: logs)
    applications = TracerProvider(shutdown_on_exit=False)
    ell.init(tracer_provider=applications)
    logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger, tracer = logs.get_logger("another library"), applications.get_tracer("another library")

    def call() -> None:
        with tracer.start_as_current_span("chat gpt", attributes={"gen_ai.request.model": "gpt"}):
            logger.emit(LogRecord(event_name="gen_ai.client.inference.operation.details", attributes={"x": 1}))
        logger.emit(LogRecord(event_name="unrelated"))

    call()
    details, unrelated = [each.log_record.attributes for each in exporter.get_finished_logs()]
    assert details is not None
    assert (details["x"], details["ell.program.name"]) == (1, f"{call.__module__}.{call.__qualname__}")
    assert not unrelated
