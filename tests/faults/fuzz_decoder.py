"""Coverage-guided bytes for everything that reads OTLP: ``fuzz_decoder.py CORPUS [libFuzzer's options]``.

Whatever the bytes are, they are refused with a ``DecodeError``, or all that was accepted of them becomes rows.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ell_otel.ingest", "ell_otel.telemetry.segments"]):
    from ell_otel.errors import DecodeError
    from ell_otel.ingest import decode, otlp_json
    from ell_otel.ingest.accept import accept
    from ell_otel.telemetry import segments
    from ell_otel.telemetry.segments import Kind

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

READ = {
    Kind.TRACES: (ExportTraceServiceRequest, decode.traces),
    Kind.LOGS: (ExportLogsServiceRequest, decode.logs),
}


def one(data: bytes) -> None:
    payload = data[1:]
    choice = data[0] if data else 0
    kind = Kind.LOGS if choice & 1 else Kind.TRACES
    message, to_rows = READ[kind]
    segments._parse(payload, 0, True)
    try:
        if choice & 2:
            payload = otlp_json.parse(payload, message()).SerializeToString()
        accepted = accept(kind, payload)
    except DecodeError:
        return
    rows = to_rows(accepted.payload)
    assert rows.spans + rows.records == accepted.items


atheris.Setup(sys.argv, one)
atheris.Fuzz()
