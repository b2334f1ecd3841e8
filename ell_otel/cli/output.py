"""How commands speak: data on stdout, narration on stderr; for a person, or with ``--json`` for a program."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FORMAT_VERSION: Final = 1
"""Version of what ``--json`` prints; it changes when a field goes or changes its meaning."""

PIPE_WIDTH: Final = 160
"""Columns where stdout is no terminal: wide enough that no table is squeezed."""

# What a stored text must not do to a terminal: move the cursor, change colours, reverse the reading direction.
_CONTROLS: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
} | {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}


class Output:
    """Where a command's result and narration go. ``finish`` prints the JSON envelope, if that is what was asked for."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._data: list[dict[str, Any]] = []
        self._diagnostics: list[dict[str, str]] = []
        self._finished = False

    def result(self, rows: Iterable[object], render: Callable[[Console], None]) -> None:
        """The command's data: ``rows`` (dataclasses or dicts) for programs, ``render`` draws them for people."""
        if self.as_json:
            self._data += [_plain(row) for row in rows]
        else:
            render(self._console())

    def narrate(self, text: str, level: str = "info") -> None:
        """Say something about the work, on stderr. That whoever listened has gone must not end the work."""
        self._diagnostics.append({"level": level, "message": text})
        if not self.as_json:
            with suppress(OSError):
                print(safe(text), file=sys.stderr, flush=True)

    def fail(self, text: str) -> None:
        """Say why the command failed."""
        self.narrate(text if self.as_json else f"ell-otel: {text}", "error")

    def finish(self, status: str) -> None:
        """With ``--json``: print the envelope, once. ``status`` is ok, found or error."""
        if self.as_json and not self._finished:
            self._finished = True
            envelope = {
                "version": FORMAT_VERSION,
                "status": status,
                "data": self._data,
                "diagnostics": self._diagnostics,
            }
            # ASCII only: whatever the locale, and no control character reaches a terminal.
            print(json.dumps(envelope, default=_scalar), flush=True)

    @contextmanager
    def progress(self, doing: str) -> Iterator[Callable[[int, int], None]]:
        """A bar on stderr for long work; silent with ``--json``. Yields ``report(done, total)``."""
        from rich.console import Console
        from rich.progress import Progress

        quiet = self.as_json or not sys.stderr.isatty()
        with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
            task = bar.add_task(doing, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def _console(self) -> Console:
        from rich.console import Console

        # rich honours NO_COLOR and leaves colours out where stdout is no terminal.
        return Console(
            highlight=False,
            markup=False,
            emoji=False,
            width=None if sys.stdout.isatty() else PIPE_WIDTH,
            soft_wrap=True,
        )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, sentences: bool = False) -> Table:
    """A plain table: names in capitals, numbers to the right.

    With ``sentences`` the last column is text to be read to its end, on as many lines as it takes."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    lines = [[cell(value) for value in row] for row in rows]
    for index, name in enumerate(columns):
        numeric = all(line[index][:1].isdigit() or line[index][:1] in "$?-" for line in lines if line[index])
        drawn.add_column(
            cell(name).upper(), justify="right" if lines and numeric else "left", no_wrap=True, overflow="ellipsis"
        )
    if sentences:
        drawn.columns[-1].no_wrap, drawn.columns[-1].overflow = False, "fold"
    for line in lines:
        drawn.add_row(*(Text(text) for text in line))
    return drawn


def cell(value: object) -> str:
    """One value of a table, on one line."""
    if value is None:
        return "-"
    if isinstance(value, datetime.datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return safe(str(value)).replace("\n", "⏎").replace("\t", " ")


def money(dollars: float | None) -> str:
    """A cost in US dollars; ``?`` where a model's price is not known."""
    if dollars is None:
        return "?"
    if dollars >= 1:
        return f"${dollars:.2f}"
    return f"${dollars:.4f}" if dollars >= 0.01 or dollars == 0 else f"${dollars:.6f}"


def milliseconds(value: float | None) -> str:
    """A duration for a person."""
    if value is None:
        return "-"
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def short(version: str) -> str:
    """A version's hash as people write it: the tag and eight digits, which every command takes."""
    return version[:11]


def safe(text: str) -> str:
    """``text`` with control characters shown rather than obeyed: what is stored was written by strangers."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode("utf-8")


def unpipe(*, broken: bool) -> None:
    """Where stdout or stderr take nothing, or no more: go on, or leave, without a traceback of their own."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
    sys.stderr = sys.stderr or nowhere
    if broken:
        sys.stdout = nowhere


def _plain(row: object) -> dict[str, Any]:
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return dataclasses.asdict(row)
    if isinstance(row, dict):
        return row
    raise TypeError(f"a row is a dataclass or a dict, not {type(row).__name__}")


def _scalar(value: object) -> str:
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else str(value)
