"""The same script with us and without us: the same output, the same exit status; and with us every run is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from collectors import free_port, grpc_collector, http_collector, mute_listener
from test_export import until
from victims import kill

from ell_otel.testing import recorded

HEAD = """\
import asyncio, atexit, multiprocessing, os, signal, sys, threading, time
late = []
atexit.register(lambda: [each() for each in late])
if os.environ.get("BARE"):
    def program(function): return function
else:
    from ell_otel import program

@program
def work(x):
    return "result %s" % (x,)
"""


def script(tmp_path: Path, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "app.py").write_text(HEAD + body)
    # What earlier tests of this process have told the libraries is none of this script's.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ELL_OTEL_"))}
    env = clean | {"ELL_OTEL_DIR": str(tmp_path / ".ell")} | environment
    return subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )


def same_with_and_without(tmp_path: Path, body: str) -> list[str]:
    """Run ``body`` both ways; the arguments of the recorded runs."""
    bare, ours = script(tmp_path, body, BARE="1"), script(tmp_path, body)
    assert (ours.stdout, ours.returncode) == (bare.stdout, bare.returncode), ours.stderr
    assert ours.stderr.splitlines()[-1:] == bare.stderr.splitlines()[-1:]
    return sorted(span.attributes["ell.invocation.arguments"] for span in recorded(tmp_path / ".ell").spans)


ENDINGS = {
    "an exit from a thread": "work(1)\nthreading.Thread(target=lambda: (work(2), os._exit(3))).start()\ntime.sleep(9)",
    "SIGTERM as it is": "work(1)\nwork(2)\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)",
    "SIGTERM with a handler": (
        "signal.signal(signal.SIGTERM, lambda *_: (work(2), sys.exit(7)))\nwork(1)\nos.kill(os.getpid(), 15)\ntime.sleep(9)"
    ),
    "an unhandled exception": "work(1)\nwork(2)\nraise LookupError('nobody catches this')",
    "exit handlers before and after ours": """
atexit.register(lambda: print(work(1)))
late.append(lambda: print(work(2)))
""",
    "an exception in an event loop": """
@program
async def later(x): await asyncio.sleep(0); raise OSError(x)
async def main():
    work(1)
    async with asyncio.timeout(5): await later(2)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_ends_as_without_us_and_leaves_its_runs_on_disk(tmp_path: Path, ending: str) -> None:
    assert same_with_and_without(tmp_path, ENDINGS[ending]) == ['{"x":1}', '{"x":2}']


def test_a_finalizer_that_runs_when_modules_are_gone_is_as_quiet_as_without_us(tmp_path: Path) -> None:
    body = """
class Last:
    def __del__(self): print(work(2))
last = Last()
work(1)
"""
    assert '{"x":1}' in same_with_and_without(tmp_path, body)  # that late, nothing more can be promised


def test_daemon_threads_that_never_stop_do_not_disturb_the_end(tmp_path: Path) -> None:
    body = """
def on():
    while True: work("on")
for _ in range(3): threading.Thread(target=on, daemon=True).start()
time.sleep(0.5)
print("done")
"""
    assert len(same_with_and_without(tmp_path, body)) > 3


def test_forked_spawned_and_served_children_return_the_same_and_record_each_run_once(tmp_path: Path) -> None:
    body = """
if __name__ == "__main__":
    print(work("parent"))
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2, maxtasksperchild=2) as pool:
            print(pool.map(work, [method + str(number) for number in range(4)], chunksize=1))
    child = os.fork()
    if child == 0:
        work("child")
        grandchild = os.fork()
        if grandchild == 0: work("grandchild"); os._exit(0)
        os._exit(os.waitpid(grandchild, 0)[1])
    print(os.waitpid(child, 0)[1])
"""
    runs = same_with_and_without(tmp_path, body)
    pooled = [f"{method}{number}" for method in ("fork", "spawn", "forkserver") for number in range(4)]
    assert runs == sorted(f'{{"x":"{each}"}}' for each in [*pooled, "parent", "child", "grandchild"])


def test_a_forked_child_starts_no_thread_of_ours_and_knows_its_own_number(tmp_path: Path) -> None:
    body = """
work(1)
started = []
sys.addaudithook(lambda event, arguments: started.append(event) if "thread" in event else None)
child = os.fork()
if child == 0:
    here = list(started)
    if not os.environ.get("BARE"):
        from ell_otel.telemetry import providers
        if providers.pipeline().tracer_provider.resource.attributes["process.pid"] != os.getpid(): os._exit(2)
    os._exit(len(here))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert same_with_and_without(tmp_path, body) == ['{"x":1}']


def test_an_application_whose_queues_are_not_pythons_as_with_gevent_ends_as_quietly(tmp_path: Path) -> None:
    replaced = (
        "import queue\nclass Queue(queue.SimpleQueue):\n    def __new__(kind, most=0): return queue.SimpleQueue()\n"
    )
    (tmp_path / "sitecustomize.py").write_text(f"{replaced}queue.Queue = Queue\n")
    path = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = script(tmp_path, "print(work(1), sys.modules['queue'].Queue)", PYTHONPATH=path)
    assert (done.stdout, done.stderr) == ("result 1 <class 'sitecustomize.Queue'>\n", "")
    assert len(recorded(tmp_path / ".ell").spans) == 1


FORKING = """
if __name__ == "__main__":
    import ell_otel
    work("before")
    ell_otel.flush()
    work("queued in the parent")
    def child(name):
        work(name)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=("child %d" % number,)) for number in range(3)]
    for each in children: each.start()
    for each in children: each.join()
    print([each.exitcode for each in children])
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_forked_children_send_to_the_collector_and_nothing_is_sent_twice(tmp_path: Path, protocol: str) -> None:
    with grpc_collector() if protocol == "grpc" else http_collector() as collector:
        done = script(
            tmp_path,
            FORKING,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_ONLY",
            ELL_OTEL_EXIT_MS="20000",
        )
        assert done.stdout == "[0, 0, 0]\n", done.stderr
        attributes = [{each.key: each.value.string_value for each in span.attributes} for span in collector.spans]
    names = ["before", "queued in the parent", "child 0", "child 1", "child 2"]
    assert sorted(each["ell.invocation.arguments"] for each in attributes) == sorted(f'{{"x":"{n}"}}' for n in names)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_server_that_never_answers_holds_up_the_end_no_longer_than_the_deadline(
    tmp_path: Path, protocol: str
) -> None:
    body = """

work(1)
start = time.monotonic()
from ell_otel.telemetry import providers
providers.reset()
print(time.monotonic() - start)
"""
    with mute_listener() as url:
        done = script(
            tmp_path,
            body,
            OTEL_EXPORTER_OTLP_ENDPOINT=url,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            ELL_OTEL_EXIT_MS="700",
        )
    assert float(done.stdout) < 5  # without the deadline, 10: what is between belongs to a loaded machine
    assert "did not take the last 1 spans in time" in done.stderr


def test_gunicorn_with_preload_serves_as_without_us_and_every_workers_runs_are_recorded(tmp_path: Path) -> None:
    body = """
print(work("preload"), flush=True)
def app(environ, start):
    start("200 OK", [])
    return [work(environ["PATH_INFO"]).encode()]
"""
    (tmp_path / "app.py").write_text(HEAD + body)
    # Before that, a worker has the handlers of its parent, and would not hear a SIGTERM for the 30 s of gunicorn's grace.
    (tmp_path / "gunicorn.conf.py").write_text("def post_worker_init(worker): open(f'ready.{worker.pid}', 'w').close()")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "app:app"]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers = [_get(f"http://127.0.0.1:{port}/{number}") for number in range(20)]
        assert until(lambda: len(list(tmp_path.glob("ready.*"))) == 2)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            assert server.wait(20) == 0
        finally:
            kill(server)
    assert answers == [f"result /{number}".encode() for number in range(20)]
    assert len(recorded(tmp_path / ".ell").spans) == 21


def _get(url: str) -> bytes:
    """The answer of a server that may still be starting."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nobody answers at {url}")


def test_memory_stays_flat_over_many_calls(tmp_path: Path) -> None:
    body = """
import resource
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def run(calls):
    for number in range(calls): work("%d %s" % (number, "x" * 2000))
run(500)
early = peak()
run(3000)
print(peak() - early)
"""
    assert float(script(tmp_path, body).stdout) < 2  # MB; what one call is given, kept of each, would be 6
