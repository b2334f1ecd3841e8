"""Local delivery as a script's author meets it: nothing to start, nothing to wait for, nothing lost."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collectors import mute_listener

from ell_otel.testing import recorded

APP = """\
import os, sys
import ell_otel as ell

@ell.program
def greet(name):
    return f"Hello {name}"

greet("Ada")
"""


def run(tmp_path: Path, text: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a script in its own folder; how it ended, and its seconds."""
    (tmp_path / "app.py").write_text(text)
    (tmp_path / "pyproject.toml").touch()
    env = {name: value for name, value in os.environ.items() if name != "ELL_OTEL_DIR"} | environment
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    return done, time.monotonic() - started


def test_a_script_that_ends_in_os_exit_right_after_its_call_has_lost_nothing(tmp_path: Path) -> None:
    done, _ = run(tmp_path, APP + "os._exit(0)\n")
    assert (done.returncode, done.stderr) == (0, "")
    recording = recorded(tmp_path / ".ell")
    assert [event.name for event in recording.events] == ["ell.program"]
    assert [span.attributes["ell.program.name"] for span in recording.spans] == ["app.greet"]


@pytest.mark.parametrize(
    "ending", ["sys.exit(0)", "raise SystemError('unhandled')", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)"]
)
def test_however_a_script_ends_its_spans_are_there(tmp_path: Path, ending: str) -> None:
    run(tmp_path, APP + ending + "\n")
    assert len(recorded(tmp_path / ".ell").spans) == 1


def test_the_folder_is_made_in_the_projects_root_and_is_private(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    deep = tmp_path / "src" / "deep"
    deep.mkdir(parents=True)
    (deep / "app.py").write_text(APP)
    env = {name: value for name, value in os.environ.items() if name != "ELL_OTEL_DIR"}
    subprocess.run([sys.executable, "app.py"], cwd=deep, env=env, check=True)
    folder = tmp_path / ".ell"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_with_an_endpoint_where_nobody_listens_exit_takes_no_longer_than_the_deadline(
    tmp_path: Path, protocol: str
) -> None:
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    longer = []
    for _ in range(3):
        bare, without = run(tmp_path, APP, ELL_OTEL_DISABLED="1")
        done, took = run(tmp_path, APP, **nobody, ELL_OTEL_EXIT_MS="500")
        assert (bare.returncode, done.returncode) == (0, 0)
        longer.append(took - without)
    # Importing and starting the exporters takes about a second of it on a slow machine.
    assert statistics.median(longer) < 3.5, longer
    assert not (tmp_path / ".ell").exists()


CHILD = """\
import multiprocessing, time
from multiprocessing.util import Finalize
import ell_otel as ell

@ell.program
def greet(name):
    return f"Hello {name}"

def child():
    greet("Ada")
    Finalize(None, lambda: print(time.monotonic(), flush=True), exitpriority=1)
    Finalize(None, lambda: print(time.monotonic(), flush=True), exitpriority=-1)

if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
"""


def test_a_child_of_multiprocessing_waits_for_one_deadline_and_not_for_one_with_each_signal(tmp_path: Path) -> None:
    with mute_listener() as url:
        done, _ = run(tmp_path, CHILD, OTEL_EXPORTER_OTLP_ENDPOINT=url, ELL_OTEL_EXIT_MS="2000")
    ending, ended = map(float, done.stdout.split())
    assert 0.5 < (ended - ending) / 2.0 < 1.5


def test_settings_that_cannot_be_used_are_told_and_the_script_runs(tmp_path: Path) -> None:
    done, _ = run(tmp_path, APP + "print('ran')\n", ELL_OTEL_DURABILITY="maybe")
    assert done.stdout == "ran\n"
    assert "ELL_OTEL_DURABILITY='maybe' cannot be used: it takes group or strict" in done.stderr


def test_a_forked_child_and_its_parent_both_record(tmp_path: Path) -> None:
    fork = (
        "child = os.fork()\ngreet('child' if child == 0 else 'parent')\nif child: os.waitpid(child, 0)\nos._exit(0)\n"
    )
    run(tmp_path, APP + fork)
    arguments = sorted(span.attributes["ell.invocation.arguments"] for span in recorded(tmp_path / ".ell").spans)
    assert arguments == ['{"name":"Ada"}', '{"name":"child"}', '{"name":"parent"}']


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = (
        "grpc",
        "chdb",
        "clickhouse_connect",
        "openai",
        "pydantic",
        "starlette",
        "opentelemetry",
        "google.protobuf",
    )
    script = f"import ell_otel, sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_decorating_imports_neither_a_store_nor_grpc_nor_openai() -> None:
    heavy = ("grpc", "chdb", "clickhouse_connect", "openai", "pydantic", "starlette")
    script = (
        f"import ell_otel as ell, sys\n@ell.program\ndef f(): pass\nprint([n for n in {heavy!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_runs_after_the_script_has_ended_is_the_same_program_of_the_same_version(tmp_path: Path) -> None:
    ending = """
import atexit, threading
def later():
    threading.main_thread().join()
    greet("Grace")
threading.Thread(target=later).start()
atexit.register(greet, "Edsger")
"""
    done, _ = run(tmp_path, APP.replace('\ngreet("Ada")', "") + ending)
    assert done.stderr == ""
    early, _ = run(tmp_path, APP.replace('\ngreet("Ada")', "") + ending + 'greet("Ada")\n')
    assert early.stderr == ""
    spans = recorded(tmp_path / ".ell").spans
    assert len(spans) == 5
    assert len({(span.attributes["ell.program.name"], span.attributes["ell.program.version"]) for span in spans}) == 1
    assert spans[0].attributes["ell.program.name"] == "app.greet"
