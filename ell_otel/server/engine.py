"""Statements on handles of the chDB engine that this process holds.

A handle keeps what is SET on it, and ``readonly`` cannot be undone. So each statement gets a fresh handle (a few
milliseconds), which is closed behind it: no request sees another's settings, and a reader's cannot be anything but
read-only. The engine must be open in this process already (``store.open_store``), at the same path.

A SELECT is read in blocks while it runs, where the format allows: the engine (chDB 26.9) writes each block as a
document of its own, so that what has a head or an end, WithNames or JSON, would have one per block. It does not stream
what is not a SELECT. Those are read whole, as is an empty result, whose stream is nothing.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import chdb

from ell_otel.server.insertion import Insertion
from ell_otel.server.rights import Limits, insert_settings, may_set, read_settings
from ell_otel.server.security import Role
from ell_otel.server.statements import Token, clause_settings, meaningful, output_format, refusal, returns_rows
from ell_otel.store.client import ASKING, connecting

_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE: Final = re.compile(r"Code: (\d+)\. ")
_TABLE_FUNCTIONS_SQL: Final = "SELECT lower(name) FROM system.table_functions"
_TOKENS_SQL: Final = "SELECT t.begin, t.end, t.type FROM (SELECT arrayJoin(tokenizeQuery({q:String})) AS t)"
_KILL_SQL: Final = "KILL QUERY WHERE Settings['log_comment'] = {key:String} ASYNC"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"})
_ASKING: Final = {name: str(value) for name, value in ASKING.items()}
_STREAMED: Final = frozenset({"select", "with", "from"})
_NOT_STREAMED: Final = frozenset({"insert", "totals", "extremes"})
STREAMED_FORMATS: Final = frozenset(
    {"native", "rowbinary", "tabseparated", "tsv", "tabseparatedraw", "tsvraw", "csv", "msgpack"}
    | {"jsoneachrow", "jsonlines", "ndjson", "jsonstringseachrow", "jsoncompacteachrow", "jsoncompactstringseachrow"}
)
WHOLE_BYTES: Final = 64 << 20
"""The most that a result may have, as the engine holds it, whose format is not streamed. JSON makes five times that."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement to answer: its tokens, its parameters (``{name:Type}``, as ClickHouse's escaped text), its key.

    ``key`` is what ``Engine.kill`` knows it by.
    """

    sql: str
    tokens: Sequence[Token]
    default_format: str
    key: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    writes: bool = True  # False: the request's method forbids it

    @property
    def all_settings(self) -> dict[str, str]:
        """With those of its SETTINGS clauses: in the read-only mode a clause may only say what holds already."""
        return {**self.settings, **(clause_settings(self.tokens) or {})}

    @property
    def format(self) -> str:
        """The result's; empty when the statement has none."""
        return output_format(self.tokens, self.default_format) if returns_rows(self.tokens) else ""


@dataclass(slots=True)
class Told:
    """What the engine said of its work so far."""

    read_rows: int = 0
    read_bytes: int = 0
    result_rows: int = 0
    written_rows: int = 0


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
        self._own = threading.Lock()  # around the handle for our own questions
        self._handle: Any = None
        self.version = ""
        self.timezone = ""

    def open(self) -> None:
        """Ask the engine what it is and what it has. Call once, before the first statement."""
        self._handle = self._connected()
        self.version, self.timezone = self._ask("SELECT version(), timezone()")[0]
        self._table_functions = frozenset(row[0] for row in self._ask(_TABLE_FUNCTIONS_SQL))

    def close(self) -> None:
        """Give back the handle for our own questions."""
        with self._own:
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def tokens(self, sql: str) -> list[Token]:
        """The statement as the engine's lexer cuts it, without blanks and comments; offsets are bytes."""
        encoded = sql.encode()
        return meaningful([Token(kind, _utf8(encoded[b:e]), e) for b, e, kind in self._lexed(sql)])

    def head_tokens(self, head: bytes) -> list[Token]:
        """The same of bytes that may be anything from some place on, for finding where an INSERT's data begins.

        They are shown to the lexer a character a byte. It may see other tokens than the engine will, so nothing may be
        permitted on the strength of these.
        """
        text = head.decode("latin-1")
        at = [index for index, character in enumerate(text) for _ in range(1 + (character > "\x7f"))] + [len(head)]
        return meaningful([Token(kind, _utf8(head[at[b] : at[e]]), at[e]) for b, e, kind in self._lexed(text)])

    def _lexed(self, text: str) -> Iterator[tuple[int, int, str]]:
        for begin, end, kind in self._ask(_TOKENS_SQL, {"q": _escaped(text)}):
            yield int(begin), int(end), kind

    def permit(self, query: Query, role: Role) -> None:
        """Raise ``EngineError`` when this role may not ask this."""
        if role is Role.OWNER:
            return
        if reason := refusal(query.tokens, self._table_functions):
            raise EngineError(497, f"{reason}. (ACCESS_DENIED)")
        clauses = clause_settings(query.tokens)
        closed = [name for name in clauses or () if not may_set(name)]
        if clauses is None or closed:
            named = ", ".join(closed) or "that is no literal"
            raise EngineError(164, f"a setting in the query is not this user's to choose: {named[:80]}. (READONLY)")

    def answer(self, query: Query, role: Role, told: Told) -> Generator[bytes]:
        """Run a permitted query; the result in its format, in pieces as they are made. Raises ``EngineError``.

        Use and exhaust it in one thread, or close it there: the rest is then not made.
        """
        settings = query.settings if role is Role.OWNER else read_settings(query.all_settings, self._limits_of(query))
        readonly = {} if role is Role.OWNER and query.writes else {"readonly": "2" if role is Role.OWNER else "1"}
        with self._prepared(query.database, _ASKING | dict(settings) | {"log_comment": query.key} | readonly) as handle:
            if _streams(query):
                began = time.monotonic()
                yield from _streamed(handle, query, told)
                _check_time(time.monotonic() - began, settings.get("max_execution_time", ""))
                if told.result_rows:
                    return
            yield _whole(handle, query, told)

    def _limits_of(self, query: Query) -> Limits:
        """A result that is held whole has to be smaller."""
        limits = self._limits
        return (
            limits if _streams(query) else replace(limits, max_result_bytes=min(limits.max_result_bytes, WHOLE_BYTES))
        )

    def insert(self, into: Insertion, settings: Mapping[str, str], database: str, chunks: Iterator[bytes]) -> Told:
        """Insert what the chunks hold. What was inserted is durable when this returns, as the table is made.

        When it raises ``EngineError``, or what ``chunks`` raises, a part of it may be stored.
        """
        with self._prepared(database, settings) as handle:
            inserter = handle.send_insert(into.sql, into.format)
            with inserter:
                for chunk in chunks:
                    inserter.append(chunk)
                done = inserter.finish()
        return Told(written_rows=done.rows_written)

    def insert_settings(self, asked: Mapping[str, str], role: Role) -> dict[str, str]:
        """The settings of an insert: an owner's own, else as far as an inserter may choose."""
        return dict(asked) if role is Role.OWNER else insert_settings(asked, self._limits)

    def kill(self, key: str) -> None:
        """End the query with this key, if it still runs: whoever asked has gone."""
        self._ask(_KILL_SQL, {"key": key})

    def _ask(self, sql: str, parameters: Mapping[str, str] | None = None) -> list[list[Any]]:
        with self._own:
            answer = self._handle.query(sql, "JSONCompactEachRow", params=dict(parameters or {}))
            return [json.loads(line) for line in (answer.bytes() or b"").splitlines()]

    @contextmanager
    def _prepared(self, database: str, settings: Mapping[str, str]) -> Iterator[Any]:
        with closing(self._connected()) as handle:
            try:
                _use(handle, database)
                _set(handle, settings)
                yield handle
            except (chdb.ChdbError, RuntimeError) as error:
                raise _explained(error) from error

    def _connected(self) -> Any:
        with connecting:  # not thread-safe in the engine, and the store connects too
            return chdb.connect(self._path)


def _streams(query: Query) -> bool:
    words = {token.word for token in query.tokens}
    first = next((token.word for token in query.tokens if token.kind != "OpeningRoundBracket"), "")
    return (
        first in _STREAMED
        and not words & _NOT_STREAMED
        and query.all_settings.get("extremes", "0") == "0"
        and query.format.lower() in STREAMED_FORMATS
    )


def _streamed(handle: Any, query: Query, told: Told) -> Iterator[bytes]:
    with handle.send_query(query.sql, query.default_format, params=dict(query.parameters)) as stream:
        for block in stream:
            told.result_rows += block.rows_read()
            told.read_rows += block.rows_read()
            told.read_bytes += block.bytes_read()
            yield block.bytes()


def _check_time(took: float, limit: str) -> None:
    """The stream of a query whose time is over while nobody fetches just ends, as if that were all."""
    if limit.isdecimal() and 0 < int(limit) <= took:
        raise EngineError(159, f"Timeout exceeded: elapsed {took:.1f} s, maximum: {limit} s. (TIMEOUT_EXCEEDED)")


def _whole(handle: Any, query: Query, told: Told) -> bytes:
    answer = handle.query(query.sql, query.default_format, params=dict(query.parameters))
    told.read_rows, told.read_bytes = answer.rows_read(), answer.bytes_read()
    found: bytes = answer.bytes() or b""
    return found


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _utf8(text: bytes) -> str:
    return text.decode(errors="replace")


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
