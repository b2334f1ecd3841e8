"""Spans that the engine of this process decodes: from a file of protobuf messages into the columns of ``otel_traces``.

A message is OTLP's ``Span`` with plain values only (texts, whole numbers, truth values), and behind that the name of
the service, the attributes of the resource, and the scope (``ingest.spans`` makes them). The rows are those of
``ingest.decode``: both write what the Collector's exporter writes.
"""
# ruff: noqa: S608 - the statement is put together from constants; the path of the file is bound

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Final

from ell_otel import semconv
from ell_otel.store.client import Store
from ell_otel.store.explain import explain
from ell_otel.store.merging import Merging
from ell_otel.store.writer import INSERT_SETTINGS, TRACE_COLUMNS

# A schema that is given as text is written to a file by the engine, into the folder that the process is in.
_SCHEMA: Final = str(Path(__file__).with_suffix(".proto")).replace("\\", "\\\\").replace("'", "\\'")
_ATTRIBUTES: Final = """Array(Tuple(key String, value Tuple(
    string_value Nullable(String), bool_value Nullable(Bool), int_value Nullable(Int64))))"""
_STRUCTURE: Final = f"""
    trace_id String, span_id String, trace_state String, parent_span_id String, name LowCardinality(String), kind Int32,
    start_time_unix_nano UInt64, end_time_unix_nano UInt64, attributes {_ATTRIBUTES},
    events Array(Tuple(time_unix_nano UInt64, name String, attributes {_ATTRIBUTES})),
    links Array(Tuple(trace_id String, span_id String, trace_state String, attributes {_ATTRIBUTES})),
    status Tuple(message String, code Int32), service LowCardinality(String), resource {_ATTRIBUTES},
    scope_name String, scope_version String"""


def _time(number: str) -> str:
    """DateTime64(9) ends in 2262."""
    return f"fromUnixTimestamp64Nano(toInt64(least({number}, {2**63 - 1})))"


def _id(raw: str, size: int) -> str:
    return f"if({raw} = repeat('\\0', {size}), '', lower(hex({raw})))"


def _map(attributes: str) -> str:
    text = "coalesce(v.string_value, toString(v.int_value), toString(v.bool_value), '')"
    return f"mapFromArrays({attributes}.key, arrayMap(v -> {text}, {attributes}.value))"


def _twice(attributes: str) -> str:
    return f"arrayUniq({attributes}.key) != length({attributes}.key)"


_COLUMNS: Final = {
    "Timestamp": _time("start_time_unix_nano"),
    "TraceId": _id("trace_id", 16),
    "SpanId": _id("span_id", 8),
    "ParentSpanId": _id("parent_span_id", 8),
    "TraceState": "trace_state",
    "SpanName": "name",
    "SpanKind": "transform(kind, [0, 1, 2, 3, 4, 5], "
    "['Unspecified', 'Internal', 'Server', 'Client', 'Producer', 'Consumer'], '')",
    "ServiceName": "service",
    "ResourceAttributes": _map("resource"),
    "ScopeName": "scope_name",
    "ScopeVersion": "scope_version",
    "SpanAttributes": _map("attributes"),
    "Duration": "if(end_time_unix_nano > start_time_unix_nano, end_time_unix_nano - start_time_unix_nano, 0)",
    "StatusCode": "transform(status.code, [0, 1, 2], ['Unset', 'Ok', 'Error'], '')",
    "StatusMessage": "status.message",
    "Events.Timestamp": f"arrayMap(e -> {_time('e.time_unix_nano')}, events)",
    "Events.Name": "events.name",
    "Events.Attributes": f"arrayMap(e -> {_map('e.attributes')}, events)",
    "Links.TraceId": f"arrayMap(l -> {_id('l.trace_id', 16)}, links)",
    "Links.SpanId": f"arrayMap(l -> {_id('l.span_id', 8)}, links)",
    "Links.TraceState": "links.trace_state",
    "Links.Attributes": f"arrayMap(l -> {_map('l.attributes')}, links)",
}
# What ``decode`` has to see: an id that is none is refused, and of two equal keys the last counts.
_ODD: Final = (
    "length(trace_id) NOT IN (0, 16)",
    "length(span_id) NOT IN (0, 8)",
    "length(parent_span_id) NOT IN (0, 8)",
    _twice("resource"),
    _twice("attributes"),
    f"arrayExists(e -> {_twice('e.attributes')}, events)",
    "arrayExists(l -> length(l.trace_id) NOT IN (0, 16) OR length(l.span_id) NOT IN (0, 8), links)",
    f"arrayExists(l -> {_twice('l.attributes')}, links)",
)
_SETTINGS: Final = {
    **INSERT_SETTINGS,
    "storage_file_read_method": "'pread'",  # mapped, all of the file would count as this process's memory
    "format_schema": f"'{_SCHEMA}'",
    "format_schema_message_name": "'Span'",
}
_INSERT: Final = (
    f"INSERT INTO {semconv.TABLE_TRACES} ({', '.join(f'`{name}`' for name, _ in TRACE_COLUMNS)}) "
    f"SELECT {', '.join(_COLUMNS[name] for name, _ in TRACE_COLUMNS)} "
    f"FROM file({{path:String}}, 'Protobuf', '{_STRUCTURE}') WHERE NOT throwIf({' OR '.join(_ODD)}) "
    f"SETTINGS {', '.join(f'{name} = {value}' for name, value in _SETTINGS.items())}"
)


POSSIBLE: Final = hasattr(os, "memfd_create")
"""Whether this system (Linux) has files that are in memory only. They need no disk, and nothing is left by a kill."""


def write_messages(store: Store, messages: Iterable[Sequence[bytes]]) -> None:
    """Insert spans, each behind its length, in pieces, into the store of this process, in one insert.

    They are durable when this returns: the parts are fsync'd. Raises ``StoreError`` when not all of them could be; then
    write them again, duplicates are harmless.
    """
    try:
        with _files.one() as file, _merging.insert(store):
            for pieces in messages:
                _write(file, pieces)
            file.truncate()
            store.command(_INSERT, {"path": f"/dev/fd/{file.fileno()}"})
    except OSError as error:
        raise explain(error, store.name) from error


_PIECES: Final = 1024  # most that the system takes at once (IOV_MAX)


def _write(file: FileIO, pieces: Sequence[bytes]) -> None:
    """As they are: to join them first would take as long as to write them."""
    for start in range(0, len(pieces), _PIECES):
        some = pieces[start : start + _PIECES]
        if os.writev(file.fileno(), some) < sum(map(len, some)):
            raise OSError(errno.ENOMEM, "a delivery did not fit into memory")


class _Files:
    """Files in memory. While one is in use, those that are not are kept for the next delivery: to give their pages back
    and ask for others takes longer than to write them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_use = 0
        self._spare: list[FileIO] = []

    @contextmanager
    def one(self) -> Iterator[FileIO]:
        """To be written from the beginning, and cut off behind that: it may hold what another delivery left."""
        with self._lock:
            file = self._spare.pop() if self._spare else FileIO(os.memfd_create("spans"), "wb")
            self._in_use += 1
        try:
            file.seek(0)
            yield file
        finally:
            with self._lock:
                self._in_use -= 1
                self._spare.append(file)
                while self._spare and not self._in_use:
                    self._spare.pop().close()


_files: Final = _Files()
_merging: Final = Merging()
