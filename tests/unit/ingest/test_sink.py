"""A batch that the store refuses is bisected: the bad row is put aside, its neighbours are stored, and a store that is
unwell is not taken for bad rows."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from ell_otel.errors import StoreError, StoreLockedError
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.writer import LOG_COLUMNS, Rows
from ell_otel.telemetry.segments import Frame, Kind

BODY = [name for name, _ in LOG_COLUMNS].index("Body")


class Table:
    """Stores bodies; an insert that holds a refused one fails whole, as in ClickHouse."""

    name = "a table"
    local = False

    def __init__(self, *refused: str, error: StoreError | None = None) -> None:
        self.bodies: list[object] = []
        self.attempts = 0
        self.refused = set(refused)
        self.error = error or StoreError("cannot parse this row")

    def insert(self, _: object, rows: Rows) -> None:
        self.attempts += 1
        if self.refused & set(cast(Any, rows.logs[BODY])):
            raise self.error
        self.bodies += rows.logs[BODY]


def frame(*bodies: str) -> Frame:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in bodies:
        scope.log_records.add(time_unix_nano=1).body.string_value = body
    return Frame(Kind.LOGS, request.SerializeToString(), 0)


def sink(table: Table) -> StoreSink:
    return StoreSink(cast(Any, table), table.insert)


def test_a_bad_row_costs_itself_and_is_kept_to_be_looked_at() -> None:
    table = Table("bad")
    taken = sink(table).put([frame(*map(str, range(20))), frame("20", "bad", "21")])
    assert sorted(table.bodies, key=lambda body: int(str(body))) == [str(number) for number in range(22)]
    ((kind, content),) = taken.aside
    assert (kind, json.loads(content)["Body"]) == ("row.json", "bad")
    assert taken.records == 22
    assert table.attempts <= 2 * 5 + 1, "bisected, not tried one by one"


def test_several_bad_rows_are_all_found() -> None:
    table = Table("3", "4", "17")
    taken = sink(table).put([frame(*map(str, range(20)))])
    assert len(taken.aside) == 3
    assert len(table.bodies) == 17


def test_a_frame_that_is_no_otlp_is_put_aside_whole() -> None:
    table = Table()
    taken = sink(table).put([frame("a"), Frame(Kind.TRACES, b"\xff", 0), frame("b")])
    assert taken.aside == [("traces", b"\xff")]
    assert table.bodies == ["a", "b"]


@pytest.mark.parametrize("rows", [1, 8, 5000])
def test_a_store_that_refuses_everything_is_not_taken_for_bad_rows(rows: int) -> None:
    everything = [str(number) for number in range(rows)]
    table = Table(*everything, error=StoreError("the disk is full"))
    with pytest.raises(StoreError, match="disk is full"):
        sink(table).put([frame(*everything)])
    assert table.attempts < 70


@pytest.mark.parametrize(
    "said", ["Code: 243. Cannot reserve", "Code: 241. Memory limit", "write: No space left on device"]
)
def test_a_store_without_room_for_large_inserts_puts_no_row_aside(said: str) -> None:
    table = Table("17", error=StoreError(said))  # and takes those without this one
    with pytest.raises(StoreError, match="Code|No space"):
        sink(table).put([frame(*map(str, range(20)))])
    assert table.attempts == 1


def test_a_store_that_is_away_is_asked_once() -> None:
    table = Table("0", error=StoreLockedError("held"))
    with pytest.raises(StoreLockedError):
        sink(table).put([frame(*map(str, range(100)))])
    assert table.attempts == 1


def test_nothing_to_store_is_no_insert() -> None:
    table = Table()
    assert sink(table).put([]).aside == []
    assert table.bodies == []
