"""An INSERT that carries its data: ``INSERT INTO [TABLE] [db.]table [(columns)] [SETTINGS …] FORMAT name | VALUES``.

It is read from the engine's own tokens by this one grammar and written anew from what was found, so that nothing else
that a statement may hold (a SELECT, a table function, an expression) reaches the engine with an inserter's rights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ell_otel.server.statements import Token, assignments, plain_name


@dataclass(frozen=True, slots=True)
class Insertion:
    """Where to insert, and the format of the data, which begins ``data_at`` bytes into the statement."""

    database: str
    table: str
    columns: tuple[str, ...]
    format: str
    data_at: int
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def sql(self) -> str:
        """The statement without its format and data."""
        into = ".".join(_quoted(name) for name in (self.database, self.table) if name)
        columns = f" ({', '.join(map(_quoted, self.columns))})" if self.columns else ""
        return f"INSERT INTO {into}{columns}"


class _NotThisError(Exception):
    """The statement is not of this grammar."""


def insertion(tokens: Sequence[Token]) -> Insertion | None:
    """The INSERT that these meaningful tokens begin with; None when it is another statement."""
    try:
        return _Reader(tokens).insertion()
    except (_NotThisError, IndexError):
        return None


class _Reader:
    """Recursive descent over tokens. Running off their end is an IndexError."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def insertion(self) -> Insertion:
        self._word("insert")
        self._word("into")
        if self._tokens[self._at].word == "table":
            self._at += 1
        database, table = "", self._name()
        if self._skipped("Dot"):
            database, table = table, self._name()
        columns = self._columns() if self._skipped("OpeningRoundBracket") else ()
        settings: dict[str, str] = {}
        if self._tokens[self._at].word == "settings":
            self._at += 1
            settings, used = assignments(self._tokens[self._at :])
            self._at += used
        named = self._tokens[self._at]
        if named.word == "values":
            return Insertion(database, table, columns, "Values", named.end, settings)
        self._word("format")
        named = self._tokens[self._at]
        if named.kind != "BareWord":
            raise _NotThisError
        return Insertion(database, table, columns, named.text, named.end, settings)

    def _columns(self) -> tuple[str, ...]:
        names = []
        while True:
            parts = [self._name()]
            while self._skipped("Dot"):  # Events.Name: one column, its dot unquoted
                parts.append(self._name())
            names.append(".".join(parts))
            if self._skipped("ClosingRoundBracket"):
                return tuple(names)
            if not self._skipped("Comma"):
                raise _NotThisError

    def _word(self, expected: str) -> None:
        if self._tokens[self._at].word != expected:
            raise _NotThisError
        self._at += 1

    def _name(self) -> str:
        name = plain_name(self._tokens[self._at])
        if not name:
            raise _NotThisError
        self._at += 1
        return name

    def _skipped(self, kind: str) -> bool:
        found = self._tokens[self._at].kind == kind
        self._at += found
        return found


def _quoted(name: str) -> str:
    return f"`{name}`"
