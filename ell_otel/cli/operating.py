"""The commands that run things or look after them: ``serve``, ``migrate`` and ``doctor``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ell_otel import __version__, cli, config
from ell_otel.cli.opening import settings_of, take_over_spool
from ell_otel.cli.output import Output, table
from ell_otel.config import Settings
from ell_otel.errors import EllOtelError, StoreLockedError

if TYPE_CHECKING:
    from ell_otel.ingest.counters import Counters
    from ell_otel.ingest.service import Component, Fronts
    from ell_otel.store.client import Store
    from ell_otel.store.migrate import Applied
    from ell_otel.store.queries import Attribution

PACKAGES: Final = {
    "openai": "ell-otel[openai]",
    "opentelemetry.instrumentation.genai.openai": "ell-otel[openai]",
    "chdb": "ell-otel[local]",
    "clickhouse_connect": "ell-otel[local]",
    "grpc": "ell-otel[local]",
    "starlette": "ell-otel[local]",
}


def serve(arguments: argparse.Namespace, output: Output) -> int:
    """Receive and answer until SIGINT or SIGTERM."""
    from ell_otel.ingest.service import Service

    settings = settings_of(
        arguments,
        host=arguments.host,
        grpc_port=arguments.grpc_port,
        http_port=arguments.http_port,
        clickhouse_port=arguments.clickhouse_port,
        port=arguments.port,
        forward=arguments.to,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        tls_client_ca=arguments.tls_client_ca,
    )
    service = Service(settings, fronts=fronts(settings), narrate=output.narrate)

    def ready() -> None:
        listening = [{"name": each.name, "host": each.host, "port": each.port} for each in service.components]
        output.result(listening, lambda _: None)
        output.finish("ok")
        output.narrate(f"ready, with {service.where}; Ctrl-C ends it and loses nothing")

    service.run(ready)
    return cli.OK


def fronts(settings: Settings) -> Fronts:
    """What answers before the store: ClickHouse's HTTP interface, where the store is ours, and the REST API."""
    from ell_otel.server import app, clickhouse_http
    from ell_otel.server.security import read_token, users

    def listeners(store: Store, counters: Counters) -> Sequence[Component]:
        directory = config.find_directory(settings)
        token = read_token(settings, directory)
        api = app.listener(store, token, host=settings.host, port=settings.port, metrics=counters.prometheus)
        if not store.local:  # a ClickHouse elsewhere answers for itself
            return [api]
        known = users(settings, directory)
        front = clickhouse_http.listener(store.name, known, host=settings.host, port=settings.clickhouse_port)
        return [front, api]

    return listeners


def migrate(arguments: argparse.Namespace, output: Output) -> int:
    """Bring the tables to this release's schema, or say what that would do, or what has been done."""
    from ell_otel.store.client import open_store
    from ell_otel.store.migrate import migrate as apply
    from ell_otel.store.migrate import plan, status

    settings = settings_of(arguments, cluster=arguments.cluster)
    with open_store(settings, purpose="ell-otel migrate") as store:
        if arguments.status:
            return _migrations(output, status(store))
        if arguments.sql:
            statements = [f"{each};\n" for each in plan(store, settings)]
            rows = [{"statement": each} for each in statements]
            output.result(rows, lambda console: console.print("\n".join(statements), markup=False, soft_wrap=True))
            return cli.OK
        if not store.local and not settings.store:
            if arguments.rebuild:
                raise StoreLockedError("`ell-otel serve` holds this store: stop it while its tables are filled")
            raise StoreLockedError("`ell-otel serve` holds this store; it migrated it when it started. Nothing to do")
        if arguments.rebuild:
            return _rebuild(output, store, settings)
        done = apply(store, settings, dry_run=arguments.dry_run)
    _migrations(output, done)
    verb = "to be applied" if arguments.dry_run else "applied"
    output.narrate(f"{len(done)} migrations {verb}" if done else "the schema is up to date")
    return cli.OK


def _rebuild(output: Output, store: Store, settings: Settings) -> int:
    from ell_otel.store.migrate import rebuild

    def filling(table: str) -> AbstractContextManager[Callable[[int, int], None]]:
        return output.progress(f"filling {table}")

    rebuilt = rebuild(store, settings, reporting=filling)
    heads = ("table", "made from", "rows read", "rows", "new")
    lines = [(each.table, each.source, each.read, each.rows, each.added) for each in rebuilt]
    output.result(rebuilt, lambda console: console.print(table(heads, lines)))
    return cli.OK


def _migrations(output: Output, known: Sequence[Applied]) -> int:
    heads = ("number", "migration", "applied at", "sha256")
    lines = [(each.number, each.name, each.applied_at or "-", each.sha256[:12]) for each in known]
    output.result(known, lambda console: console.print(table(heads, lines)) if lines else None)
    return cli.OK


# -- doctor -----------------------------------------------------------------------------------------------------------

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: how it is, and what to do about it if something."""

    level: Level
    about: str
    finding: str


def doctor(arguments: argparse.Namespace, output: Output) -> int:
    """Look at everything that commonly goes wrong. Exit code 1 when something did."""
    settings = settings_of(arguments)
    directory = config.find_directory(settings)
    findings = [
        *_installation(),
        *_folder(settings, directory),
        *_spool(directory),
        *_passwords(settings, directory, shown=arguments.show_passwords),
        *_store(settings, directory, output),
    ]
    lines = [(each.level, each.about, each.finding) for each in findings]
    output.result(findings, lambda console: console.print(table(("", "what", "finding"), lines, sentences=True)))
    return cli.OK if all(each.level == "ok" for each in findings) else cli.FOUND


def _installation() -> Iterator[Finding]:
    yield Finding("ok", "version", f"ell-otel {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package, extra in PACKAGES.items():
        try:
            found = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            yield Finding("warning", "package", f"{package} is not installed: pip install '{extra}'")
    for package in ("opentelemetry-sdk", "protobuf"):
        yield Finding("ok", "package", f"{package} {metadata.version(package)}")


def _folder(settings: Settings, directory: Path) -> Iterator[Finding]:
    if not settings.local:
        from ell_otel.telemetry.transport import LOGS, TRACES, destination

        ways = [f"{signal} to {' by '.join(destination(settings, signal))}" for signal in (TRACES, LOGS)]
        yield Finding("ok", "delivery", f"OTLP: {', '.join(ways)}; the spool is not used")
    if not directory.exists():
        yield Finding(
            "warning", "folder", f"{directory} does not exist yet: it is made when a program first runs there"
        )
    elif not os.access(directory, os.W_OK):
        yield Finding("problem", "folder", f"{directory} cannot be written: give permission, or set ELL_OTEL_DIR")
    else:
        content = "recorded" if settings.record_content else "not recorded"
        yield Finding("ok", "folder", f"{directory}; messages, arguments and results are {content}")
    for other in _other_folders(directory):
        yield Finding("warning", "folder", f"there is another: {other} (--dir {other})")


def _other_folders(directory: Path) -> list[Path]:
    """``.ell`` folders in the working directory, above and directly below it: what people look for and do not find."""
    here = Path.cwd()
    candidates = [folder / config.DIRECTORY_NAME for folder in (here, *here.parents)]
    candidates += sorted(here.glob(f"*/{config.DIRECTORY_NAME}"))
    return [each for each in candidates if each.is_dir() and each != directory]


def _spool(directory: Path) -> Iterator[Finding]:
    from ell_otel.telemetry.segments import SPOOL_NAME, pending

    segments = pending(directory / SPOOL_NAME)
    waiting = sum(segment.backlog() for segment in segments)
    yield Finding("ok", "spool", f"{len(segments)} segments, {waiting} bytes not yet taken over")
    quarantined = list((directory / "quarantine").glob("*"))
    if quarantined:
        yield Finding(
            "warning", "spool", f"{len(quarantined)} frames that could not be read lie in {quarantined[0].parent}"
        )


def _passwords(settings: Settings, directory: Path, *, shown: bool) -> Iterator[Finding]:
    """Of the ClickHouse interface: where they are, and what only if asked, for what doctor says is shown to others."""
    from ell_otel.server.security import INGEST, INGEST_TOKEN_NAME, READER, TOKEN_NAME

    for user, given, variable, name in (
        (READER, settings.token, "ELL_OTEL_TOKEN", TOKEN_NAME),
        (INGEST, settings.ingest_token, "ELL_OTEL_INGEST_TOKEN", INGEST_TOKEN_NAME),
    ):
        kept = directory / name
        if given:
            yield Finding("ok", "password", f"of the ClickHouse user `{user}`: {given if shown else variable}")
        elif kept.exists():
            try:
                password = kept.read_text(encoding="utf-8", errors="replace").strip() if shown else f"cat {kept}"
            except OSError as error:
                yield Finding("problem", "password", f"{kept} cannot be read ({error.strerror}): give permission")
                continue
            yield Finding("ok", "password", f"of the ClickHouse user `{user}`: {password}")
            if kept.stat().st_mode & 0o077:
                yield Finding("warning", "password", f"others can read {kept}: chmod 600 {kept}")


def _store(settings: Settings, directory: Path, output: Output) -> Iterator[Finding]:
    from ell_otel.store import queries
    from ell_otel.store.client import open_store, read_lock
    from ell_otel.store.migrate import migrate as apply

    if not settings.store and not (directory / "store").exists():
        yield Finding("ok", "store", "none yet: it is made when a command first reads")
        return
    holder = None if settings.store else read_lock(directory)
    if holder is not None:
        yield Finding("ok", "store", f"held by process {holder.pid} ({holder.purpose})")
    try:
        with open_store(settings, purpose="ell-otel doctor") as store:
            if store.local:
                apply(store, settings)
                if not settings.store:
                    take_over_spool(directory, store, output)
            counts = queries.counts(store)
            unpriced = queries.unpriced_models(store)
            losses = queries.losses(store)
            attribution = queries.attribution(store)
    except EllOtelError as error:
        yield Finding("problem", "store", str(error))
        return
    yield Finding(
        "ok",
        "store",
        f"{store.name}: {counts.programs} programs, {counts.versions} versions, {counts.invocations} invocations, "
        f"{counts.evaluations} scores",
    )
    for model in unpriced:
        yield Finding("warning", "price", f"{model.model}: {model.inferences} requests without a known price")
    yield from _attribution(attribution)
    if losses:
        yield Finding(
            "warning", "losses", f"{losses} records were lost before they were accepted; the last reason is in ell.loss"
        )


def _attribution(found: Attribution) -> Iterator[Finding]:
    if found.without_program:
        yield Finding(
            "warning",
            "programs",
            f"{found.without_program} of {found.inferences} model requests name no program: nothing of yours was on "
            "the stack. Decorate with @ell.program what starts them, or name your installed packages in "
            "ELL_OTEL_USER_PACKAGES",
        )
    for producer, spans in found.duplicates:
        yield Finding(
            "warning",
            "duplicate",
            f"{producer} described {spans} model requests that another instrumentation describes too; they count "
            "once. Switch one of the two off",
        )
