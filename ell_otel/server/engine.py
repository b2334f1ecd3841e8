"""One statement on one throwaway handle of the chDB engine that this process holds.

A handle keeps what is SET on it, and ``readonly`` cannot be undone. So each request gets a fresh handle (about a
millisecond), which is closed behind it: no request sees another's settings, and a reader's cannot be anything but
read-only. The engine must be open in this process already (``store.open_store``), at the same path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import chdb

from ell_otel.server.security import Role
from ell_otel.server.statements import Token, meaningful, output_format, refusal, returns_rows
from ell_otel.store.client import connecting

_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE: Final = re.compile(r"Code: (\d+)\. ")
_HEAD_BYTES: Final = 64 << 10  # an INSERT's statement ends within it; its data begins there
_READER_SQL_BYTES: Final = 256 << 10
_TABLE_FUNCTIONS_SQL: Final = "SELECT lower(name) FROM system.table_functions"
_TOKENS_SQL: Final = "SELECT t.begin, t.end, t.type FROM (SELECT arrayJoin(tokenizeQuery({q:String})) AS t)"

# What a reader may choose: how results look, and how hard the engine tries. Everything else is left out, not refused,
# for clients send settings of their own accord.
_READER_SETTINGS: Final = re.compile(
    r"output_format_(json|tsv|csv|pretty|native)_\w+|date_time_output_format|session_timezone|max_threads|max_block_size"
    r"|extremes|final|join_use_nulls|max_result_rows|max_result_bytes|max_execution_time|result_overflow_mode"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """A reader's: seconds, rows and bytes of the result, bytes of memory."""

    max_execution_time: int = 60
    max_result_rows: int = 1_000_000
    max_result_bytes: int = 256 << 20
    max_memory_usage: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with its parameters (``{name:Type}``, as ClickHouse's escaped text) and the bytes behind an INSERT."""

    text: bytes
    default_format: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    writes: bool = True  # False: the request's method forbids it


@dataclass(frozen=True, slots=True)
class Result:
    """``format`` is empty when the statement has no result."""

    body: bytes
    format: str = ""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    elapsed_ns: int = 0


class EngineError(Exception):
    """What the engine said, or what we said in its place. ``code`` is ClickHouse's number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine:
    """Runs statements for the fronts. ``path`` is the chDB directory; safe to use from several threads."""

    def __init__(self, path: str, limits: Limits | None = None) -> None:
        self._path = path
        self._limits = limits or Limits()
        self._table_functions: frozenset[str] = frozenset()
        self.version = ""
        self.timezone = ""

    def open(self) -> None:
        """Ask the engine what it is and what it has. Call once, before the first statement."""
        with closing(self._handle()) as handle:
            self.version, self.timezone = _rows(handle, "SELECT version(), timezone()")[0]
            self._table_functions = frozenset(row[0] for row in _rows(handle, _TABLE_FUNCTIONS_SQL))

    def run(self, statement: Statement, role: Role) -> Result:
        """Raises ``EngineError``."""
        with closing(self._handle()) as handle:
            try:
                return self._reader(handle, statement) if role is Role.READER else _owner(handle, statement)
            except (chdb.ChdbError, RuntimeError) as error:
                raise _explained(error) from error

    def _reader(self, handle: Any, statement: Statement) -> Result:
        if len(statement.text) > _READER_SQL_BYTES:
            raise EngineError(62, f"a reader's query may be {_READER_SQL_BYTES} bytes long")
        try:
            sql = statement.text.decode()
        except UnicodeDecodeError:
            raise EngineError(62, "the query is not UTF-8") from None
        tokens = meaningful(_tokens(handle, sql))
        if reason := refusal(tokens, self._table_functions):
            raise EngineError(497, f"{reason}. (ACCESS_DENIED)")
        _use(handle, statement.database)
        _set(handle, self._within_limits(statement.settings) | {"allow_introspection_functions": "0", "readonly": "1"})
        return _query(handle, sql, tokens, statement)

    def _within_limits(self, asked: Mapping[str, str]) -> dict[str, str]:
        """The reader's own settings, as far as they are a reader's to choose, and the limits over them."""
        settings = {name: value for name, value in asked.items() if _READER_SETTINGS.fullmatch(name)}
        for name in Limits.__slots__:
            limit = int(getattr(self._limits, name))
            chosen = settings.get(name, "")
            settings[name] = str(min(int(chosen), limit) if chosen.isdecimal() and int(chosen) else limit)
        return settings

    def _handle(self) -> Any:
        with connecting:  # not thread-safe in the engine, and the store connects too
            return chdb.connect(self._path)


def _owner(handle: Any, statement: Statement) -> Result:
    _use(handle, statement.database)
    _set(handle, dict(statement.settings) | ({} if statement.writes else {"readonly": "2"}))
    head = statement.text[:_HEAD_BYTES].decode("latin-1")  # a byte a character, whatever data follows the statement
    tokens = meaningful(_tokens(handle, head))
    if tokens and tokens[0].word == "insert" and (at := _format_clause(tokens)) is not None:
        return _insert(handle, statement.text, head, *at)
    return _query(handle, statement.text.decode(), tokens, statement)


def _query(handle: Any, sql: str, tokens: Sequence[Token], statement: Statement) -> Result:
    answer = handle.query(sql, statement.default_format, params=dict(statement.parameters))
    return Result(
        answer.bytes() or b"",
        output_format(tokens, statement.default_format) if returns_rows(tokens) else "",
        answer.rows_read(),
        answer.bytes_read(),
        elapsed_ns=int(answer.elapsed() * 1e9),
    )


def _format_clause(tokens: Sequence[Token]) -> tuple[Token, Token] | None:
    """The words FORMAT and its name, the last of an INSERT's statement; None when it carries its data in itself."""
    for word, name in pairwise(tokens):
        if word.word in {"values", "select", "with"}:
            return None
        if word.word == "format" and name.kind == "BareWord":
            return word, name
    return None


def _insert(handle: Any, text: bytes, head: str, word: Token, name: Token) -> Result:
    def offset(end: int) -> int:
        return len(head.encode()[:end].decode())  # the engine counts bytes of UTF-8, of which Latin-1 makes more

    sql = text[: offset(word.end) - len(word.text)].decode()
    data = text[offset(name.end) :].lstrip(b" \t\r;")
    inserter = handle.send_insert(sql, name.text)
    with inserter:
        inserter.append(data.removeprefix(b"\n"))
        done = inserter.finish()
    return Result(b"", written_rows=done.rows_written, elapsed_ns=int(done.elapsed * 1e9))


def _tokens(handle: Any, sql: str) -> list[Token]:
    encoded = sql.encode()
    escaped = (
        sql.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r").replace("\0", "\\0")
    )
    rows = _rows(handle, _TOKENS_SQL, {"q": escaped})
    return [Token(kind, encoded[int(start) : int(end)].decode(errors="replace"), int(end)) for start, end, kind in rows]


def _rows(handle: Any, sql: str, parameters: Mapping[str, str] | None = None) -> list[list[Any]]:
    answer = handle.query(sql, "JSONCompactEachRow", params=dict(parameters or {}))
    return [json.loads(line) for line in answer.bytes().splitlines()]


def _use(handle: Any, database: str) -> None:
    if database:
        quoted = database.replace("\\", "\\\\").replace("`", "\\`")
        handle.query(f"USE `{quoted}`")


def _set(handle: Any, settings: Mapping[str, str]) -> None:
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise EngineError(115, f"Unknown setting {name[:80]!r}. (UNKNOWN_SETTING)")
    if settings:
        handle.query("SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _explained(error: Exception) -> EngineError:
    text = str(error)
    found = _CODE.search(text)
    message = text[found.end() :] if found else text
    return EngineError(int(found[1]) if found else 1002, message.removeprefix("DB::Exception: ").strip())
