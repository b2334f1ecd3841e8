"""Clocks that are wrong and clocks that jump: nothing is lost, no duration is negative, and delivery goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from machine import Clock
from oracle import Ledger, audit, clean
from victims import Senders, Server

from ell_otel.config import resolve
from ell_otel.ingest.drain import drain
from ell_otel.ingest.sink import StoreSink
from ell_otel.store.client import open_store
from ell_otel.store.migrate import migrate

DAY_S = 86_400
APP = """\
import os, time
import ell_otel as ell

@ell.program
def work(jump):
    with open(os.environ["FAKETIME_TIMESTAMP_FILE"], "w") as file: file.write(jump)
    time.sleep(0.05)
    return jump

for jump in ("+1d", "-1d", "+0", "-1h", "+1h"):
    work(jump)
    time.sleep(0.3)  # the group's fsync goes by a clock that does not jump
"""


def stored(directory: Path) -> list[tuple[int, int]]:
    """Start (seconds since the epoch) and duration of every invocation, by what was told to it."""
    with open_store(resolve({}, dir=str(directory)), purpose="test") as store:
        migrate(store)
        drain(directory, StoreSink(store))
        sql = "SELECT toUnixTimestamp(Timestamp) AS t, Duration AS d FROM otel_traces ORDER BY t"
        return [(int(str(row["t"])), int(str(row["d"]))) for row in store.query(sql)]


def test_a_clock_that_jumps_while_a_program_runs_loses_no_span_and_makes_no_negative_duration(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(APP)
    environment = os.environ | {"ELL_OTEL_DIR": str(tmp_path / ".ell")} | Clock(tmp_path / "clock", "+0").variables
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=60)
    found = stored(tmp_path / ".ell")
    assert len(found) == 5
    # Unsigned in the store: what ran backwards would have lasted six centuries.
    assert all(duration < 3 * DAY_S * 10**9 for _, duration in found)


@pytest.mark.parametrize("offset", ["+1d", "-1d"])
def test_a_server_whose_clock_is_a_day_off_stores_what_it_acknowledges(tmp_path: Path, offset: str) -> None:
    clock = Clock(tmp_path / "clock", offset)
    server = Server(tmp_path / ".ell", "env", *(f"{name}={value}" for name, value in clock.variables.items()))
    assert server.started
    ledger = Ledger()
    senders = Senders(server, ledger, 0, threads=2)
    assert ledger.reaches(20)
    clock.set("+0")  # and then it is set right
    assert ledger.reaches(len(ledger.numbers("acked")) + 20)
    senders.end()
    assert server.end() == 0
    verdict = audit(tmp_path / ".ell", ledger)
    assert clean(verdict), verdict
    assert list((tmp_path / ".ell" / "spool").iterdir()) == []


def test_another_time_zone_changes_nothing(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(APP.replace('for jump in ("+1d", "-1d", "+0", "-1h", "+1h")', 'for jump in ("+0",)'))
    for zone in ("Pacific/Kiritimati", "America/Adak"):
        environment = os.environ | {"ELL_OTEL_DIR": str(tmp_path / ".ell"), "TZ": zone}
        environment |= {"FAKETIME_TIMESTAMP_FILE": str(tmp_path / "unused")}
        subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=60)
    (first, _), (second, _) = stored(tmp_path / ".ell")
    assert 0 <= second - first < 60
