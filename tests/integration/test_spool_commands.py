"""``ell-otel spool``: what waits is listed, handed on, and mended, as data and with the documented exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ell_otel as ell
from ell_otel import cli
from ell_otel.telemetry import providers
from ell_otel.telemetry.segments import pending


@ell.program
def work(text: str) -> int:
    return len(text)


def spool(capsys: pytest.CaptureFixture[str], action: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = cli.main(("spool", action, "--json"))
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["data"]
    return code, rows


def test_spool_ls_tells_what_waits_and_flush_hands_it_on(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    work("one")
    code, rows = spool(capsys, "ls")
    assert (code, len(rows)) == (cli.OK, 1)
    assert (rows[0]["frames"], rows[0]["damaged"], rows[0]["writing"]) == (2, 0, True)  # the closure and the span
    providers.reset()
    assert spool(capsys, "flush") == (cli.OK, [])
    assert spool(capsys, "ls") == (cli.OK, [])
    capsys.readouterr()
    assert cli.main(("sql", "SELECT count() AS n FROM otel_traces", "--json")) == cli.OK
    assert json.loads(capsys.readouterr().out)["data"] == [{"n": 1}]


def test_spool_ls_finds_damage_that_repair_puts_aside(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    work("one")
    providers.reset()
    (segment,) = pending(folder / "spool")
    with segment.path.open("ab") as file:
        file.write(b"torn")
    assert spool(capsys, "ls")[0] == cli.FOUND
    code, rows = spool(capsys, "repair")
    assert (code, rows[0]["frames"]) == (cli.OK, 2)
    assert Path(rows[0]["aside"][0]).read_bytes() == b"torn"
    assert spool(capsys, "ls")[0] == cli.OK
