"""No secret in anything that is written: one of each kind goes in wherever it can, and is looked for in every byte."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from canaries import CANARIES

import ell_otel as ell
from ell_otel import cli, config
from ell_otel.ingest.drain import drain
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate
from ell_otel.telemetry import providers
from ell_otel.testing import FakeModel

APP = '''\
import ell_otel as ell

NOTES = {notes!r}
# {comment}


@ell.program
def boom(text):
    """{comment}"""
    raise ValueError(text)


@ell.simple(model="gpt-4o")
def ask(secrets, note="{note}"):
    """You know {comment}."""
    return f"{{NOTES}} {{secrets}} {{note}}"


@ell.program
def tool(arguments):
    return {{"given": arguments, "text": str(arguments)}}
'''
MARKERS = {kind: secret[-10:] for kind, secret in CANARIES.items()}


def run_everything(app: Any) -> None:
    secrets = list(CANARIES.values())
    app.ask(secrets)
    app.ask({kind: f"use {secret}, please" for kind, secret in CANARIES.items()})
    app.tool({"deep": [{"list": secrets}], "text": "\n".join(secrets)})
    for secret in secrets:
        with pytest.raises(ValueError, match="use"):
            app.boom(f"use {secret} now")


def found_in(text: str) -> list[str]:
    return [kind for kind, marker in MARKERS.items() if marker in text]


def test_no_canary_is_in_the_spool_the_store_the_log_or_what_the_commands_print(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG, logger="ell_otel")
    comment = " ".join(CANARIES.values())
    (tmp_path / "canary_app.py").write_text(APP.format(notes=CANARIES, comment=comment, note=CANARIES["openai"]))
    monkeypatch.syspath_prepend(str(tmp_path))
    with FakeModel(lambda request: comment) as model:
        ell.init(dir=str(folder), client=model.client())
        try:
            run_everything(importlib.import_module("canary_app"))
        finally:
            del sys.modules["canary_app"]
            providers.reset()
    spooled = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"[REDACTED]" in spooled
    assert found_in(spooled.decode("latin-1")) == []
    settings = config.resolve(dir=str(folder))
    with open_store(settings, purpose="the canaries") as store:
        migrate(store)
        drain(folder, StoreSink(store))
        names = [
            row["name"] for row in store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
        ]
        answers = {name: str(store.query(f"SELECT * FROM `{name}`")) for name in names}
    assert sum("[REDACTED]" in answer for answer in answers.values()) >= 3
    assert {name: found_in(answer) for name, answer in answers.items() if found_in(answer)} == {}
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert found_in(written.decode("latin-1")) == []
    out = tmp_path / "out.py"
    for line in (["log"], ["show", "canary_app.ask"], ["invocations"], ["checkout", "canary_app.ask", "-o", str(out)]):
        assert cli.main([*line, "--dir", str(folder)]) == 0
    printed = capsys.readouterr()
    assert found_in(printed.out + printed.err + caplog.text) == []
    assert found_in(out.read_text()) == []
