"""What is accepted can be stored: whatever bytes pass the check become rows, so that no acknowledgement is empty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ell_otel.errors import DecodeError
from ell_otel.ingest import decode
from ell_otel.ingest.accept import ATTRIBUTES, accept
from ell_otel.telemetry.segments import Kind

IDS = st.sampled_from([b"", bytes(8), bytes(16), b"short", b"\x01" * 8, b"\x01" * 16, b"\x01" * 17])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for _ in range(draw(st.integers(0, 4))):
        span = scope.spans.add(
            trace_id=draw(IDS), span_id=draw(IDS), parent_span_id=draw(IDS), kind=draw(st.integers(0, 9))
        )
        for _ in range(draw(st.integers(0, 2))):
            span.links.add(trace_id=draw(IDS), span_id=draw(IDS))
    return request.SerializeToString()


@given(requests())
def test_what_is_accepted_decodes_and_the_rest_is_counted(payload: bytes) -> None:
    sent = len(ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans)
    try:
        accepted = accept(Kind.TRACES, payload)
    except DecodeError:
        with pytest.raises(DecodeError):
            decode.traces(payload)
        return
    assert decode.traces(accepted.payload).spans == accepted.items == sent - accepted.rejected
    assert bool(accepted.reason) == bool(accepted.rejected)


@given(st.binary(max_size=200), st.sampled_from(list(Kind)))
def test_any_bytes_are_either_rows_or_refused(payload: bytes, kind: Kind) -> None:
    read = {Kind.TRACES: decode.traces, Kind.LOGS: decode.logs}[kind]
    try:
        accepted = accept(kind, payload)
    except DecodeError:
        return
    rows = read(accepted.payload)
    assert rows.spans + rows.records == accepted.items


def test_a_record_with_too_many_attributes_is_taken_out_alone() -> None:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for count in (1, ATTRIBUTES, ATTRIBUTES + 1):
        record = scope.log_records.add()
        for number in range(count):
            record.attributes.add(key=str(number)).value.int_value = 1
    accepted = accept(Kind.LOGS, request.SerializeToString())
    assert (accepted.items, accepted.rejected) == (2, 1)
    assert str(ATTRIBUTES) in accepted.reason
