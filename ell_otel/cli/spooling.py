"""``ell-otel spool``: look at what programs have written and nobody has taken over yet, hand it on, mend it."""

from __future__ import annotations

import argparse
from dataclasses import astuple
from typing import Final

from ell_otel import cli, config
from ell_otel.cli.opening import opened, settings_of
from ell_otel.cli.output import Output, table
from ell_otel.errors import StoreLockedError

_COLUMNS: Final = ("segment", "bytes", "waiting", "frames", "damaged", "being written")


def spool(arguments: argparse.Namespace, output: Output) -> int:
    """Do what the first argument says."""
    return {"ls": _ls, "flush": _flush, "repair": _repair}[arguments.action](arguments, output)


def _ls(arguments: argparse.Namespace, output: Output) -> int:
    from ell_otel.ingest.repair import look
    from ell_otel.telemetry.refused import REFUSED_NAME

    directory = config.find_directory(settings_of(arguments))
    segments, refused = look(directory), look(directory, REFUSED_NAME)
    shown = [*segments, *refused]
    lines = [(*astuple(each)[:-1], "yes" if each.writing else "no") for each in shown]
    output.result(shown, lambda console: console.print(table(_COLUMNS, lines)) if lines else None)
    waiting, frames = sum(each.waiting for each in segments), sum(each.frames for each in segments)
    output.narrate(
        f"{directory / 'spool'}: {len(segments)} segments, {frames} frames, {waiting} bytes to be taken over"
    )
    if refused:
        output.narrate(
            f"{directory / REFUSED_NAME}: {sum(each.frames for each in refused)} requests that a collector refused; "
            f"moved into {directory / 'spool'} they are taken over like any other"
        )
    return cli.FOUND if refused or any(each.damaged for each in segments) else cli.OK


def _flush(arguments: argparse.Namespace, output: Output) -> int:
    from ell_otel.ingest.repair import look

    with opened(arguments, output) as store:  # which drains the spool, or waits for the server that does
        directory = config.find_directory(settings_of(arguments))
        left = [each for each in look(directory) if each.waiting]
        output.result(left, lambda _: None)
        if left and not store.local:
            raise StoreLockedError(f"{store.name} has not yet taken over {len(left)} segments: look at what it says")
        output.narrate(f"{store.name} has taken over the spool; {len(left)} segments have been written to since")
    return cli.OK


def _repair(arguments: argparse.Namespace, output: Output) -> int:
    from ell_otel.ingest.repair import repair

    repaired = repair(config.find_directory(settings_of(arguments)))
    lines = [(each.segment, each.frames, "\n".join(map(str, each.aside))) for each in repaired]
    output.result(
        repaired,
        lambda console: console.print(table(("segment", "frames kept", "put aside"), lines)) if lines else None,
    )
    output.narrate(f"{len(repaired)} segments repaired" if repaired else "no segment is damaged")
    return cli.OK
