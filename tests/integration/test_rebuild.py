"""``ell-otel migrate --rebuild``, as a person types it: on the laptop's store and on one behind HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fronts import USERS, Front

import ell_otel as ell
from ell_otel import cli
from ell_otel.config import resolve
from ell_otel.store.client import open_store
from ell_otel.telemetry import providers

LOST = ("ell_spans", "ell_program_sources")


@ell.program
def work(text: str) -> int:
    return len(text)


def rebuild(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    code = cli.main(("migrate", "--rebuild", "--json", *more))
    said = json.loads(capsys.readouterr().out)
    assert code == cli.OK, said["diagnostics"]
    return {row["table"]: row for row in said["data"]}


def test_a_laptops_tables_are_filled_again(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for text in ("one", "two"):
        work(text)
    providers.reset()
    assert cli.main(("log",)) == cli.OK
    with open_store(resolve(), purpose="test") as store:
        store.command("DROP TABLE ell_spans_mv")
        for table in LOST:
            store.command(f"DROP TABLE {table} SYNC")
    done = rebuild(capsys)
    assert [(table, done[table]["rows"], done[table]["added"]) for table in LOST] == [(LOST[0], 2, 2), (LOST[1], 1, 1)]
    assert {row["added"] for row in rebuild(capsys).values()} == {0}
    work("three")
    providers.reset()
    capsys.readouterr()
    assert cli.main(("log", "--json")) == cli.OK
    assert json.loads(capsys.readouterr().out)["data"][0]["invocations"] == 3


def test_a_servers_tables_are_filled_again(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    work("one")
    providers.reset()
    assert cli.main(("log",)) == cli.OK
    front = Front(folder.parent)
    try:
        for table in LOST:
            front.store.command(f"TRUNCATE TABLE {table}")
        dsn = f"http://owner:{USERS['owner'].password}@127.0.0.1:{front.port}/default"
        done = rebuild(capsys, "--store", dsn)
        assert [done[table]["added"] for table in LOST] == [1, 1]
        assert {row["added"] for row in rebuild(capsys, "--store", dsn).values()} == {0}
    finally:
        front.close()
