"""What is let in: a request is parsed, and its items that could never be stored are taken out of it, each counted.

So whatever is acknowledged can be stored. This is the part of the work that a sender waits for, and it asks of each
span as little as it can; turning spans into rows is done behind the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError as WireError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ell_otel.errors import DecodeError
from ell_otel.ingest.decode import SPAN_ID_LENGTHS, TRACE_ID_LENGTHS
from ell_otel.telemetry.segments import Kind

ATTRIBUTES: Final = 10_000
"""Most attributes of a span, an event, a link or a log record. Nesting ends at protobuf's own limit, 100 messages."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request without the items that are refused: ``rejected`` of them, the last for ``reason``."""

    payload: bytes
    items: int
    rejected: int = 0
    reason: str = ""


def accept(kind: Kind, payload: bytes) -> Accepted:
    """Raises ``DecodeError`` when the bytes are no request of this kind, or when nothing of it can be accepted."""
    request = ExportTraceServiceRequest() if kind is Kind.TRACES else ExportLogsServiceRequest()
    try:
        request.ParseFromString(payload)
    except WireError as error:
        raise DecodeError(
            f"{len(payload)} bytes are no {type(request).__name__}: {error}. Send OTLP, each signal to its path"
        ) from None
    wrong: Callable[[Any], str] = _wrong_span if kind is Kind.TRACES else _wrong_record
    count = rejected = 0
    reason = ""
    for items in _lists(request):
        found = [(index, why) for index, item in enumerate(items) if (why := wrong(item))]
        count += len(items) - len(found)
        rejected += len(found)
        for index, why in reversed(found):
            del items[index]
            reason = why
    if not rejected:
        return Accepted(payload, count)
    if not count:
        raise DecodeError(f"nothing of this request can be stored: {reason}")
    return Accepted(request.SerializeToString(), count, rejected, reason)


def _lists(request: Any) -> Iterator[Any]:
    if isinstance(request, ExportTraceServiceRequest):
        yield from (scope.spans for resource in request.resource_spans for scope in resource.scope_spans)
    elif isinstance(request, ExportLogsServiceRequest):
        yield from (scope.log_records for resource in request.resource_logs for scope in resource.scope_logs)


def _wrong_span(span: Any) -> str:
    """Why a span cannot be stored; empty when it can. Each call in it is felt, so most spans pass at the first line."""
    if (
        len(span.trace_id) in TRACE_ID_LENGTHS
        and len(span.span_id) in SPAN_ID_LENGTHS
        and len(span.parent_span_id) in SPAN_ID_LENGTHS
        and len(span.attributes) <= ATTRIBUTES
        and not (span.events or span.links)
    ):
        return ""
    if why := _wrong_ids(span):
        return why
    if len(span.parent_span_id) not in SPAN_ID_LENGTHS:
        return _no_id("parent span", span.parent_span_id, SPAN_ID_LENGTHS)
    if len(span.attributes) > ATTRIBUTES:
        return _TOO_MANY
    for event in span.events:
        if len(event.attributes) > ATTRIBUTES:
            return _TOO_MANY
    for link in span.links:
        if why := _wrong_ids(link):
            return why
        if len(link.attributes) > ATTRIBUTES:
            return _TOO_MANY
    return ""


def _wrong_record(record: Any) -> str:
    return _wrong_ids(record) or (_TOO_MANY if len(record.attributes) > ATTRIBUTES else "")


def _wrong_ids(item: Any) -> str:
    if len(item.trace_id) not in TRACE_ID_LENGTHS:
        return _no_id("trace", item.trace_id, TRACE_ID_LENGTHS)
    if len(item.span_id) not in SPAN_ID_LENGTHS:
        return _no_id("span", item.span_id, SPAN_ID_LENGTHS)
    return ""


def _no_id(which: str, raw: bytes, lengths: frozenset[int]) -> str:
    return f"a {which} id has {len(raw)} bytes instead of {max(lengths)}: {raw[:32].hex()}"


_TOO_MANY: Final = f"a span or record has more than {ATTRIBUTES} attributes"
