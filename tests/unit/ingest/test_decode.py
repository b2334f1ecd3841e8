"""OTLP becomes the column text that the Collector's ClickHouse exporter writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ell_otel.errors import DecodeError
from ell_otel.ingest import decode
from ell_otel.store.writer import LOG_COLUMNS, TRACE_COLUMNS

GOLDEN = Path(__file__).parents[2] / "golden" / "rows"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", golden("values.json"), ids=lambda case: json.dumps(case["value"])[:60])
def test_a_value_becomes_the_text_that_the_exporter_writes(case: dict[str, Any]) -> None:
    request = ExportLogsServiceRequest()
    record = {"body": case["value"], "attributes": [{"key": "k", "value": case["value"]}]}
    ParseDict({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}, request)
    rows = decode.logs(request.SerializeToString())
    columns = dict(zip((name for name, _ in LOG_COLUMNS), rows.logs, strict=True))
    assert columns["Body"] == [case["text"]]
    assert columns["LogAttributes"] == [{"k": case["text"]}]


def test_spans_become_the_golden_rows() -> None:
    case = golden("traces.json")
    rows = decode.traces(ParseDict(case["request"], ExportTraceServiceRequest()).SerializeToString())
    assert dict(zip((name for name, _ in TRACE_COLUMNS), rows.traces, strict=True)) == case["rows"]
    assert (rows.spans, rows.records) == (2, 0)


def test_log_records_become_the_golden_rows() -> None:
    case = golden("logs.json")
    rows = decode.logs(ParseDict(case["request"], ExportLogsServiceRequest()).SerializeToString())
    assert dict(zip((name for name, _ in LOG_COLUMNS), rows.logs, strict=True)) == case["rows"]
    assert (rows.spans, rows.records) == (0, 2)


def test_an_empty_request_has_no_rows() -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add()
    assert decode.traces(request.SerializeToString()).spans == 0
    assert decode.logs(b"").records == 0


@pytest.mark.parametrize("payload", [b"\xff\xff garbage", b"\x0a\xff", b"{}"])
def test_bytes_that_are_no_otlp_are_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="are no Export"):
        decode.traces(payload)
    with pytest.raises(DecodeError, match="are no Export"):
        decode.logs(payload)


def test_text_that_is_not_utf_8_is_refused() -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add().name = "aaaa"
    with pytest.raises(DecodeError):
        decode.traces(request.SerializeToString().replace(b"aaaa", b"\xed\xa0\x80a"))


@pytest.mark.parametrize("field", ["trace_id", "span_id", "parent_span_id"])
def test_an_id_of_another_length_is_refused_by_name(field: str) -> None:
    request = ExportTraceServiceRequest()
    setattr(request.resource_spans.add().scope_spans.add().spans.add(), field, b"abc")
    with pytest.raises(DecodeError, match="has 3 bytes instead of"):
        decode.traces(request.SerializeToString())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_the_same_number(number: float) -> None:
    text = decode._number(number)
    assert float(text) == number
    assert "E" not in text
    assert not text.endswith(".0")


@given(st.binary(max_size=200))
def test_any_bytes_are_either_rows_or_a_decode_error(payload: bytes) -> None:
    for decoder in (decode.traces, decode.logs):
        try:
            rows = decoder(payload)
        except DecodeError:
            continue
        assert len({len(column) for column in rows.traces}) == 1
        assert len({len(column) for column in rows.logs}) == 1
