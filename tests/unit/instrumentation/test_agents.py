"""Libraries that run a user's agent: they ask the model in tasks of their own, with nothing of the user's on the stack.

The library is a stand-in for pydantic-ai, by its name and with its one method.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ell_otel as ell
from ell_otel.testing import FakeModel, recorded

LIBRARY = """\
import asyncio

class AbstractAgent:
    def __init__(self, client, *tools):
        self.client = client
        self.tools = tools

    async def run(self, question):
        async with asyncio.TaskGroup() as tasks:
            steps = [tasks.create_task(self.step(question, tool)) for tool in (None, *self.tools)]
        return [step.result() for step in steps]

    async def step(self, question, tool):
        if tool is not None:
            return await tool(self.client)
        asked = [{"role": "user", "content": question}]
        return (await self.client.chat.completions.create(model="m", messages=asked)).id
"""


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    package = tmp_path / "lib" / "site-packages" / "pydantic_ai" / "agent"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "abstract.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path / "lib" / "site-packages")
    ell.instrument()
    yield importlib.import_module("pydantic_ai.agent.abstract")
    ell.uninstrument()
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydantic_ai"]:
        del sys.modules[name]


async def look_up(client: Any) -> str:
    asked: Any = [{"role": "user", "content": "Where?"}]
    return str((await client.chat.completions.create(model="m", messages=asked)).id)


async def consult(agents: ModuleType, model: FakeModel) -> None:
    async with model.async_client() as client:
        await agents.AbstractAgent(client, look_up).run("Why?")


async def consult_in_a_task(agents: ModuleType, model: FakeModel) -> None:
    async with model.async_client() as client:
        await asyncio.create_task(agents.AbstractAgent(client).run("Why?"))


def programs(folder: Path) -> list[str]:
    recording = recorded(folder)
    names = sorted(span.attributes.get("ell.program.name", "") for span in recording.spans)
    assert {event.attributes["ell.program.name"] for event in recording.events} == set(names)
    return [name.removeprefix(f"{__name__}.") for name in names]


def test_what_an_agent_asks_is_asked_by_who_runs_it_and_what_a_tool_of_the_users_asks_by_the_tool(
    agents: ModuleType, folder: Path
) -> None:
    with FakeModel() as model:
        asyncio.run(consult(agents, model))
        asyncio.run(consult_in_a_task(agents, model))
    assert programs(folder) == ["consult", "consult_in_a_task", "look_up"]


def test_an_agent_that_a_decorated_program_runs_belongs_to_it(agents: ModuleType, folder: Path) -> None:
    with FakeModel() as model:
        asyncio.run(ell.program(consult)(agents, model))
    assert set(programs(folder)) == {"consult"}
