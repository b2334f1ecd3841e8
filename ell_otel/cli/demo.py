"""``ell-otel demo``: the main job from end to end, on a local model, with no key and no network.

A small app in two modules is written to a folder and run as any app would be; then a helper in the other module is
edited, which makes a second version, and a comment, which does not; then the usual commands show what happened.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any, Final

from ell_otel import cli
from ell_otel.cli.output import Output
from ell_otel.config import DIRECTORY_NAME
from ell_otel.errors import ConfigError

FILES: Final = ("app.py", "style.py")
OURS: Final = frozenset({*FILES, DIRECTORY_NAME, "__pycache__"})
RUNS: Final = 40
SHOWN: Final = (["log"], ["log", "draft"], ["diff", "draft@v1", "draft@v2"], ["invocations", "--limit", "6"])

HELPER_EDIT: Final = ('"at length, with an apology and an explanation"', '"in two short sentences"')
COMMENT_EDIT: Final = ("def tone(", "# Reviewed by nobody in particular.\ndef tone(")

LONG_REPLY: Final = (
    "We are very sorry for the trouble this has caused you. We have looked into the matter with great care and found "
    "that it was our mistake: a change last week had an effect that none of our tests could see. It is put right now, "
    "and we have added a test so that it stays right."
)
SHORT_REPLY: Final = "We are sorry for the trouble. It is put right now."


def demo(arguments: argparse.Namespace, output: Output) -> int:
    """Write the app, run it before and after two edits, then show the log, the difference and the invocations."""
    from ell_otel.testing import FakeModel

    started = time.monotonic()
    folder = _fresh_folder(Path(arguments.into).absolute())
    directory = Path(arguments.dir).absolute() if arguments.dir else folder / DIRECTORY_NAME
    with FakeModel(reply, latency_s=0.002) as model:
        output.narrate(
            f"1. A mail-answering app of three language-model programs, in {folder}; a fake model on loopback"
        )
        _run_app(folder, directory, model.base_url, output)
        output.narrate("2. The helper tone() in style.py is edited: two programs rest on it, one does not")
        _edit(folder / "style.py", *HELPER_EDIT)
        _run_app(folder, directory, model.base_url, output)
        output.narrate("3. A comment is added in style.py: no new version of anything")
        _edit(folder / "style.py", *COMMENT_EDIT)
        _run_app(folder, directory, model.base_url, output)
    where = _as_typed(directory)
    for line in SHOWN[:1] if output.as_json else SHOWN:
        output.narrate(f"\n$ ell-otel {' '.join(line)} --dir {where}")
        _show([*line, "--dir", str(directory)], output)
    output.narrate(_next_steps(where, time.monotonic() - started))
    return cli.OK


def reply(request: dict[str, Any]) -> str:
    """What the demo's model says: one word to the classifier, a reply of the length asked for to the other."""
    system, user = (str(message["content"]) for message in request["messages"][:2])
    if system.startswith("You sort"):
        return "praise" if "love" in user else "billing" if "charged" in user or "invoices" in user else "bug"
    return SHORT_REPLY if "short" in user else LONG_REPLY


def _fresh_folder(folder: Path) -> Path:
    strange = sorted({entry.name for entry in folder.iterdir()} - OURS) if folder.is_dir() else []
    if strange or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder} holds {strange[0] if strange else 'a file'}, not a demo: name another with --into")
    shutil.rmtree(folder / DIRECTORY_NAME, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            text = resources.files("ell_otel.cli").joinpath("demo_app", name).read_text(encoding="utf-8")
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}. Name another folder with --into") from error
    return folder


def _run_app(folder: Path, directory: Path, base_url: str, output: Output) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ELL_OTEL_"))}
    environment |= {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "not-needed", "ELL_OTEL_DIR": str(directory)}
    command = [sys.executable, "app.py", str(RUNS)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise ConfigError(f"the demo app failed; is ell-otel[openai] installed?\n{done.stderr.strip()}")
    output.narrate(f"   $ python app.py {RUNS}\n   {done.stdout.strip()}")


def _edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def _show(line: list[str], output: Output) -> None:
    """Run another command with our own output, so that its data is part of the demo's."""
    sys.stdout.flush()
    arguments = cli.parser().parse_args(line)
    cli.run(arguments, output)
    sys.stdout.flush()


def _as_typed(directory: Path) -> str:
    relative = os.path.relpath(directory)
    return relative if len(relative) < len(str(directory)) else str(directory)


def _next_steps(where: str, seconds: float) -> str:
    command = "ell-otel" if shutil.which("ell-otel") else os.path.relpath(sys.argv[0])
    return (
        f"\nDone in {seconds:.0f} s. What to do next:\n"
        f"  {command} show draft --dir {where}             the newest version's closure\n"
        f"  {command} checkout draft@v1 --dir {where}      the first version as a runnable file\n"
        f"  {command} serve --dir {where}                  receive OTLP, answer ClickHouse clients\n"
        "  put @ell.simple, @ell.complex or @ell.program on your own functions, then: ell-otel log"
    )
