"""The two events we send: a program version's closure, once, and an evaluation of an invocation.

Both are OTLP log records, so that trace sampling cannot drop them. Every attribute is a scalar, the closure's all
strings: collectors disagree on how they store bytes, maps and lists.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.trace import SpanContext

from ell_otel import redact, semconv
from ell_otel.telemetry.messages import clean

if TYPE_CHECKING:
    from ell_otel.program_pb2 import ProgramVersion

PART_CHARS: Final = 256 << 10
"""Longest source or proto in one record: at most 4 bytes a character, so far below the 4 MiB that gRPC takes."""


def program_event(logger: Logger, version: ProgramVersion) -> None:
    """Send a closure as one record, or as several numbered parts when it is long: source and proto cut alike."""
    shared = {
        semconv.EVENT_NAME: semconv.EVENT_PROGRAM,
        semconv.ELL_PROGRAM_NAME: version.name,
        semconv.ELL_PROGRAM_VERSION: version.version,
        semconv.ELL_PROGRAM_USES: json.dumps([{"name": use.name, "version": use.version} for use in version.uses]),
        semconv.ELL_PROGRAM_PARTIAL: str(version.partial).lower(),
        semconv.ELL_PROGRAM_WARNINGS: json.dumps(list(version.warnings)),
        semconv.ELL_PROGRAM_GIT_COMMIT: version.git.commit,
        semconv.ELL_PROGRAM_GIT_BRANCH: version.git.branch,
        semconv.ELL_PROGRAM_GIT_DIRTY: str(version.git.dirty).lower(),
        semconv.ELL_PROGRAM_PROTO_ENCODING: semconv.PROTO_ENCODING_BASE64,
    }
    encoded = base64.b64encode(version.SerializeToString()).decode("ascii")
    for number, total, source, proto in _parts(version.source, encoded):
        attributes = {
            **shared,
            semconv.ELL_PROGRAM_SOURCE: source,
            semconv.ELL_PROGRAM_PROTO: proto,
            semconv.ELL_PROGRAM_PART: f"{number}/{total}",
        }
        _emit(logger, semconv.EVENT_PROGRAM, f"program {version.name} version {version.version}", attributes)


def evaluation_event(
    logger: Logger,
    scored: SpanContext,
    attributes: dict[str, Any],
    *,
    name: str,
    value: float | None,
    label: str | None,
    explanation: str | None,
) -> None:
    """Send a score. The record carries the scored span's trace and span id; ``attributes`` name the invocation."""
    attributes = {semconv.EVENT_NAME: semconv.EVENT_EVALUATION, semconv.GEN_AI_EVALUATION_NAME: name, **attributes}
    if value is not None:
        attributes[semconv.GEN_AI_EVALUATION_SCORE_VALUE] = float(value)
    if label is not None:
        attributes[semconv.GEN_AI_EVALUATION_SCORE_LABEL] = label = redact.redact(clean(label))
    if explanation is not None:
        attributes[semconv.GEN_AI_EVALUATION_EXPLANATION] = redact.redact(clean(explanation))
    context = trace.set_span_in_context(trace.NonRecordingSpan(scored))
    _emit(logger, semconv.EVENT_EVALUATION, f"{name}: {value if label is None else label}", attributes, context)


def loss_event(logger: Logger, count: int, reason: str, since_ns: int) -> None:
    """Say in the data itself that ``count`` records were lost between ``since_ns`` and now."""
    attributes = {
        semconv.EVENT_NAME: semconv.EVENT_LOSS,
        semconv.ELL_LOSS_COUNT: count,
        semconv.ELL_LOSS_REASON: clean(reason),
        semconv.ELL_LOSS_SINCE: datetime.fromtimestamp(since_ns / 1e9, UTC).isoformat(),
    }
    _emit(logger, semconv.EVENT_LOSS, f"{count} records lost: {clean(reason)}", attributes)


def _parts(source: str, proto: str) -> Iterator[tuple[int, int, str, str]]:
    total = max(1, -(-max(len(source), len(proto)) // PART_CHARS))
    source_step, proto_step = -(-len(source) // total), -(-len(proto) // total)
    for index in range(total):
        yield (
            index + 1,
            total,
            source[index * source_step : (index + 1) * source_step],
            proto[index * proto_step : (index + 1) * proto_step],
        )


def _emit(
    logger: Logger, event: str, body: str, attributes: dict[str, Any], context: otel_context.Context | None = None
) -> None:
    now = time.time_ns()
    logger.emit(
        timestamp=now,
        observed_timestamp=now,
        context=context,
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        body=body,
        attributes=attributes,
        event_name=event,
    )
