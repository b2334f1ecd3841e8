"""From what a person types to a program or a version, with a message worth reading when there is none."""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final

from ell_otel import semconv
from ell_otel.errors import NotFoundError
from ell_otel.store.client import Store

HASH_TAG: Final = "c1:"
MIN_PREFIX: Final = 6
_HASH: Final = re.compile(r"(?:c1:)?([0-9a-f]{6,64})")
_NUMBER: Final = re.compile(r"v?([0-9]{1,9})")
_SHOWN: Final = 8

# Every version with its number. It reads only keys and times, a few bytes for each version; from the tables, since
# planning the many columns of the view of versions takes longer than that. Names are compared by their length and after
# grouping, or the engine plans how indexes could serve, for longer than it then reads.
NUMBERED: Final = f"""(
    SELECT ProgramName, ProgramVersion, min(FirstSeen) AS First,
        row_number() OVER (PARTITION BY ProgramName ORDER BY First, ProgramVersion) AS VersionNumber
    FROM (
        SELECT ProgramName, ProgramVersion, FirstSeen FROM {semconv.TABLE_PROGRAM_SOURCES}
        UNION ALL
        SELECT ProgramName, toString(ProgramVersion) AS ProgramVersion, min(Started) AS FirstSeen
        FROM {semconv.TABLE_SPANS} GROUP BY ProgramName, ProgramVersion
    )
    GROUP BY ProgramName, ProgramVersion
    HAVING length(ProgramName) > 0 AND length(ProgramVersion) > 0
)"""


@dataclass(frozen=True, slots=True)
class VersionKey:
    """The identity of a version: its program, its number there and its hash."""

    program: str
    number: int
    version: str


def resolve_program(store: Store, name: str) -> str:
    """The full name of the program called ``name``, which may be its last components when they are unambiguous.

    Raises ``NotFoundError`` that lists what could have been meant.
    """
    names = _program_names(store)
    found = _matching(names, name)
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFoundError(f"{name!r} could be {_listed(found)}: type more of the name")
    raise NotFoundError(_unknown_program(name, names))


def resolve_version(store: Store, reference: str) -> VersionKey:
    """The version meant by a full hash, a prefix of 6 or more digits, ``program`` (its newest), ``program@v3``
    or ``program@prefix``.

    Raises ``NotFoundError`` that lists what could have been meant.
    """
    name, at, rest = reference.rpartition("@")
    if at:
        return _version_of(store, resolve_program(store, name), rest)
    hashed = _by_hash(store, reference)
    named = _matching(_program_names(store), reference)
    if len(hashed) + len(named) > 1:
        choices = [*(f"{key.program}@v{key.number} ({key.version})" for key in hashed), *named]
        raise NotFoundError(f"{reference!r} could be {_listed(choices)}: type more of it")
    if hashed:
        return hashed[0]
    if named:
        return _versions_of(store, named[0])[-1]
    if reference.startswith(HASH_TAG) or (_HASH.fullmatch(reference) and "." not in reference):
        raise NotFoundError(f"no version begins with {reference!r}; list programs and versions with `ell-otel log`")
    raise NotFoundError(_unknown_program(reference, _program_names(store)))


def _version_of(store: Store, program: str, rest: str) -> VersionKey:
    keys = _versions_of(store, program)
    if number := _NUMBER.fullmatch(rest):
        found = [key for key in keys if key.number == int(number[1])]
        if found:
            return found[0]
    digits = rest.removeprefix(HASH_TAG)
    found = [key for key in keys if digits and key.version.removeprefix(HASH_TAG).startswith(digits)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFoundError(f"{rest!r} could be {_listed([key.version for key in found])}: type more of it")
    raise NotFoundError(
        f"{program} has no version {rest!r}: it has v1 to v{len(keys)}; list them with `ell-otel log {program}`"
    )


def _versions_of(store: Store, program: str) -> list[VersionKey]:
    rows = store.query(
        f"""
        SELECT ProgramName AS program, VersionNumber AS number, ProgramVersion AS version
        FROM {NUMBERED} WHERE ProgramName = {{program:String}} ORDER BY number
        """,
        {"program": program},
    )
    return [VersionKey(**row) for row in rows]  # type: ignore[arg-type]


def _by_hash(store: Store, reference: str) -> list[VersionKey]:
    digits = _HASH.fullmatch(reference)
    if digits is None:
        return []
    rows = store.query(
        f"""
        SELECT ProgramName AS program, VersionNumber AS number, ProgramVersion AS version
        FROM {NUMBERED} WHERE startsWith(ProgramVersion, {{prefix:String}}) ORDER BY program, number
        """,
        {"prefix": HASH_TAG + digits[1]},
    )
    return [VersionKey(**row) for row in rows]  # type: ignore[arg-type]


def _program_names(store: Store) -> list[str]:
    rows = store.query(
        f"SELECT ProgramName FROM {semconv.TABLE_PROGRAM_SOURCES} "
        f"UNION DISTINCT SELECT ProgramName FROM {semconv.TABLE_SPANS} WHERE ProgramVersion != '' GROUP BY ProgramName"
    )
    return sorted(str(row["ProgramName"]) for row in rows if row["ProgramName"])


def _matching(names: list[str], name: str) -> list[str]:
    if name in names:
        return [name]
    return [full for full in names if full.endswith(f".{name}")]


def _unknown_program(name: str, names: list[str]) -> str:
    if not names:
        return f"no program is called {name!r}: there are none yet; run `ell-otel demo`, or a script that uses ell_otel"
    by_last = {full.rpartition(".")[2]: full for full in names}
    near = difflib.get_close_matches(name, names, cutoff=0.5) or [
        by_last[last] for last in difflib.get_close_matches(name.rpartition(".")[2], by_last, cutoff=0.5)
    ]
    return f"no program is called {name!r}: {'near it ' if near else ''}there are {_listed(near or names)}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more (`ell-otel log`)"
