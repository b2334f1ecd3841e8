"""Celery as it is, its pool forked before the first task: an application that has never heard of us, without us and with us.

The broker and the results are folders, so that nothing has to be started but the worker.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from collectors import http_collector

from ell_otel.testing import FakeModel, RecordedSpan, recorded

APP = """\
import os, time, uuid
import celery, openai
from celery.backends.filesystem import FilesystemBackend
from kombu.transport import filesystem
from kombu.utils.encoding import ensure_bytes
from kombu.utils.json import dumps

def whole(path, content):
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)

def put(self, queue, payload, **_):
    name = f"{time.monotonic_ns()}_{uuid.uuid4()}.{queue}.msg"
    whole(os.path.join(self.data_folder_out, name), dumps(payload).encode())

# As it is (kombu 5.7), who looks while a task or its result is being written finds an empty file, and the task is lost.
filesystem.Channel._put = put
FilesystemBackend.set = lambda self, key, value: whole(os.fsdecode(self._filename(key)), ensure_bytes(value))

app = celery.Celery("work", broker="filesystem://", backend="file://results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "polling_interval": 0.05,
    },
    broker_connection_retry_on_startup=True,
)
shared = openai.OpenAI(max_retries=0)  # made before the pool is forked
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}

@app.task
def explain(topic):
    with openai.OpenAI(max_retries=0) as client:
        return topic + client.chat.completions.create(**ASKED).choices[0].message.content

@app.task
def stream(topic):
    chunks = shared.chat.completions.create(**ASKED, stream=True)
    return topic + "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

@app.task(bind=True, max_retries=1)
def fail(self, topic):
    with openai.OpenAI(max_retries=0, base_url="http://127.0.0.1:9/v1") as nobody:
        try:
            nobody.embeddings.create(model="e", input=topic)
        except openai.APIConnectionError as error:
            raise self.retry(exc=error, countdown=1)  # at once, its end could be noted before this, and be lost
"""
ASKING = """\
import json, tasks

asked = [task.delay(str(number)) for number in range(4) for task in (tasks.explain, tasks.stream)]
failing = tasks.fail.delay("in vain")
answers = [each.get(timeout=30, interval=0.05) for each in asked]
failing.get(timeout=30, interval=0.05, propagate=False)
print(json.dumps({"answers": answers, "failed": failing.state}))
"""
# A process of the pool is replaced after five tasks: it ends where the application goes on.
WORKER = (
    "-m",
    "celery",
    "-A",
    "tasks",
    "worker",
    "-P",
    "prefork",
    "-c",
    "2",
    "--max-tasks-per-child",
    "5",
    "-l",
    "warning",
)


def work(cwd: Path, *command: str, **more: str) -> tuple[str, int]:
    """What comes of the tasks when a worker is started by ``command``, and the status it ends with at a SIGTERM."""
    (cwd / "tasks.py").write_text(APP)
    for folder in ("queue", "control", "results"):
        (cwd / folder).mkdir()
    with FakeModel() as model:
        env = os.environ | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed", **more}
        with subprocess.Popen([sys.executable, *command], cwd=cwd, env=env, stderr=subprocess.PIPE) as worker:
            try:
                asking = [sys.executable, "-c", ASKING]
                printed = subprocess.run(asking, cwd=cwd, env=env, capture_output=True, text=True, check=False).stdout
            finally:
                worker.send_signal(signal.SIGTERM)
                try:
                    _, told = worker.communicate(timeout=30)
                finally:
                    worker.kill()
    assert not re.search(rb"(?<!/)ell-otel", told), told.decode()  # behind a slash it may be where we are checked out
    return printed, worker.returncode


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """The folder of a worker under ``ell-otel run``, what came of it, and what comes of one without us."""
    bare, ours = tmp_path_factory.mktemp("bare"), tmp_path_factory.mktemp("ours")
    (ours / ".ell").mkdir()
    env = {"ELL_OTEL_DIR": str(ours / ".ell")}
    return ours, work(ours, "-m", "ell_otel", "run", *WORKER, **env), work(bare, *WORKER)


def test_the_tasks_and_the_workers_end_are_as_without_us(worked: tuple[Path, Any, Any]) -> None:
    _, ours, bare = worked
    assert ours == bare
    assert '"failed": "FAILURE"' in ours[0]
    assert ours[1] == 0


def named(spans: list[RecordedSpan]) -> Counter[str]:
    """How many spans about models each program has, by its name and its one version."""
    asked = [span.attributes for span in spans if "gen_ai.request.model" in span.attributes]
    versions = {(each["ell.program.name"], each["ell.program.version"]) for each in asked}
    assert len(versions) == len({name for name, _ in versions})
    return Counter(each["ell.program.name"] for each in asked)


EACH = {"tasks.explain": 4, "tasks.stream": 4, "tasks.fail": 2}


def test_every_call_of_the_forked_processes_is_on_disk_and_names_its_program(worked: tuple[Path, Any, Any]) -> None:
    recording = recorded(worked[0] / ".ell")
    assert named(recording.spans) == EACH
    assert {event.attributes["ell.program.name"] for event in recording.events} == set(EACH)


def slowly(path: str, body: bytes) -> None:
    time.sleep(0.3)


def test_a_collector_is_sent_every_call_before_its_process_has_ended(tmp_path: Path) -> None:
    with http_collector(slowly) as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "ELL_OTEL_EXIT_MS": "20000"}
        assert work(tmp_path, "-m", "ell_otel", "run", *WORKER, **env)[1] == 0
        attributes = [each for span in collector.spans for each in span.attributes]
    assert Counter(each.value.string_value for each in attributes if each.key == "ell.program.name") == EACH
