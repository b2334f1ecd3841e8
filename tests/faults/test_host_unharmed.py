"""The host program behaves as without us: in signal handlers, over fork, with odd settings, with its own telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ell_otel.testing import recorded

HEAD = """\
import asyncio, gc, os, signal, sys, threading, time
import ell_otel as ell

@ell.program
def work(x):
    return "result %s" % (x,)
"""


def run(tmp_path: Path, body: str, *, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in its own process, as a host would be."""
    (tmp_path / "app.py").write_text(HEAD + body)
    env = os.environ | {"ELL_OTEL_DIR": str(tmp_path / ".ell")} | environment
    command = [sys.executable, "app.py"]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=timeout)


def test_a_signal_handler_that_runs_a_program_in_the_midst_of_ours_does_not_deadlock(tmp_path: Path) -> None:
    body = """
work(0)
def handler(*_): work("in handler")
signal.signal(signal.SIGALRM, handler)
for i in range(1500):
    signal.setitimer(signal.ITIMER_REAL, 0.0001 + (i % 12) * 0.0001)
    work(i)
signal.setitimer(signal.ITIMER_REAL, 0)
print("done")
"""
    assert run(tmp_path, body).stdout == "done\n"


def test_an_exception_of_the_hosts_signal_handler_goes_through(tmp_path: Path) -> None:
    body = """
class Soft(Exception): pass
def handler(*_): raise Soft
signal.signal(signal.SIGALRM, handler)
work(0)
gc.disable()
caught = 0
for _ in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.004)
        until = time.monotonic() + 0.5
        while time.monotonic() < until: work("x")
    except Soft:
        caught += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
print(caught)
"""
    # The worst case: all the time is ours. Where a handler's exception meets a finalizer or what is called at a garbage
    # collection, Python itself drops it.
    assert int(run(tmp_path, body).stdout) >= 58


def test_a_fork_during_another_threads_first_run_does_not_hang_the_child(tmp_path: Path) -> None:
    body = """
threading.Thread(target=work, args=(1,)).start()
time.sleep(0.03)
child = os.fork()
if child == 0:
    work(2)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(tmp_path, body, timeout=20).stdout == "7\n"


def test_a_generator_keeps_no_item_alive(tmp_path: Path) -> None:
    body = """
import resource
@ell.program
def chunks():
    for _ in range(200): yield bytearray(2_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in chunks(): pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    assert int(run(tmp_path, body).stdout) < 120


@pytest.mark.parametrize(
    "garbage",
    [
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "abc"},
        {"OTEL_ATTRIBUTE_COUNT_LIMIT": "-1"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "bad"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_MAX_QUEUE_SIZE": "10"},
    ],
)
def test_settings_that_the_sdk_cannot_read_cost_the_telemetry_only(tmp_path: Path, garbage: dict[str, str]) -> None:
    body = """
@ell.tool
def add(a: int, b: int) -> int: return a + b
print(work(1), work(2), add(1, 2))
"""
    done = run(tmp_path, body, **garbage)
    assert done.stdout == "result 1 result 2 3\n"
    assert "Traceback" not in done.stderr
    assert done.stderr.count("nothing is recorded") <= 3


def test_a_tools_odd_result_and_its_error_reach_the_host_as_they_are(tmp_path: Path) -> None:
    body = """
class Bad(Exception):
    def __str__(self): raise RuntimeError
@ell.tool
def big() -> int: return 10 ** 5000
@ell.tool
def fail() -> int: raise Bad
@ell.tool
async def later() -> int: return 1
import inspect
try: fail()
except Bad as error: print(big() == 10 ** 5000, type(error).__name__, inspect.iscoroutinefunction(later))
"""
    assert run(tmp_path, body).stdout == "True Bad True\n"


def test_a_descriptor_that_the_host_closed_and_used_again_is_not_written_to(tmp_path: Path) -> None:
    body = """
work(1)
os.closerange(3, 64)
mine = open("host.db", "wb")
work(2)
mine.close()
print(os.path.getsize("host.db"))
"""
    assert run(tmp_path, body).stdout == "0\n"
    assert len(recorded(tmp_path / ".ell").spans) == 2


def test_a_folder_that_is_deleted_while_running_is_made_again_with_the_closure(tmp_path: Path) -> None:
    body = """
import shutil
work(1)
shutil.rmtree(os.environ["ELL_OTEL_DIR"])
for i in range(3): work(i)
"""
    run(tmp_path, body)
    recording = recorded(tmp_path / ".ell")
    assert len(recording.spans) == 3
    assert [event.name for event in recording.events] == ["ell.program"]


def test_an_unfinished_async_generator_ends_as_quietly_as_a_bare_one(tmp_path: Path) -> None:
    body = """
kept = []
@ell.program
async def stream():
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0.05)
async def main():
    kept.append(stream())
    print(await anext(kept[0]))
asyncio.run(main())
"""
    done = run(tmp_path, body)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_contents_and_keys_stay_out_of_an_applications_own_exporter(tmp_path: Path) -> None:
    key = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0" * 2
    body = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, ConsoleSpanExporter
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
@ell.program
def fail(x): raise ValueError("bad key {key}")
work("a private text")
try: fail(1)
except ValueError: pass
"""
    done = run(tmp_path, body)
    assert done.stdout.count("invoke_workflow") >= 2
    assert "a private text" not in done.stdout
    assert key not in done.stdout
    arguments = [span.attributes.get("ell.invocation.arguments") for span in recorded(tmp_path / ".ell").spans]
    assert arguments == ['{"x":"a private text"}', '{"x":1}']


def test_a_folder_made_by_hand_becomes_private(tmp_path: Path) -> None:
    (tmp_path / ".ell").mkdir(mode=0o755)
    run(tmp_path, "work(1)")
    assert (tmp_path / ".ell").stat().st_mode & 0o777 == 0o700


def test_looking_at_git_runs_nothing_that_the_repository_names(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    git("config", "core.fsmonitor", f"touch {tmp_path / 'pwned'}; false")
    run(tmp_path, "work(1)")
    assert not (tmp_path / "pwned").exists()


def test_what_a_cached_function_offers_its_program_offers() -> None:
    import functools

    import ell_otel as ell

    @ell.program
    @functools.lru_cache
    def double(x: int) -> int:
        return 2 * x

    double(1)
    double(1)
    cached: Any = double
    assert cached.cache_info().hits == 1
