"""OTLP to rows: the exact column text that the OpenTelemetry Collector's ClickHouse exporter writes.

The Collector turns every attribute value into text (``pcommon.Value.AsString``): numbers as Go's JSON prints them,
bytes as base64, maps and arrays as compact JSON with sorted keys and with ``<``, ``>``, ``&`` escaped, as Go's
``encoding/json`` does. ``tests/golden/rows`` holds examples. Many spans for the engine of this process are made into
the same rows by the engine (``spans``).

Speed. Per span this loop is most of what ingestion costs, so it asks upb for as little as it can: the resource and the
scope are turned into text once and their dicts shared by all rows, a value is first tried as a string (nine of ten
are) and then as a whole number, which costs half of asking which of them it is, and a field is read once.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError as WireError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ell_otel import semconv
from ell_otel.errors import DecodeError
from ell_otel.store.writer import Rows

# DateTime64(9) counts nanoseconds in 64 signed bits: it ends in April 2262.
LAST_NS: Final = 2**63 - 1
_LAST_DURATION_NS: Final = 2**64 - 1

_KINDS: Final = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
_STATUSES: Final = ("Unset", "Ok", "Error")
TRACE_ID_LENGTHS: Final = frozenset((0, 16))
SPAN_ID_LENGTHS: Final = frozenset((0, 8))
_ZERO_TRACE: Final = bytes(16)
_ZERO_SPAN: Final = bytes(8)


def traces(payload: bytes) -> Rows:
    """The rows for ``otel_traces`` of a serialised ``ExportTraceServiceRequest``.

    Raises ``DecodeError`` when the bytes are no such message, or an id in it has not the length of one.
    """
    request = ExportTraceServiceRequest()
    _parse(request, payload)
    rows = Rows()
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        name = service(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            _add(rows.traces, _spans(scope_spans.spans, name, resource, scope.name, scope.version))
    return rows


def logs(payload: bytes) -> Rows:
    """The rows for ``otel_logs`` of a serialised ``ExportLogsServiceRequest``.

    Raises ``DecodeError`` when the bytes are no such message, or an id in it has not the length of one.
    """
    request = ExportLogsServiceRequest()
    _parse(request, payload)
    rows = Rows()
    for resource_logs in request.resource_logs:
        resource = _attributes(resource_logs.resource.attributes)
        name = service(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            scope = scope_logs.scope
            shared = (resource_logs.schema_url, resource, scope_logs.schema_url, scope.name, scope.version)
            _add(rows.logs, _records(scope_logs.log_records, name, shared, _attributes(scope.attributes)))
    return rows


def _parse(request: ExportTraceServiceRequest | ExportLogsServiceRequest, payload: bytes) -> None:
    try:
        request.ParseFromString(payload)
    except WireError as error:
        raise DecodeError(
            f"{len(payload)} bytes are no {type(request).__name__}: {error}. Send OTLP, each signal to its path"
        ) from None


def _spans(
    spans: Iterable[Span], service: str, resource: dict[str, str], scope_name: str, scope_version: str
) -> Iterator[tuple[object, ...]]:
    for span in spans:
        start = span.start_time_unix_nano
        duration = span.end_time_unix_nano - start
        status = span.status
        yield (
            start if start <= LAST_NS else LAST_NS,
            _trace_id(span.trace_id),
            _span_id(span.span_id),
            _span_id(span.parent_span_id),
            span.trace_state,
            span.name,
            _name_of(_KINDS, span.kind),
            service,
            resource,
            scope_name,
            scope_version,
            _attributes(span.attributes),
            duration if duration > 0 else 0,
            _name_of(_STATUSES, status.code),
            status.message,
            *_events(span.events),
            *_links(span.links),
        )


def _records(
    records: Iterable[LogRecord], service: str, shared: tuple[str, dict[str, str], str, str, str], scope: dict[str, str]
) -> Iterator[tuple[object, ...]]:
    for record in records:
        time = record.time_unix_nano or record.observed_time_unix_nano
        yield (
            time if time <= LAST_NS else LAST_NS,
            _trace_id(record.trace_id),
            _span_id(record.span_id),
            record.flags & 0xFF,
            record.severity_text,
            record.severity_number & 0xFF,
            service,
            text(record.body),
            *shared,
            scope,
            _attributes(record.attributes),
            record.event_name,
        )


def _add(columns: list[list[object]], rows: Iterable[tuple[object, ...]]) -> None:
    for column, values in zip(columns, zip(*rows, strict=True), strict=False):  # no rows: nothing to add
        column.extend(values)


_Events = tuple[list[int], list[str], list[dict[str, str]]]
_Links = tuple[list[str], list[str], list[str], list[dict[str, str]]]


def _events(events: Any) -> _Events:
    if not events:
        return [], [], []
    return (
        [min(event.time_unix_nano, LAST_NS) for event in events],
        [event.name for event in events],
        [_attributes(event.attributes) for event in events],
    )


def _links(links: Any) -> _Links:
    if not links:
        return [], [], [], []
    return (
        [_trace_id(link.trace_id) for link in links],
        [_span_id(link.span_id) for link in links],
        [link.trace_state for link in links],
        [_attributes(link.attributes) for link in links],
    )


def _trace_id(raw: bytes) -> str:
    if len(raw) not in TRACE_ID_LENGTHS:
        raise DecodeError(f"a trace id has {len(raw)} bytes instead of 16: {raw[:32].hex()}")
    return "" if raw == _ZERO_TRACE else raw.hex()


def _span_id(raw: bytes) -> str:
    if len(raw) not in SPAN_ID_LENGTHS:
        raise DecodeError(f"a span id has {len(raw)} bytes instead of 8: {raw[:32].hex()}")
    return "" if raw == _ZERO_SPAN else raw.hex()


def _name_of(names: tuple[str, ...], number: int) -> str:
    """The name of an enum's number; "" for one that is younger than this release."""
    return names[number] if 0 <= number < len(names) else ""


def service(attributes: Iterable[KeyValue]) -> str:
    for attribute in attributes:
        if attribute.key == semconv.SERVICE_NAME:
            return attribute.value.string_value
    return ""


def _attributes(attributes: Iterable[KeyValue]) -> dict[str, str]:
    # The last of two equal keys counts, as with the Collector.
    return {
        pair.key: (value := pair.value).string_value or (str(number) if (number := value.int_value) else text(value))
        for pair in attributes
    }


# -- values as text ---------------------------------------------------------------------------------------------------


def text(value: AnyValue) -> str:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return str(value.int_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "double_value":
            number = value.double_value
            return _number(number) if math.isfinite(number) else f"json: unsupported value: {_GO_SPECIAL[str(number)]}"
        case "bytes_value":
            return b64encode(value.bytes_value).decode("ascii")
        case "array_value" | "kvlist_value":
            try:
                return _json(value)
            except _NotJson:
                return ""  # so does the Collector: Go refuses NaN and the infinities, and the error is dropped
        case _:
            return ""


class _NotJson(ValueError):
    """A number that JSON cannot say."""


_GO_SPECIAL: Final = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}
_GO_ESCAPES: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def _json(value: AnyValue) -> str:
    match value.WhichOneof("value"):
        case "kvlist_value":
            last = {pair.key: pair.value for pair in value.kvlist_value.values}
            # Code points sort as their UTF-8 does, which is how Go sorts.
            return "{" + ",".join(f"{_quoted(key)}:{_json(last[key])}" for key in sorted(last)) + "}"
        case "array_value":
            return "[" + ",".join(_json(item) for item in value.array_value.values) + "]"
        case "string_value":
            return _quoted(value.string_value)
        case "bytes_value":
            return f'"{b64encode(value.bytes_value).decode("ascii")}"'
        case "double_value":
            if not math.isfinite(value.double_value):
                raise _NotJson
            return _number(value.double_value)
        case None:
            return "null"
        case _:
            return text(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_GO_ESCAPES)


def _number(number: float) -> str:
    """A finite double as Go's encoding/json and JavaScript print it: 1, 0.1, 1e+21, 1e-7."""
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    if number and (abs(number) < 1e-6 or abs(number) >= 1e21):
        return f"{sign}{mantissa.removesuffix('.0')}e{int(exponent):+d}"
    if not exponent:
        return sign + mantissa.removesuffix(".0")
    whole, _, fraction = mantissa.partition(".")
    shift = int(exponent)
    if shift < 0:
        return f"{sign}0.{'0' * (-shift - 1)}{whole}{fraction if fraction != '0' else ''}"
    digits = whole + (fraction if fraction != "0" else "")
    return sign + digits.ljust(shift + 1, "0")
