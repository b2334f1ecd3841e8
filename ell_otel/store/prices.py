"""Prices on their way into the store: the list of this release, and the user's own beside it.

Both files have the same columns. The user's is named by a setting; where there is one, its models go by it alone, and
what has been taken out of it is taken out of the store.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

import csv
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Final

from ell_otel import semconv
from ell_otel.errors import ConfigError
from ell_otel.store.client import Store

RELEASE: Final = "release"
USER: Final = "user"

# A column of the table, its type, and its name in the files.
_COLUMNS: Final = (
    ("Model", "String", "model"),
    ("ValidFrom", "Date32", "valid_from"),
    ("InputPrice", "Nullable(Float64)", "input"),
    ("CachedInputPrice", "Nullable(Float64)", "cached_input"),
    ("OutputPrice", "Nullable(Float64)", "output"),
    ("BatchFactor", "Nullable(Float64)", "batch_factor"),
    ("Source", "String", "source"),
    ("CheckedOn", "Date32", "checked_on"),
)
_NEEDED: Final = {"model", "valid_from"}
Row = tuple[object, ...]


def load_prices(store: Store, own: str = "") -> None:
    """Bring the store's prices to those of this release and of the user's file ``own``, if one is named.

    Raises ``ConfigError`` for a file that cannot be read, naming file and line.
    """
    text = (resources.files("ell_otel.store") / "prices.csv").read_text(encoding="utf-8")
    wanted = {RELEASE: parse(text, "prices.csv"), USER: _own(own) if own else []}
    names = [name for name, _, _ in _COLUMNS]
    present: dict[str, set[Row]] = {RELEASE: set(), USER: set()}
    for row in store.query(f"SELECT {', '.join(names)}, Owner FROM {semconv.TABLE_PRICES} FINAL"):
        present[str(row.pop("Owner"))].add(tuple(row.values()))
    if present[USER] - set(wanted[USER]):
        store.command(f"ALTER TABLE {semconv.TABLE_PRICES} DELETE WHERE Owner = '{USER}' SETTINGS mutations_sync = 2")
        present[USER] = set()
    rows = [(*row, owner) for owner in (RELEASE, USER) for row in wanted[owner] if row not in present[owner]]
    if rows:
        types = [kind for _, kind, _ in _COLUMNS]
        data = [list(column) for column in zip(*rows, strict=True)]
        store.insert(semconv.TABLE_PRICES, [*names, "Owner"], [*types, "LowCardinality(String)"], data)


def _own(path: str) -> list[Row]:
    try:
        return parse(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the price list {path} cannot be read: {error}; correct ELL_OTEL_PRICES") from error


def parse(text: str, name: str) -> list[Row]:
    """The rows of a price list; lines beginning with ``#`` are comments. Raises ``ConfigError`` naming the line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#")]
    reader = csv.DictReader(line for _, line in lines)
    if missing := _NEEDED - set(reader.fieldnames or ()):
        raise ConfigError(f"the price list {name} lacks the column {sorted(missing)[0]}; its first line names them")
    rows = []
    for (number, _), row in zip(lines[1:], reader, strict=True):
        try:
            rows.append(tuple(_value(kind, row.get(column) or "") for _, kind, column in _COLUMNS))
        except ValueError as error:
            raise ConfigError(f"line {number} of the price list {name} cannot be read: {error}") from error
    return rows


def _value(kind: str, text: str) -> object:
    if kind == "String":
        return text
    if kind == "Date32":
        return date.fromisoformat(text) if text else date(1970, 1, 1)
    return float(text) if text else None
