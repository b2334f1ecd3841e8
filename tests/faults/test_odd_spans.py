"""Spans of other producers with odd values in them: they are recorded as far as can be, and so are their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collectors import http_collector
from opentelemetry.trace import Span, Status, StatusCode

import ell_otel as ell
from ell_otel.telemetry import guard, providers
from ell_otel.testing import recorded


def surrogate_value(span: Span) -> None:
    span.set_attribute("gen_ai.request.model", "\ud800")


def surrogate_name(span: Span) -> None:
    span.update_name("\udfff")


def surrogate_key(span: Span) -> None:
    span.set_attribute("\ud800", 1)


def surrogate_status(span: Span) -> None:
    span.set_status(Status(StatusCode.ERROR, "\ud800"))


def surrogate_event(span: Span) -> None:
    span.add_event("\ud800", {"k": "\ud800"})


def numbers(span: Span) -> None:
    span.set_attributes({"nan": float("nan"), "inf": float("inf"), "big": 2**70, "list": [2**70, 1]})


def ten_thousand_attributes(span: Span) -> None:
    span.set_attributes({f"key {number}": number for number in range(10_000)})


def ten_megabytes(span: Span) -> None:
    span.set_attribute("gen_ai.input.messages", "word " * 2_000_000)


def nul(span: Span) -> None:
    span.set_attribute("gen_ai.input.messages", "\x00\u202e")


ODD = [
    surrogate_value,
    surrogate_name,
    surrogate_key,
    surrogate_status,
    surrogate_event,
    numbers,
    ten_thousand_attributes,
    ten_megabytes,
    nul,
]


def emit(odd: Callable[[Span], None]) -> None:
    for act in (lambda _: None, odd, lambda _: None):
        span: Any = providers.pipeline().tracer.start_span("chat m", attributes={"gen_ai.operation.name": "chat"})
        act(span)
        span.end()


@pytest.mark.parametrize("odd", ODD)
def test_in_the_spool_all_three_spans_arrive(odd: Callable[[Span], None], folder: Path) -> None:
    guard.raise_faults(False)
    emit(odd)
    assert len(recorded(folder).spans) == 3


@pytest.mark.parametrize("odd", ODD)
def test_at_a_collector_all_three_spans_arrive(odd: Callable[[Span], None]) -> None:
    guard.raise_faults(False)
    with http_collector() as collector:
        ell.init(endpoint=collector.url, content=True)
        emit(odd)
        assert ell.flush()
        assert len(collector.spans) == 3
