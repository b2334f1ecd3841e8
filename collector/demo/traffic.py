"""The demo app over and over, before and after its edit, on a fake model: something to look at in Grafana.

Telemetry goes where the environment says (OTEL_EXPORTER_OTLP_ENDPOINT). `python traffic.py 3` stops after three rounds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import resources
from itertools import count
from pathlib import Path

from ell_otel.cli import demo
from ell_otel.testing import FakeModel

MAILS = 20
PAUSE_S = 15.0
LATENCY_S = 0.05


def main(rounds: int) -> None:
    """The app as it is in the first round of five, and edited in the others."""
    latency_s = 0.0 if rounds else LATENCY_S  # who asks for a few rounds waits for them
    with tempfile.TemporaryDirectory() as name, FakeModel(demo.reply, latency_s=latency_s) as model:
        folder = Path(name)
        for turn in range(rounds) if rounds else count():
            _write(folder, edited=turn % 5 > 0)
            environment = os.environ | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed"}
            subprocess.run([sys.executable, "app.py", str(MAILS)], cwd=folder, env=environment, check=True)
            if turn + 1 != rounds:
                time.sleep(PAUSE_S if turn > 1 else 0)


def _write(folder: Path, *, edited: bool) -> None:
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    for name in demo.FILES:
        text = resources.files("ell_otel.cli").joinpath("demo_app", name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(*demo.HELPER_EDIT) if edited else text, encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
