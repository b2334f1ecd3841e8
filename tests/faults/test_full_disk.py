"""A full disk under the spool: the program goes on, what was accepted stays, what was lost is counted in the data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ell_otel.testing import recorded

SCRIPT = """\
import os, sys
import ell_otel as ell

@ell.program
def work(text):
    return len(text)

ballast = os.path.join(os.path.dirname(os.environ["ELL_OTEL_DIR"]), "ballast")
results = [work("x" * 2000) for _ in range(5)]
fill = os.open(ballast, os.O_CREAT | os.O_WRONLY)
try:
    while True: os.write(fill, bytes(4096))
except OSError:
    os.close(fill)
results += [work("y" * 2000) for _ in range(20)]
os.remove(ballast)
results += [work("z" * 2000) for _ in range(5)]
print(sum(results))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 kB."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small file system takes root on Linux")
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_costs_counted_telemetry_and_nothing_else(small_disk: Path, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(SCRIPT)
    environment = os.environ | {"ELL_OTEL_DIR": str(small_disk / ".ell")}
    done = subprocess.run([sys.executable, str(app)], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{30 * 2000}\n"
    assert done.stderr.count("cannot write to the spool") == 1  # told once, not twenty times
    recording = recorded(small_disk / ".ell")
    lost = sum(event.attributes["ell.loss.count"] for event in recording.events if event.name == "ell.loss")
    assert lost > 0
    assert len(recording.spans) + lost == 30
