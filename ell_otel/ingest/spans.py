"""Spans for the engine to decode: in its own C++, beside the interpreter, where Python takes most of a delivery's time.

A span is a protobuf message, and the engine reads those. So a request is cut into the bytes of its spans, behind each
of which stand the resource and the scope as further fields of the same message, and one statement makes the rows of
``otel_traces`` of them: the same as ``decode`` makes, which a test holds against it.

The engine knows texts, whole numbers and truth values. Whether a span has anything else is found by having protobuf
write it anew with a schema that knows no more: most spans come out as they were. The others are written anew with their
odd values as the text that ``decode`` makes of them, and with that goes whatever the engine would read in another way
than protobuf does: fields of a later release, fields that come twice, values that are set twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ell_otel.errors import DecodeError
from ell_otel.ingest.decode import service, text

_VALUES: Final = frozenset({"string_value", "bool_value", "int_value"})  # that the engine knows
_FILES: Final = (common_pb2, resource_pb2, trace_pb2, trace_service_pb2)  # imports first
_SHORT: Final = 128  # bytes of an attribute: names and versions are that, what was said is not


def messages(payload: bytes) -> tuple[int, list[bytes]]:
    """How many spans an ``ExportTraceServiceRequest`` has, and their messages, each behind its length, in pieces.

    Raises ``DecodeError`` when the bytes are no such request. The ids in it are the engine's to check.
    """
    count, parts = 0, list[bytes]()
    try:
        for resource_spans in _Request.FromString(payload).resource_spans:
            resource = _resource(b"".join(resource_spans.resource))
            for scope_spans in resource_spans.scope_spans:
                shared = resource + _scope(b"".join(scope_spans.scope))
                for span in map(_plain, scope_spans.spans):
                    parts += (_length(len(span) + len(shared)), span, shared)
                    count += 1
    except WireError as error:
        raise DecodeError(f"{len(payload)} bytes are no ExportTraceServiceRequest: {error}") from None
    return count, parts


def _plain(raw: bytes) -> bytes:
    """The span with nothing in it but what the engine knows."""
    known = _KnownSpan.FromString(raw)
    known.DiscardUnknownFields()
    if known.SerializeToString() == raw:
        return raw
    span = _Span.FromString(raw)
    span.DiscardUnknownFields()
    for each in (span, *span.events, *span.links):
        each.attributes[:] = [_remembered(one) if len(one) <= _SHORT else _simple(one) for one in each.attributes]
    written: bytes = span.SerializeToString()
    return written


def _simple(raw: bytes) -> bytes:
    """A serialised ``KeyValue`` with a value that the engine knows."""
    attribute = KeyValue.FromString(raw)
    if attribute.value.WhichOneof("value") not in _VALUES:
        attribute.value.string_value = text(attribute.value)
    return attribute.SerializeToString()


_remembered: Final = lru_cache(1 << 14)(_simple)  # of a few MiB


@lru_cache(256)
def _resource(raw: bytes) -> bytes:
    resource = Resource.FromString(raw)
    attributes = [_simple(each.SerializeToString()) for each in resource.attributes]
    return _serialized(_Shared(service=service(resource.attributes).encode(), resource=attributes))


@lru_cache(256)
def _scope(raw: bytes) -> bytes:
    scope = InstrumentationScope.FromString(raw)
    return _serialized(_Shared(scope_name=scope.name.encode(), scope_version=scope.version.encode()))


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


@lru_cache(1 << 14)
def _length(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


# -- schemas, made of OTLP's own --------------------------------------------------------------------------------------


def _pool(change: Callable[[DescriptorProto], None]) -> DescriptorPool:
    pool = DescriptorPool()
    for file in _FILES:
        schema = FileDescriptorProto.FromString(file.DESCRIPTOR.serialized_pb)
        for message in schema.message_type:
            change(message)
        pool.Add(schema)
    return pool


def _only_known_values(message: DescriptorProto) -> None:
    if message.name == "AnyValue":
        kept = [field for field in message.field if field.name in _VALUES]
        del message.field[:]
        message.field.extend(kept)


def _left_as_bytes(message: DescriptorProto) -> None:
    """What a request is cut into. On the wire a message is bytes; one that comes twice is merged: joined."""
    for field in message.field:
        if field.name in {"resource", "scope", "spans", "attributes"}:
            field.ClearField("type_name")
            field.type, field.label = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.LABEL_REPEATED
    for inner in message.nested_type:
        _left_as_bytes(inner)


def _shared() -> DescriptorPool:
    """What stands behind a span."""
    file = FileDescriptorProto(name="shared.proto", syntax="proto3")
    message = file.message_type.add(name="Shared")
    for number, name in enumerate(("service", "resource", "scope_name", "scope_version"), 101):
        field = message.field.add(name=name, number=number, type=FieldDescriptorProto.TYPE_BYTES)
        several = name == "resource"
        field.label = FieldDescriptorProto.LABEL_REPEATED if several else FieldDescriptorProto.LABEL_OPTIONAL
    pool = DescriptorPool()
    pool.Add(file)
    return pool


def _class(pool: DescriptorPool, name: str) -> Any:
    return GetMessageClass(pool.FindMessageTypeByName(name))


_cut: Final = _pool(_left_as_bytes)
_Request: Final = _class(_cut, trace_service_pb2.ExportTraceServiceRequest.DESCRIPTOR.full_name)
_Span: Final = _class(_cut, Span.DESCRIPTOR.full_name)
_KnownSpan: Final = _class(_pool(_only_known_values), Span.DESCRIPTOR.full_name)
_Shared: Final = _class(_shared(), "Shared")
