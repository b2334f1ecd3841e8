"""What differs between the places the tables can be: chDB, one server, a cluster. The ``.sql`` files are for a server.

* chDB: an answered insert survives a power cut, the view's part included; a server has its own settings for that.
* A cluster: each table becomes ``<name>_local`` on every node, replicated by Keeper, with a Distributed table of the
  name proper over it. Rows go to a shard by their trace, so that an invocation is whole on one, and copies of a row
  meet there and collapse. Views that lift rows stand on every node and read and write ``_local``. Small tables that
  are joined with the others (prices, and the record of migrations) are whole on every node, under one Keeper path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ell_otel import semconv

LOCAL: Final = "_local"
_FSYNC: Final = ", fsync_after_insert = 1, fsync_part_directory = 1"

_TABLE: Final = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+)\n(?P<columns>\(.*\))\n"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<arguments>[^)]*)\))?\n(?P<rest>.*)",
    re.DOTALL,
)
_LIFTING: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<name>\w+) TO (?P<target>\w+) AS(?P<select>.*\sFROM )(?P<source>\w+)\b",
    re.DOTALL,
)
_VIEW: Final = re.compile(r"CREATE VIEW IF NOT EXISTS \w+")
_ALTER: Final = re.compile(r"ALTER TABLE (?P<name>\w+)")

# Where a row goes. A record outside any trace goes by what it says, so that its copies go the same way.
_BY_TRACE: Final = "cityHash64(TraceId)"
_BY_PROGRAM: Final = "cityHash64(ProgramName)"
_SHARDING: Final = {
    semconv.TABLE_TRACES: _BY_TRACE,
    semconv.TABLE_LOGS: "if(TraceId = '', cityHash64(ServiceName, Body), cityHash64(TraceId))",
    semconv.TABLE_SPANS: _BY_TRACE,
    semconv.TABLE_EVALUATIONS: _BY_TRACE,
    semconv.TABLE_PROGRAM_SOURCES: _BY_PROGRAM,
    semconv.TABLE_LABELS: _BY_PROGRAM,
}

Adapt = Callable[[str], list[str]]


def chdb(statement: str) -> list[str]:
    """The statement with what makes its table durable."""
    return [statement + _FSYNC if _TABLE.match(statement) else statement]


def server(statement: str) -> list[str]:
    """The statement as it stands."""
    return [statement]


def cluster(name: str) -> Adapt:
    """What turns a statement into those for the cluster of that name."""
    on = f"ON CLUSTER {quoted(name)}"

    def adapt(statement: str) -> list[str]:
        if table := _TABLE.match(statement):
            return _distributed(**table.groupdict(), on=on, cluster=quoted(name))
        if _LIFTING.match(statement):
            lifting = r"CREATE MATERIALIZED VIEW IF NOT EXISTS \g<name> {} TO \g<target>{} AS\g<select>\g<source>{}"
            return [_LIFTING.sub(lifting.format(_escaped(on), LOCAL, LOCAL), statement, count=1)]
        if altered := _ALTER.match(statement):
            return [f"ALTER TABLE {_stored(altered['name'])} {on}{statement[altered.end() :]}"]
        return [_VIEW.sub(lambda found: f"{found[0]} {on}", statement, count=1)]

    return adapt


def quoted(name: str) -> str:
    """A name from outside as a string of SQL."""
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\")


def _stored(name: str) -> str:
    """The table that holds the rows of a node."""
    return name + LOCAL if name in _SHARDING else name


def _distributed(
    name: str, columns: str, engine: str, arguments: str | None, rest: str, *, on: str, cluster: str
) -> list[str]:
    sharded = name in _SHARDING
    path = "/clickhouse/tables/{shard}/{database}/{table}" if sharded else "/clickhouse/tables/{database}/{table}"
    replica = "{replica}" if sharded else "{shard}-{replica}"
    given = ", ".join([f"'{path}'", f"'{replica}'", *([arguments] if arguments else [])])
    stored = _stored(name)
    local = f"CREATE TABLE IF NOT EXISTS {stored} {on}\n{columns}\nENGINE = Replicated{engine}({given})\n{rest}"
    if not sharded:
        return [local]
    over = f"Distributed({cluster}, currentDatabase(), {stored}, {_SHARDING[name]})"
    return [local, f"CREATE TABLE IF NOT EXISTS {name} {on} AS {stored}\nENGINE = {over}"]
