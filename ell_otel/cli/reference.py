"""Prints the reference pages that are made from the code: ``docs/settings.md`` and ``docs/cli.md``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import fields

from ell_otel import cli
from ell_otel.config import Settings


def settings_page() -> str:
    """A table of every setting, from ``config.Settings``."""
    lines = [
        "# Settings",
        "",
        (
            "An argument in code or on the command line wins over the environment, and that over the default. "
            "Made from `ell_otel/config.py`."
        ),
        "",
        "| setting | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for row in fields(Settings):
        names = ", ".join(f"`{name}`" for name in row.metadata["env"])
        default = "" if row.default in ("", None, ()) else f"`{row.default}`"
        lines.append(f"| `{row.name}` | {names} | {default} | {row.metadata['doc'].replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """The help of every command, from the parser."""
    os.environ["COLUMNS"] = "100"
    sections = ["# Commands\n\nMade from `ell-otel --help` and the help of each command."]
    for name, parser in _parsers():
        sections.append(f"## {name}\n\n```text\n{parser.format_help().rstrip()}\n```")
    return "\n\n".join(sections) + "\n"


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    top = cli.parser()
    yield "ell-otel", top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from ((f"ell-otel {name}", parser) for name, parser in action.choices.items())


if __name__ == "__main__":
    sys.stdout.write({"settings": settings_page, "commands": commands_page}[sys.argv[1]]())
