"""The commands that answer questions: ``log``, ``show``, ``diff``, ``invocations``, ``checkout`` and ``sql``."""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ell_otel import cli, differences
from ell_otel.cli import drawing
from ell_otel.cli.opening import opened, settings_of
from ell_otel.cli.output import Output, cell, safe, short
from ell_otel.cli.selecting import select
from ell_otel.errors import ConfigError, NotFoundError
from ell_otel.store import queries
from ell_otel.store.client import Store

if TYPE_CHECKING:
    from ell_otel.program_pb2 import ProgramVersion

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def log(arguments: argparse.Namespace, output: Output) -> int:
    """Programs, or the versions of one."""
    with opened(arguments, output) as store:
        if arguments.program:
            versions = queries.versions(store, arguments.program)
            output.result(versions, lambda console: drawing.versions(console, versions))
            return cli.OK
        programs = queries.programs(store)
        output.result(programs, lambda console: drawing.programs(console, programs))
        if not programs:
            output.narrate(
                f"nothing is recorded in {store.name}. Decorate a function with @ell.program, run it and come back; "
                "or see `ell-otel demo`. Looking elsewhere: --dir DIR, and `ell-otel doctor` says what is where"
            )
        return cli.OK


def show(arguments: argparse.Namespace, output: Output) -> int:
    """A version's closure; or an invocation with its arguments, result, model requests and scores."""
    with opened(arguments, output) as store:
        found = _version_or_invocation(store, arguments.reference)
        spans = queries.trace(store, found.invocation.trace_id) if isinstance(found, queries.InvocationDetail) else []
    if isinstance(found, queries.InvocationDetail):
        row = {**asdict(found), "trace": [asdict(span) for span in spans]}
        output.result([row], lambda console: drawing.invocation(console, found, spans))
    else:
        output.result([found], lambda console: drawing.version(console, found))
        for warning in found.warnings:
            output.narrate(f"warning: {warning}", "warning")
    return cli.OK


def diff(arguments: argparse.Namespace, output: Output) -> int:
    """What changed from one version to another; exit code 1 when something did."""
    with opened(arguments, output) as store:
        before = queries.find_version(store, arguments.before)
        after = queries.find_version(store, arguments.after)
    changes = differences.compare(decoded(before).parts, decoded(after).parts)
    heading = " -> ".join(f"{each.program} v{each.number} {short(each.version)}" for each in (before, after))
    output.result(changes, lambda console: drawing.changes(console, heading, changes))
    return cli.FOUND if changes else cli.OK


def invocations(arguments: argparse.Namespace, output: Output) -> int:
    """A page of invocations, newest first."""
    wanted = queries.InvocationFilter(
        program=arguments.program or "",
        version=arguments.of_version or "",
        status=arguments.status or "",
        model=arguments.model or "",
        since=_moment(arguments.since) if arguments.since else None,
        text=arguments.text or "",
        min_ms=arguments.min_ms,
    )
    with opened(arguments, output) as store:
        page = queries.invocations(store, wanted, limit=arguments.limit, before=arguments.before or "")
    output.result(page, lambda console: drawing.invocations(console, page))
    if not page:
        output.narrate("no invocation matches")
    if len(page) == arguments.limit:
        output.narrate(f"older ones: --before {page[-1].cursor}")
    return cli.OK


def checkout(arguments: argparse.Namespace, output: Output) -> int:
    """Write a version's closure to a file. It is only written, never run."""
    with opened(arguments, output) as store:
        found = queries.find_version(store, arguments.version)
    if not found.source:
        raise NotFoundError(
            f"the source of {found.program} {short(found.version)} has not arrived, or not all of it. "
            "Every process sends it before its first span of that version: run the program again"
        )
    text = f"# {cell(found.program)} v{found.number}, {cell(found.version)}\n{found.source.rstrip()}\n"
    if arguments.output == "-":
        output.result([asdict(found)], lambda _: print(safe(text) if sys.stdout.isatty() else text, end=""))
        return cli.OK
    name = re.sub(r"\W+", "_", found.program.rpartition(".")[2])
    path = Path(arguments.output or f"{name}_v{found.number}.py")
    try:
        with path.open("w" if arguments.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} exists: overwrite it with --force, or name another file with -o") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}. Name another file with -o") from error
    output.result([{"path": str(path), "version": found.version}], lambda console: console.print(str(path)))
    return cli.OK


def sql(arguments: argparse.Namespace, output: Output) -> int:
    """Run one SELECT, read-only."""
    with opened(arguments, output) as store:
        served = not store.local and not settings_of(arguments).store
        columns, rows = select(store, arguments.query, arguments.limit, served=served)
    output.result([dict(zip(columns, row, strict=True)) for row in rows], lambda c: drawing.rows(c, columns, rows))
    if len(rows) == arguments.limit:
        output.narrate(f"cut at {arguments.limit} rows: --limit takes another number", "warning")
    return cli.OK


def decoded(found: queries.VersionDetail) -> ProgramVersion:
    """The stored message of a version. Raises ``NotFoundError`` when it has not arrived or cannot be read."""
    import base64
    import binascii

    from google.protobuf.message import DecodeError

    from ell_otel.program_pb2 import ProgramVersion

    try:
        if not found.proto:
            raise DecodeError("it has not arrived")
        return ProgramVersion.FromString(base64.b64decode(found.proto, validate=True))
    except (DecodeError, binascii.Error) as error:
        raise NotFoundError(
            f"the closure of {found.program} {short(found.version)} cannot be read: {error}. Run the program again: "
            "it is sent once by every process"
        ) from error


def _version_or_invocation(store: Store, reference: str) -> queries.VersionDetail | queries.InvocationDetail:
    if re.fullmatch(r"[0-9a-fA-F]{6,32}", reference):
        try:
            return queries.find_invocation(store, reference)
        except NotFoundError as no_invocation:
            try:
                return queries.find_version(store, reference)
            except NotFoundError:
                raise no_invocation from None
    return queries.find_version(store, reference)


def _moment(text: str) -> datetime.datetime:
    """An age (``30m``) or a time (``2026-11-21T09:00``, local unless it says otherwise) as an aware datetime."""
    age = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    try:
        if age:
            return datetime.datetime.now(datetime.UTC) - datetime.timedelta(**{_UNITS[age[2]]: int(age[1])})
        return datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f"--since {text!r} is no age such as 30m, 12h or 7d and no time such as 2026-11-21T09:00"
        ) from None
