"""Getting at the store from a command: with a server running or without, with everything in it that was accepted."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ell_otel import config
from ell_otel.cli.output import Output
from ell_otel.config import Settings
from ell_otel.errors import NotFoundError
from ell_otel.ingest.drain import drain
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.client import Store, open_store
from ell_otel.store.migrate import migrate
from ell_otel.telemetry.segments import SPOOL_NAME, pending

SERVER_LAG_S: Final = 3.0
"""How long to wait for a running server to take over what is in the spool; it looks twice a second."""


def settings_of(arguments: argparse.Namespace, **more: object) -> Settings:
    """The settings in force for a command line."""
    return config.resolve(dir=arguments.dir, store=arguments.store, **more)


@contextmanager
def opened(arguments: argparse.Namespace, output: Output) -> Iterator[Store]:
    """The store, up to date: its tables made and the spool drained, by us or by the server that holds it."""
    settings = settings_of(arguments)
    directory = config.find_directory(settings)
    if not settings.store and not directory.exists():
        raise NotFoundError(
            f"there is no {directory}: nothing was recorded there yet. Run a program decorated with @ell.program, name "
            "another folder with --dir, or see `ell-otel demo`"
        )
    with open_store(settings, purpose=f"ell-otel {arguments.command}") as store:
        if store.local:
            migrate(store, settings)
            if not settings.store:  # the spool belongs to the store beside it, not to another that was named
                take_over_spool(directory, store, output)
        elif not settings.store:
            _await_server(directory)
        yield store


def take_over_spool(directory: Path, store: Store, output: Output) -> None:
    """Drain the spool into the store, and say what was damaged in it."""
    with output.progress("draining the spool") as report:
        drained = drain(directory, StoreSink(store), progress=report)
    if drained.damaged:
        output.narrate(
            f"the spool had {drained.damaged} damaged places; all else was taken over. See {directory / 'quarantine'} "
            "for frames that could not be read",
            "warning",
        )


def _await_server(directory: Path) -> None:
    deadline = time.monotonic() + SERVER_LAG_S
    while time.monotonic() < deadline and any(segment.backlog() for segment in pending(directory / SPOOL_NAME)):
        time.sleep(0.05)
