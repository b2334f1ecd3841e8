"""The pipeline: an application's own provider is joined, secrets never pass, closures of any size do."""

from __future__ import annotations

import base64
import functools
import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
from collectors import http_collector
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ell_otel as ell
from ell_otel.errors import ConfigError
from ell_otel.program_pb2 import ProgramVersion
from ell_otel.telemetry import emit, guard, providers
from ell_otel.testing import recorded

KEY = "sk-proj-" + "Zx9Qw3Er5Ty7Ui1Op2As" * 2


def test_an_applications_provider_is_joined_and_only_our_spans_go_to_the_spool(folder: Path) -> None:
    theirs = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    ell.init(tracer_provider=provider)

    @ell.program
    def greet() -> str:
        with provider.get_tracer("theirs").start_as_current_span("inside"):
            return "hello"

    with provider.get_tracer("theirs").start_as_current_span("their own"):
        greet()
    assert {span.name.split()[0] for span in theirs.get_finished_spans()} == {"inside", "invoke_workflow", "their"}
    names = [span.name.split()[0] for span in recorded(folder).spans]
    assert names == ["inside", "invoke_workflow"]  # what ran inside an invocation is stamped, and so ours too


def test_a_run_in_the_midst_of_which_telemetry_is_set_up_anew_is_recorded_whole(folder: Path) -> None:
    provider = TracerProvider(shutdown_on_exit=False)

    @ell.program
    def before(question: str) -> str:
        ell.init(tracer_provider=provider)
        return f"{question} Because."

    @ell.program
    def after() -> str:
        return "later"

    before("Why?")
    after()
    first, second = (recorded(folder).span(f"invoke_workflow {__name__}.{of.__qualname__}") for of in (before, after))
    assert first.attributes["ell.invocation.arguments"] == '{"question":"Why?"}'
    assert first.attributes["ell.invocation.result"] == '"Why? Because."'
    assert second.attributes["ell.invocation.result"] == '"later"'


def test_a_collector_gets_the_run_in_the_midst_of_which_another_took_its_place() -> None:
    with http_collector() as first, http_collector() as second:
        ell.init(endpoint=first.url)

        @ell.program
        def move() -> None:
            ell.init(endpoint=second.url)

        move()
        move()
        providers.reset()
        assert [len(each.spans) for each in (first, second)] == [1, 1]


def test_with_an_endpoint_and_an_applications_provider_its_spans_are_not_exported_again() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    ell.init(endpoint="http://127.0.0.1:9", tracer_provider=provider)
    pipeline = providers.pipeline()
    assert [type(each).__name__ for each in pipeline._owned] == ["StampProcessor"]


def test_a_key_in_code_arguments_result_or_error_is_nowhere_in_the_folder(folder: Path) -> None:
    namespace = {"ell": ell, "__name__": "leaky"}
    source = f'API_KEY = "{KEY}"\n@ell.program\ndef leak(text):\n    if text == "fail": raise ValueError(API_KEY)\n    return API_KEY\n'
    path = folder.parent / "leaky.py"
    path.write_text(source)
    exec(compile(source, str(path), "exec"), namespace)
    leak = namespace["leak"]
    assert leak(KEY) == KEY  # type: ignore[operator]
    with pytest.raises(ValueError, match=KEY):
        leak("fail")  # type: ignore[operator]
    ell.score("leaky", 1.0, of=None, explanation=KEY)
    providers.reset()
    written = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"invoke_workflow" in written
    assert KEY.encode() not in written
    assert base64.b64encode(KEY.encode())[4:-4] not in written


def test_a_long_closure_goes_in_numbered_parts_that_make_up_the_whole(folder: Path) -> None:
    source = "x" * (emit.PART_CHARS * 2 + 10)
    emit.program_event(providers.pipeline().logger, ProgramVersion(name="app.big", version="c1:1", source=source))
    events = recorded(folder).events
    assert [event.attributes["ell.program.part"] for event in events] == ["1/3", "2/3", "3/3"]
    assert "".join(event.attributes["ell.program.source"] for event in events) == source
    proto = base64.b64decode("".join(event.attributes["ell.program.proto"] for event in events))
    assert ProgramVersion.FromString(proto).source == source


def test_a_protocol_that_is_none_is_refused_with_what_it_takes() -> None:
    with pytest.raises(ConfigError, match="grpc or http/protobuf"):
        ell.init(endpoint="http://127.0.0.1:9", protocol="carrier pigeon")


def fault() -> None:
    """Something of ours that fails: in a module of the standard library."""
    json.loads("no json")


def test_an_unknown_failure_of_ours_is_told_once_and_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="Expecting"), guard.guarded("testing"):
        fault()
    guard.raise_faults(False)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with guard.guarded("testing once"):
                fault()
    assert caplog.text.count("failed while testing once") == 1


def time_limit() -> None:
    raise TimeoutError("the host's time limit")


@pytest.mark.parametrize(
    "handler", [lambda *_: time_limit(), functools.partial(lambda limit, signum, frame: limit(), time_limit)]
)
def test_an_exception_of_the_hosts_signal_handler_in_the_midst_of_ours_goes_through(handler: Any) -> None:
    guard.raise_faults(False)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(TimeoutError, match="the host's"), guard.guarded("testing"):
            signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_a_value_of_the_hosts_raises_because_we_look_at_it_ends_there() -> None:
    guard.raise_faults(False)
    with guard.guarded("testing"):
        time_limit()


def test_a_logging_filter_that_raises_does_not_reach_the_host() -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError

    guard.log.addFilter(refuse)
    try:
        guard.tell("anything", "a message")
    finally:
        guard.log.removeFilter(refuse)
