"""What the engine makes of spans is what ``decode`` makes of them, whatever is in them and however it is written."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from test_decode import golden

from ell_otel.config import resolve
from ell_otel.errors import DecodeError, StoreError
from ell_otel.ingest import decode
from ell_otel.ingest.sink import StoreSink
from ell_otel.ingest.spans import messages
from ell_otel.store.client import Store, open_store
from ell_otel.store.messages import write_messages
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write
from ell_otel.telemetry.segments import Frame, Kind

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBER = st.integers(0, 2**64 - 1) | st.integers(1_700_000_000_000_000_000, 1_700_000_100_000_000_000)
PLAIN = st.one_of(
    st.builds(AnyValue, string_value=TEXT),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.just(AnyValue()),
)
SCALAR = st.one_of(
    PLAIN, st.builds(AnyValue, double_value=st.floats()), st.builds(AnyValue, bytes_value=st.binary(max_size=9))
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.builds(lambda each: AnyValue(array_value=ArrayValue(values=each)), st.lists(inner, max_size=3))
        | st.builds(lambda each: AnyValue(kvlist_value=KeyValueList(values=pairs(each))), st.dictionaries(TEXT, inner))
    ),
    max_leaves=5,
)


def pairs(values: dict[str, AnyValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in values.items()]


def parsed(value: object) -> AnyValue:
    return ParseDict(value, AnyValue())


def an_id(size: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from([b"", bytes(size)]) | st.binary(min_size=size, max_size=size)


ATTRIBUTES = st.dictionaries(TEXT, PLAIN | VALUE, max_size=4).map(pairs)
EVENT = st.builds(Span.Event, time_unix_nano=NUMBER, name=TEXT, attributes=ATTRIBUTES)
LINK = st.builds(Span.Link, trace_id=an_id(16), span_id=an_id(8), trace_state=TEXT, attributes=ATTRIBUTES)
SPAN = st.builds(
    Span,
    trace_id=an_id(16),
    span_id=an_id(8),
    parent_span_id=an_id(8),
    trace_state=TEXT,
    name=TEXT,
    kind=st.integers(-3, 9) | st.sampled_from([-(2**31), 2**31 - 1]),
    start_time_unix_nano=NUMBER,
    end_time_unix_nano=NUMBER,
    attributes=ATTRIBUTES,
    dropped_attributes_count=st.integers(0, 3),
    flags=st.integers(0, 2**32 - 1),
    events=st.lists(EVENT, max_size=2),
    links=st.lists(LINK, max_size=2),
    status=st.builds(Status, code=st.integers(-1, 4), message=TEXT),
)


def requested(spans: list[Span], resource: list[KeyValue], scope: str) -> bytes:
    request = ExportTraceServiceRequest()
    made = request.resource_spans.add()
    made.resource.attributes.extend(resource)
    inner = made.scope_spans.add()
    inner.scope.name, inner.scope.version = scope, scope[::-1]
    inner.spans.extend(spans)
    return request.SerializeToString()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("spans")
    with open_store(resolve({}, dir=str(folder / ".ell")), purpose="test") as opened:
        migrate(opened)
        opened.command("DROP VIEW ell_spans_mv")  # what is compared is what it reads
        yield opened


def stored(store: Store) -> list[dict[str, Any]]:
    rows = store.query("SELECT * FROM otel_traces")
    store.command("TRUNCATE TABLE otel_traces")
    return sorted(rows, key=repr)


def both(store: Store, payload: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a request as the engine makes them, and as ``decode`` does."""
    write_messages(store, [messages(payload)[1]])
    by_the_engine = stored(store)
    write(store, decode.traces(payload))
    return by_the_engine, stored(store)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SPAN, min_size=1, max_size=8), ATTRIBUTES, TEXT)
def test_both_ways_make_the_same_rows(store: Store, spans: list[Span], resource: list[KeyValue], scope: str) -> None:
    payload = requested(spans, resource, scope)
    assert messages(payload)[0] == len(spans)
    by_the_engine, by_decode = both(store, payload)
    assert by_the_engine == by_decode


def test_the_engine_writes_nothing_into_the_folder_that_the_process_is_in(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_messages(store, [messages(requested([Span()], [], "s"))[1]])
    assert len(stored(store)) == 1
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_value_becomes_the_text_that_the_exporter_writes(store: Store) -> None:
    cases = golden("values.json")
    spans = [
        Span(span_id=bytes(7) + bytes([number + 1]), name=str(number), attributes=pairs({"k": parsed(case["value"])}))
        for number, case in enumerate(cases)
    ]
    write_messages(store, [messages(requested(spans, [], "s"))[1]])
    made = {row["SpanName"]: row["SpanAttributes"] for row in stored(store)}
    assert made == {str(number): {"k": case["text"]} for number, case in enumerate(cases)}


def field(number: int, *content: bytes) -> bytes:
    """A message or text within another, on the wire, of less than 128 bytes."""
    joined = b"".join(content)
    tag = number << 3 | 2
    return bytes((tag,) if tag < 0x80 else (tag & 0x7F | 0x80, tag >> 7)) + bytes((len(joined),)) + joined


TEXT_THEN_NUMBER = field(1, b"text") + b"\x18\x05"
STRANGE = {
    "a oneof that is set twice": field(9, field(1, b"k"), field(2, TEXT_THEN_NUMBER)),
    "a number that a text follows": field(9, field(1, b"k"), field(2, b"\x18\x05" + field(1, b"text"))),
    "a value that comes in two pieces": field(9, field(1, b"k"), field(2, field(1, b"a")), field(2, b"\x10\x01")),
    "a value before its key": field(9, field(2, field(1, b"v")), field(1, b"k")),
    "a name that comes twice": field(5, b"first") + field(5, b"second"),
    "a status that comes in two pieces": field(15, field(2, b"said")) + field(15, b"\x18\x02"),
    "fields in another order": field(5, b"name") + field(1, bytes(range(16))) + field(3, b"state"),
    "a field of a later release": field(5, b"name") + field(90, b"later"),
    "fields that we use for the resource and the scope": field(101, b"mine") + field(103, b"mine"),
    "a zero that is written out": b"\x30\x00" + field(5, b"name"),
}


@pytest.mark.parametrize("span", STRANGE.values(), ids=STRANGE.keys())
def test_what_is_strangely_written_is_read_the_same(store: Store, span: bytes) -> None:
    scopes = [ScopeSpans.FromString(field(1, field(1, b"a"))), ScopeSpans.FromString(field(1, field(2, b"b")))]
    resource = ResourceSpans.FromString(field(1, field(1, field(1, b"service.name"), field(2, field(1, b"shop")))))
    inner = b"".join(each.SerializeToString() for each in scopes) + field(2, span)
    payload = field(1, resource.SerializeToString(), field(2, inner))
    by_the_engine, by_decode = both(store, payload)
    assert len(by_the_engine) == 1
    assert by_the_engine == by_decode


def many(*spans: Span) -> list[Frame]:
    """Frames with these spans, and as many others as make the engine decode them; 20 spans in all."""
    text = AnyValue(string_value="x" * 300_000)
    others = [Span(span_id=bytes([n] * 8), attributes=[KeyValue(key="k", value=text)]) for n in range(len(spans), 20)]
    return [Frame(Kind.TRACES, requested([span], [], "s"), 0) for span in (*spans, *others)]


def test_of_two_equal_keys_the_last_counts_among_many_spans_too(store: Store) -> None:
    twice = [KeyValue(key="k", value=AnyValue(string_value=text)) for text in ("first", "last")]
    with pytest.raises(StoreError, match="FUNCTION_THROW_IF"):
        write_messages(store, [messages(requested([Span(attributes=twice)], [], "s"))[1]])
    assert StoreSink(store).put(many(Span(name="odd", attributes=twice))).spans == 20
    rows = stored(store)
    assert len(rows) == 20
    assert [row["SpanAttributes"] for row in rows if row["SpanName"] == "odd"] == [{"k": "last"}]


def test_a_span_with_an_id_that_is_none_is_put_aside_and_the_others_are_stored(store: Store) -> None:
    frames = many(Span(trace_id=b"abc"))
    taken = StoreSink(store).put([*frames, Frame(Kind.TRACES, b"\xff", 0)])
    assert taken.spans == 19
    assert taken.aside == [("traces", frames[0].payload), ("traces", b"\xff")]
    assert len(stored(store)) == 19


@pytest.mark.parametrize("payload", [b"\xff\xff garbage", b"\x0a\xff", field(1, field(2, field(2, b"\xff")))])
def test_bytes_that_are_no_otlp_are_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="are no Export"):
        messages(payload)


def test_what_one_delivery_wrote_is_not_in_the_next_that_takes_its_place(store: Store) -> None:
    """Three at once: the first goes on while the second, a large one, ends and the third, a small one, begins."""
    first_is_in, others_are_in = threading.Event(), threading.Event()

    def made(name: str, count: int) -> list[bytes]:
        spans = [Span(span_id=number.to_bytes(8, "big"), name=name) for number in range(1, count + 1)]
        return messages(requested(spans, [], "s"))[1]

    def slow() -> Iterator[list[bytes]]:
        yield made("first", 1)
        first_is_in.set()
        assert others_are_in.wait(20)

    first = threading.Thread(target=write_messages, args=(store, slow()))
    first.start()
    assert first_is_in.wait(20)
    try:
        write_messages(store, [made("second", 2_000), made("second, more", 3)])
        write_messages(store, [made("third", 1)])
    finally:
        others_are_in.set()
        first.join()
    names = [row["SpanName"] for row in stored(store)]
    assert {name: names.count(name) for name in names} == {"first": 1, "second": 2_000, "second, more": 3, "third": 1}


def test_merging_waits_while_one_delivery_is_beside_another(store: Store) -> None:
    spans = messages(requested([Span(name="one")], [], "s"))[1]

    def second() -> Iterator[list[bytes]]:
        with pytest.raises(StoreError, match="ABORTED"):
            store.command("OPTIMIZE TABLE otel_traces FINAL")
        yield spans

    def first() -> Iterator[list[bytes]]:
        write_messages(store, second())
        yield spans

    write_messages(store, [spans])
    write_messages(store, first())
    assert len(stored(store)) == 3


def test_what_does_not_fit_into_a_file_in_memory_is_decoded_here_and_the_next_delivery_finds_no_rest_of_it(
    store: Store,
) -> None:
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, allowed[1]))
        with pytest.raises(StoreError, match="did not fit into memory"):
            write_messages(store, [messages(frame.payload)[1] for frame in many()])
        assert StoreSink(store).put(many()).spans == 20
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert len(stored(store)) == 20
    assert StoreSink(store).put(many(Span(name="next"))).spans == 20
    assert [row["SpanName"] for row in stored(store)].count("next") == 1
