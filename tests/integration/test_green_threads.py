"""Applications that bring a scheduler of their own: gevent and eventlet in place of threads, uvloop in place of asyncio's loop."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from collectors import http_collector

from ell_otel.testing import FakeModel, recorded

GREEN = """
import threading, openai
from concurrent.futures import ThreadPoolExecutor
SPAWNING
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}

def ask(client, number):
    sleep(0.01 * (number % 3))
    return client.chat.completions.create(**ASKED, seed=number).id

def stream(client, number):
    said = []
    for chunk in client.chat.completions.create(**ASKED, stream=True, seed=number):
        sleep(0)
        said.append(chunk.choices[0].delta.content or "")
    return "".join(said)

def leave(client):
    with Timeout(0.2, False):
        for chunk in client.chat.completions.create(**ASKED, stream=True):
            sleep(9)
    return "left"

def main():
    with openai.OpenAI() as client:
        print(at_once(lambda each: each[0](client, each[1]), [(job, n) for n in range(6) for job in (ask, stream)]))
        print(leave(client))
        thread = threading.Thread(target=ask, args=(client, 3))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(2) as pool:
            print(list(pool.map(lambda n: ask(client, n), range(2))))
            print(pool.submit(client.chat.completions.create, **ASKED).result().id)

main()
"""
GEVENT = """\
from gevent import monkey
monkey.patch_all()
""" + GREEN.replace(
    "SPAWNING",
    """
from gevent import Timeout, pool, sleep
def at_once(work, items): return pool.Pool(6).map(work, items)
""",
)
EVENTLET = """\
import eventlet
eventlet.monkey_patch()
""" + GREEN.replace(
    "SPAWNING",
    """
from eventlet import GreenPool, Timeout, sleep
def at_once(work, items): return list(GreenPool(6).imap(work, items))
""",
)
UVLOOP = """
import asyncio, openai, uvloop
from concurrent.futures import ThreadPoolExecutor

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}

async def ask(client, number):
    await asyncio.sleep(0.01 * (number % 3))
    return (await client.chat.completions.create(**ASKED, seed=number)).id

async def stream(client, number):
    said = []
    async for chunk in await client.chat.completions.create(**ASKED, stream=True, seed=number):
        await asyncio.sleep(0)
        said.append(chunk.choices[0].delta.content or "")
    return "".join(said)

async def leave(client):
    try:
        async with asyncio.timeout(0.2):
            async for chunk in await client.chat.completions.create(**ASKED, stream=True):
                await asyncio.sleep(9)
    except TimeoutError:
        return "left"

async def generate(client):
    for number in range(2):
        yield (await client.chat.completions.create(**ASKED, seed=number)).id

async def begin(client):
    made = [client.chat.completions.create(**ASKED, seed=number) for number in range(3)]
    made[0] = asyncio.create_task(made[0])
    async with asyncio.TaskGroup() as group:
        last = group.create_task(made.pop())
    return [each.id for each in [*await asyncio.gather(*made), last.result()]]

def ask_plainly(client):
    return client.chat.completions.create(**ASKED).id

async def main():
    print(type(asyncio.get_running_loop()).__module__)
    async with openai.AsyncOpenAI() as client:
        asking = [job(client, number) for number in range(6) for job in (ask, stream)]
        print(await asyncio.gather(*map(asyncio.create_task, asking)))
        print(await begin(client), await leave(client), [each async for each in generate(client)])
    with openai.OpenAI() as client, ThreadPoolExecutor(2) as pool:
        loop = asyncio.get_running_loop()
        print(await asyncio.to_thread(ask_plainly, client), await loop.run_in_executor(pool, ask_plainly, client))
        print((await asyncio.to_thread(client.chat.completions.create, **ASKED)).id)

uvloop.run(main())
"""
APPS = {"gevent": GEVENT, "eventlet": EVENTLET, "uvloop": UVLOOP}
IN_THREADS = {"app.ask": 9, "app.stream": 6, "app.leave": 1, "app.main": 1}
IN_TASKS = {"app.ask": 6, "app.stream": 6, "app.begin": 3, "app.leave": 1, "app.generate": 2, "app.ask_plainly": 2, "app.main": 1}  # fmt: skip
CALLS = {"gevent": IN_THREADS, "eventlet": IN_THREADS, "uvloop": IN_TASKS}


def run(cwd: Path, app: str, *command: str, **more: str) -> str:
    """What an application prints, started by ``command``."""
    (cwd / "app.py").write_text(app)
    with FakeModel() as model:
        env = os.environ | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed", **more}
        done = subprocess.run(
            [sys.executable, *command, "app.py"],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if re.search("(?<!/)ell-otel|Context|patch", line)]
    return done.stdout


@pytest.mark.parametrize("scheduler", APPS)
def test_it_runs_as_without_us_and_each_call_ends_and_names_its_program(
    tmp_path: Path, folder: Path, scheduler: str
) -> None:
    assert run(tmp_path, APPS[scheduler], "-m", "ell_otel", "run") == run(tmp_path, APPS[scheduler])
    spans = recorded(folder).spans
    assert Counter(span.attributes["ell.program.name"] for span in spans) == CALLS[scheduler]
    left = [span.attributes["ell.program.name"] for span in spans if span.status == "error"]
    assert left == ["app.leave"]


def test_what_goes_to_a_collector_is_sent_by_a_greenlet_that_holds_up_no_other(tmp_path: Path) -> None:
    with http_collector() as collector:
        run(tmp_path, GEVENT, "-m", "ell_otel", "run", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        attributes = [each for span in collector.spans for each in span.attributes]
    assert Counter(each.value.string_value for each in attributes if each.key == "ell.program.name") == IN_THREADS


PROGRAMS = """\
from gevent import monkey
monkey.patch_all()
import gevent, openai
import ell_otel as ell

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
client = openai.OpenAI()

@ell.program
def outer(number):
    gevent.sleep(0.01 * (number % 3))
    return [inner(number), *plan(number)]

@ell.program
def inner(number):
    stream = client.chat.completions.create(**ASKED, stream=True, seed=number)
    return "".join(gevent.sleep(0) or chunk.choices[0].delta.content or "" for chunk in stream)

@ell.program
def plan(number):
    for _ in range(2):
        gevent.sleep(0)
        yield client.chat.completions.create(**ASKED, seed=number).id

gevent.joinall([gevent.spawn(outer, number) for number in range(8)], raise_error=True)
"""


def test_programs_of_greenlets_that_take_turns_are_not_taken_for_one_another(tmp_path: Path, folder: Path) -> None:
    run(tmp_path, PROGRAMS)
    spans = {span.span_id: span for span in recorded(folder).spans}
    asked = [span for span in spans.values() if "ell.request" in span.attributes]
    assert len(asked) == 24
    for span in asked:
        number = json.loads(span.attributes["ell.request"])["seed"]
        program = spans[span.parent_span_id]
        assert span.attributes["ell.invocation.id"] == program.attributes["ell.invocation.id"]
        outer = spans[program.parent_span_id]
        names = [each.attributes["ell.program.name"] for each in (program, outer)]
        assert names in (["app.inner", "app.outer"], ["app.plan", "app.outer"])
        numbers = [json.loads(each.attributes["ell.invocation.arguments"])["number"] for each in (program, outer)]
        assert numbers == [number, number]
