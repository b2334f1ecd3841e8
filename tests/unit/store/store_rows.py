"""Rows as programs would send them, for the tests of the store."""

from __future__ import annotations

import json
from typing import Any

from ell_otel.store.writer import LOG_COLUMNS, TRACE_COLUMNS, Rows

T0 = 1_760_000_000_000_000_000  # October 2025, in ns
MS = 1_000_000


def hash_of(digits: str) -> str:
    """A version hash that begins with the digits."""
    return "c1:" + digits.ljust(64, "0")


def rows_of(*parts: Rows) -> Rows:
    rows = Rows()
    for part in parts:
        rows.extend(part)
    return rows


def span(attributes: dict[str, str], **columns: Any) -> Rows:
    """One span; a keyword names a column, with "__" for the dot of a nested one."""
    values: dict[str, Any] = {
        "Timestamp": T0,
        "TraceId": "0" * 31 + "1",
        "SpanId": "0" * 15 + "1",
        "SpanKind": "Internal",
        "StatusCode": "Unset",
        "ServiceName": "shop",
        "SpanAttributes": attributes,
        **{name.replace("__", "."): value for name, value in columns.items()},
    }
    rows = Rows()
    for column, (name, kind) in zip(rows.traces, TRACE_COLUMNS, strict=True):
        column.append(values.get(name, _empty(kind)))
    return rows


def record(attributes: dict[str, str], **columns: Any) -> Rows:
    """One log record."""
    values: dict[str, Any] = {"Timestamp": T0, "ServiceName": "shop", "LogAttributes": attributes, **columns}
    values.setdefault("EventName", attributes.get("event.name", ""))
    rows = Rows()
    for column, (name, kind) in zip(rows.logs, LOG_COLUMNS, strict=True):
        column.append(values.get(name, _empty(kind)))
    return rows


def invocation(number: int, program: str, version: str, **columns: Any) -> Rows:
    """The span of invocation ``number``, with a trace of its own."""
    attributes = {
        "gen_ai.operation.name": "invoke_workflow",
        "ell.program.name": program,
        "ell.program.version": version,
        "ell.invocation.id": id_of(number),
        "ell.invocation.arguments": json.dumps({"number": number}),
        "ell.invocation.result": json.dumps(f"result {number}"),
        **columns.pop("attributes", {}),
    }
    return span(
        attributes,
        **{
            "TraceId": f"{number:032x}",
            "SpanId": f"{number:016x}",
            "SpanName": f"invoke_workflow {program}",
            "Timestamp": T0 + number * MS,
            "Duration": 100 * MS,
            **columns,
        },
    )


def inference(number: int, program: str, version: str, model: str, tokens: dict[str, int], **columns: Any) -> Rows:
    """A model call inside invocation ``number``; ``tokens`` by the last part of their attribute names."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "ell.program.name": program,
        "ell.program.version": version,
        "ell.invocation.id": id_of(number),
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": "Où est la gare?"}]}]
        ),
        **{f"gen_ai.usage.{name}": str(count) for name, count in tokens.items()},
        **columns.pop("attributes", {}),
    }
    return span(
        {name: value for name, value in attributes.items() if value},
        **{
            "TraceId": f"{number:032x}",
            "SpanId": f"{number + (1 << 40):016x}",
            "ParentSpanId": f"{number:016x}",
            "SpanName": f"chat {model}",
            "SpanKind": "Client",
            "Timestamp": T0 + number * MS + 1,
            "Duration": 80 * MS,
            **columns,
        },
    )


def program_event(program: str, version: str, **columns: Any) -> Rows:
    attributes = {
        "event.name": "ell.program",
        "ell.program.name": program,
        "ell.program.version": version,
        "ell.program.source": f"# {program}\n",
        "ell.program.uses": "[]",
        "ell.program.partial": "false",
        "ell.program.warnings": "[]",
        "ell.program.proto": "AAAA",
        "ell.program.proto.encoding": "base64",
        **columns.pop("attributes", {}),
    }
    return record(attributes, **columns)


def evaluation(number: int, program: str, version: str, score: str, **columns: Any) -> Rows:
    attributes = {
        "event.name": "gen_ai.evaluation.result",
        "gen_ai.evaluation.name": "exact",
        "gen_ai.evaluation.score.value": score,
        "ell.program.name": program,
        "ell.program.version": version,
        "ell.invocation.id": id_of(number),
    }
    return record(attributes, **{"TraceId": f"{number:032x}", "SpanId": f"{number:016x}", **columns})


def id_of(number: int) -> str:
    return f"{number:08x}".ljust(32, "f")


def _empty(kind: str) -> Any:
    if kind.startswith("Array"):
        return []
    if kind.startswith("Map"):
        return {}
    return "" if "String" in kind else 0
