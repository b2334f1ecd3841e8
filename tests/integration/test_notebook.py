"""A notebook's kernel as it is: cells that define functions, define them anew and ask a model, and know nothing of us."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from ell_otel.closure import verify
from ell_otel.testing import FakeModel, recorded

CELLS = {
    "a beginning": """\
import asyncio, openai
client = openai.OpenAI()
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
STYLE = "short"
def style(): return STYLE
def ask(): return client.chat.completions.create(**ASKED, user=style()).choices[0].message.content
""",
    "a call": "ask()",
    "the same function": "def ask(): return client.chat.completions.create(**ASKED, user=style(), seed=1).id\nask()",
    "a constant": 'STYLE = "long"\n"set"',
    "a call after it": "ask()",
    "a helper": 'def style(): return "neither"\nask()',
    "a call in no function": "client.chat.completions.create(**ASKED).choices[0].message.content",
    "the same in a cell that has more": "again = 2\n[client.chat.completions.create(**ASKED).id for _ in range(again)]",
    "magic": "%%capture said\nprint(ask())",
    "a coroutine": """\
async def later():
    async with openai.AsyncOpenAI() as its:
        return (await its.chat.completions.create(**ASKED)).id
await asyncio.gather(asyncio.create_task(later()), later())
""",
    "a class": """\
class Assistant:
    def ask(self): return client.chat.completions.create(**ASKED, user=style()).id
Assistant().ask()
""",
    "a mistake": "ask() + None",
    "a call after all": "[each for each in said.stdout.split()] and ask()",
}
ASKED = {
    "a call": ["ask"],
    "the same function": ["ask"],
    "a call after it": ["ask"],
    "a helper": ["ask"],
    "a call in no function": ["<module>"],
    "the same in a cell that has more": ["<module>"] * 2,
    "magic": ["ask"],
    "a coroutine": ["later"] * 2,
    "a class": ["Assistant.ask"],
    "a mistake": ["ask"],
    "a call after all": ["ask"],
}
NEW = ("a call", "the same function", "a call after it", "a helper", "a call in no function", "the same in a cell that has more", "a coroutine", "a class")  # fmt: skip
"""The cells whose calls are of a version that was not there before."""

Told = dict[str, tuple[Any, list[tuple[str, str]]]]
"""By cell, what it printed or raised, and its model calls by program and version."""


@contextmanager
def kernel(cwd: Path, *command: str) -> Iterator[BlockingKernelClient]:
    """A kernel started by ``command``. In the end it is killed."""
    with FakeModel() as model:
        manager = KernelManager(kernel_name="python3", connection_file=str(cwd / "connection.json"))
        manager.kernel_spec.argv = [sys.executable, *command, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        own = {"ELL_OTEL_DIR": str(cwd / ".ell"), "IPYTHONDIR": str(cwd), "JUPYTER_RUNTIME_DIR": str(cwd)}
        env = os.environ | {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "not-needed"} | own
        manager.start_kernel(env=env, cwd=str(cwd))
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            yield client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def execute(client: BlockingKernelClient, cell: str) -> list[str]:
    """What a person sees below a cell."""
    seen: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "execute_result":
            seen.append(content["data"]["text/plain"])
        elif message["msg_type"] in {"stream", "error"}:
            seen.append(content.get("text") or f"{content['ename']}: {content['evalue']}")

    client.execute_interactive(cell, output_hook=hear, timeout=60)
    return seen


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told, dict[str, list[str]]]:
    """The folder of a kernel under ``ell-otel run``, what its cells told, and what they tell without us."""
    ours, bare = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("bare")
    cells: Told = {}
    with kernel(ours, "-m", "ell_otel", "run") as client:
        before = 0
        for name, cell in CELLS.items():
            seen = execute(client, cell)
            spans = [each.attributes for each in recorded(ours / ".ell").spans]
            calls = [(each["ell.program.name"], each["ell.program.version"]) for each in spans[before:]]
            cells[name], before = (seen, calls), len(spans)
    with kernel(bare) as client:
        return ours, cells, {name: execute(client, cell) for name, cell in CELLS.items()}


def test_cells_show_what_they_show_without_us(told: tuple[Path, Told, dict[str, list[str]]]) -> None:
    assert {name: seen for name, (seen, _) in told[1].items()} == told[2]
    assert "TypeError" in told[2]["a mistake"][0]


def test_each_call_is_on_disk_when_its_cell_is_done_and_names_the_cells_function(
    told: tuple[Path, Told, dict[str, list[str]]],
) -> None:
    names = {cell: [name.removeprefix("__main__.") for name, _ in calls] for cell, (_, calls) in told[1].items()}
    assert {cell: calls for cell, calls in names.items() if calls} == ASKED


def test_a_cell_that_changes_a_function_or_what_it_rests_on_makes_a_version_and_no_other_does(
    told: tuple[Path, Told, dict[str, list[str]]],
) -> None:
    seen: set[str] = set()
    new = []
    for cell, (_, calls) in told[1].items():
        versions = {version for _, version in calls}
        assert len(versions) <= 1
        if versions - seen:
            new.append(cell)
        seen |= versions
    assert tuple(new) == NEW


def test_each_version_is_captured_once_with_what_stood_in_the_cells(
    told: tuple[Path, Told, dict[str, list[str]]],
) -> None:
    sources = {
        event.attributes["ell.program.version"]: event.attributes["ell.program.source"]
        for event in recorded(told[0] / ".ell").events
    }
    assert len(sources) == len(recorded(told[0] / ".ell").events) == len(NEW)
    assert all(verify(source, version) for version, source in sources.items())
    (first, second, third, fourth, *_, last) = (sources[told[1][cell][1][0][1]] for cell in NEW)
    assert 'STYLE = "short"' in first
    assert "seed=1" not in first
    assert "seed=1" in second
    assert 'STYLE = "long"' in third
    assert ('"neither"' in fourth, "STYLE" in fourth) == (True, False)
    assert "class Assistant" in last
