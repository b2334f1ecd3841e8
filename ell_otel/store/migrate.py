"""Bringing a store's tables to this release: numbered ``.sql`` files, applied in order, recorded, never edited.

A file holds statements that end in ``;`` at the end of a line; a line that begins with ``--`` is a comment. Every
statement can be run again without harm, and a file is recorded (number, name, SHA-256, time) after its last one; so a
run that was killed anywhere is completed by the next. The same files serve chDB, a ClickHouse over HTTP and a cluster:
what differs is worked in by ``targets``, after the checksum is taken.

A materialized view sees only what is inserted after it was made. Where its source already holds rows (tables made by
the Collector's exporter), the runner puts them through the view as well, right after making it: see ``lifting``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Final, cast

from ell_otel import semconv
from ell_otel.config import Settings
from ell_otel.errors import MigrationError, StoreError
from ell_otel.store import targets
from ell_otel.store.client import Store
from ell_otel.store.lifting import Lifting, Report, lift, lifting, silent
from ell_otel.store.prices import load_prices
from ell_otel.store.retention import retention

_LEDGER: Final = f"""
CREATE TABLE IF NOT EXISTS {semconv.TABLE_MIGRATIONS}
(Number UInt32, Name String, Sha256 String, AppliedAt DateTime64(3, 'UTC'))
ENGINE = ReplacingMergeTree
ORDER BY Number
SETTINGS index_granularity = 8192
""".strip()


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration of this release. ``applied_at`` is None when it has not been applied."""

    number: int
    name: str
    sha256: str
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A table made from another one: how many rows that one has, how many this one has now, and how many are new."""

    table: str
    source: str
    read: int
    rows: int
    added: int


@dataclass(frozen=True, slots=True)
class _Script:
    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrate(store: Store, settings: Settings | None = None, *, dry_run: bool = False) -> list[Applied]:
    """Apply what this release has and the store has not, and load the prices; returns what was applied, in order.

    The settings name the cluster and the user's price list, if there are any. With ``dry_run`` nothing changes, and the
    list is what would be applied. Raises ``MigrationError`` when the store is newer than this release, when its record
    has a gap, or when a recorded file is not the one we have.
    """
    settings = settings or Settings()
    waiting = [entry for entry in status(store) if entry.applied_at is None]
    if dry_run:
        return waiting
    adapt = _target(store, settings.cluster)
    if waiting:
        for statement in adapt(_LEDGER):
            store.command(statement)
    scripts = {script.number: script for script in _scripts()}
    done = [_apply(store, scripts[entry.number], adapt) for entry in waiting]
    for statement in _retention(store, settings):
        store.command(statement)
    load_prices(store, settings.prices)
    return done


def rebuild(
    store: Store,
    settings: Settings | None = None,
    *,
    reporting: Callable[[str], AbstractContextManager[Report]] = lambda table: nullcontext(silent),
) -> list[Rebuilt]:
    """Make what is missing of tables and views, and fill what is made from spans and logs with what it lacks.

    For rows that came before the views were there, and for views or tables that somebody has dropped or emptied. It
    can be repeated, and after a kill or an error the next run completes it. ``reporting`` gives, for each table, what
    is told of the progress. Raises ``MigrationError`` and ``StoreError``.
    """
    settings = settings or Settings()
    status(store)  # refuses a store that is not for this release
    adapt = _target(store, settings.cluster)
    everything = [statement for script in _scripts() for statement in statements(script.text)]
    for adapted in (each for statement in everything for each in adapt(statement)):
        store.command(adapted)
    migrate(store, settings)  # afterwards: what was just made has neither prices nor an end of its rows' time
    done = []
    for view in filter(None, map(lifting, everything)):
        with reporting(view.target) as report:
            done.append(_rebuilt(store, view, report))
    return done


def _rebuilt(store: Store, view: Lifting, report: Report) -> Rebuilt:
    sql = f"SELECT count() AS rows FROM {view.target} FINAL"  # noqa: S608 - a name from our own files
    (before,) = store.query(sql)
    read = lift(store, view, report)
    (after,) = store.query(sql)
    rows = cast("int", after["rows"])
    return Rebuilt(view.target, view.source, read, rows, rows - cast("int", before["rows"]))


def plan(store: Store, settings: Settings) -> list[str]:
    """The statements that ``migrate`` would run, for this store and cluster, to be read or run by hand."""
    waiting = {entry.number for entry in status(store) if entry.applied_at is None}
    adapt = _target(store, settings.cluster)
    texts = [script.text for script in _scripts() if script.number in waiting]
    parts = [adapt(_LEDGER)] if waiting else []
    parts += [adapt(one) for text in texts for one in statements(text)]
    return [*(each for part in parts for each in part), *_retention(store, settings)]


def _retention(store: Store, settings: Settings) -> list[str]:
    sql = (
        "SELECT create_table_query AS made FROM system.tables WHERE database = currentDatabase() AND name = {n:String}"
    )
    suffix = targets.LOCAL if settings.cluster else ""
    on = f" ON CLUSTER {targets.quoted(settings.cluster)}" if settings.cluster else ""

    def made(table: str) -> str:
        rows = store.query(sql, {"n": table + suffix})
        return str(rows[0]["made"]) if rows else ""

    return list(retention(settings, lambda table: f"{table}{suffix}{on}", made))


def _target(store: Store, cluster: str) -> targets.Adapt:
    if cluster and store.local:
        raise MigrationError(
            f"{store.name} is no cluster: name a server of {cluster} with --store, or unset ELL_OTEL_CLUSTER"
        )
    if not cluster:
        return targets.chdb if store.local else targets.server
    engine = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
    for table in (semconv.TABLE_TRACES, semconv.TABLE_LOGS):
        found = store.query(engine, {"name": table})
        if found and found[0]["engine"] != "Distributed":
            raise MigrationError(
                f"{table} of {store.name} holds the rows of one node only: RENAME TABLE {table} TO "
                f"{table}{targets.LOCAL} ON CLUSTER {cluster}, then run `ell-otel migrate` again"
            )
    return targets.cluster(cluster)


def status(store: Store) -> list[Applied]:
    """Every migration of this release, with the time it was applied to this store. Raises ``MigrationError``."""
    scripts = _scripts()
    recorded = _recorded(store)
    known = [script.number for script in scripts]
    if unknown := sorted(recorded.keys() - set(known)):
        raise MigrationError(
            f"the tables of {store.name} were made by a newer release (schema {unknown[-1]}, this one knows up to "
            f"{known[-1]}): pip install -U ell-otel"
        )
    if missing := [number for number in known if number not in recorded and any(later > number for later in recorded)]:
        raise MigrationError(
            f"migration {missing[0]:04d} of {store.name} is not recorded although a later one is: the table "
            f"{semconv.TABLE_MIGRATIONS} has been changed by hand; restore it from a backup"
        )
    entries = []
    for script in scripts:
        sha256, applied_at = recorded.get(script.number, (script.sha256, None))
        if sha256 != script.sha256:
            raise MigrationError(
                f"migration {script.number:04d} of {store.name} was applied from another file than the {script.name} "
                f"of this release: install the release that made the store, or begin a new store"
            )
        entries.append(Applied(script.number, script.name, sha256, applied_at))
    return entries


def _recorded(store: Store) -> dict[int, tuple[str, datetime]]:
    if not store.columns(semconv.TABLE_MIGRATIONS):
        return {}
    sql = f"SELECT Number, Sha256, AppliedAt FROM {semconv.TABLE_MIGRATIONS} ORDER BY Number, AppliedAt"  # noqa: S608
    recorded: dict[int, tuple[str, datetime]] = {}
    for row in store.query(sql):
        number, sha256, applied_at = row["Number"], row["Sha256"], row["AppliedAt"]
        recorded[cast("int", number)] = (str(sha256), cast("datetime", applied_at))
    return recorded


def _apply(store: Store, script: _Script, adapt: targets.Adapt) -> Applied:
    for statement in statements(script.text):
        try:
            for adapted in adapt(statement):
                store.command(adapted)
            if view := lifting(statement):
                lift(store, view)
        except StoreError as error:
            first_line = statement.partition("\n")[0]
            raise MigrationError(
                f"migration {script.name} stopped at {first_line!r}: {error}. Run `ell-otel migrate` again once that "
                "is put right: it goes on from there"
            ) from error
    now = datetime.now(UTC)
    columns = ("Number", "Name", "Sha256", "AppliedAt")
    types = ("UInt32", "String", "String", "DateTime64(3, 'UTC')")
    store.insert(semconv.TABLE_MIGRATIONS, columns, types, [[script.number], [script.name], [script.sha256], [now]])
    return Applied(script.number, script.name, script.sha256, now)


def statements(text: str) -> Iterator[str]:
    """The statements of a migration file, without comment lines and without the closing semicolon."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    for statement in re.split(r";[ \t]*$", code, flags=re.MULTILINE):
        if statement.strip():
            yield statement.strip()


def _scripts() -> list[_Script]:
    folder = resources.files("ell_otel.store") / "migrations"
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    scripts = [_Script(int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in files]
    if [script.number for script in scripts] != list(range(1, len(scripts) + 1)):
        raise MigrationError("this installation lacks a migration file: pip install --force-reinstall ell-otel")
    return scripts
