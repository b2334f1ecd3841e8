"""Agents of pydantic-ai: whoever runs one asks the model, many times perhaps, each in a task that the library makes.

``run_sync`` and ``run_stream`` go by way of ``run`` and ``iter`` while the user's function is still on the stack.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import FrameType, ModuleType
from typing import Any

from ell_otel.instrumentation import callsite, patch
from ell_otel.instrumentation.coroutines import Pending, passing_for
from ell_otel.telemetry.guard import guarded


def prepare() -> None:
    """See to it that agents are attended to when they are imported."""
    patch.on_import("pydantic_ai.agent.abstract", _abstract)
    patch.on_import("pydantic_ai.agent", _agents)


def _abstract(module: ModuleType) -> None:
    for name, wrapper in ("run", _running), ("run_stream_sync", _streaming), ("run_stream_events", _telling):
        if hasattr(module.AbstractAgent, name):
            patch.wrap(module.AbstractAgent, name, wrapper)


def _agents(module: ModuleType) -> None:
    if "iter" in vars(getattr(module, "Agent", object)):
        patch.wrap(module.Agent, "iter", _iterating)


def _running(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    site = callsite.calling(depth=2)
    result = wrapped(*args, **kwargs)
    if site is None or not inspect.iscoroutine(result):
        return result
    named = functools.partial(_name, instance, kwargs.get("infer_name", True))
    return passing_for(result, _run(site, Pending(result), named))


async def _run(site: callsite.CallSite, pending: Pending, named: Callable[[FrameType], None]) -> Any:
    named(sys._getframe())
    with callsite.Behind(site):
        return await pending.coroutine


def _name(agent: Any, wanted: bool, frame: FrameType) -> None:
    """An agent calls itself after a variable of whoever awaits it, by a look one frame up, where without this it would
    find ours."""
    with guarded("naming an agent"):
        if wanted and hasattr(agent, "_infer_name") and agent.name is None:
            agent._infer_name(frame)


def _streaming(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    site = callsite.calling(depth=2)
    _name(instance, kwargs.get("infer_name", True), sys._getframe())
    del instance  # or the agent might take that for its name
    with callsite.Behind(site) if site is not None else contextlib.nullcontext():
        return wrapped(*args, **kwargs)


def _telling(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    site = callsite.calling(depth=2)
    _name(instance, kwargs.get("infer_name", True), sys._getframe())
    del instance
    events = wrapped(*args, **kwargs)
    run = getattr(events, "_run_agent", None)  # what a task runs, as soon as somebody reads
    if site is not None and run is not None:
        events._run_agent = functools.partial(_run_later, site, run)
    return events


async def _run_later(site: callsite.CallSite, run: Callable[..., Any], /, *args: Any) -> Any:
    with callsite.Behind(site):
        return await run(*args)


def _iterating(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    site = callsite.calling(depth=2)
    manager = wrapped(*args, **kwargs)
    return manager if site is None else _opened(site, manager)


@contextlib.asynccontextmanager
async def _opened(site: callsite.CallSite, manager: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    with callsite.Behind(site):
        async with manager as entered:
            yield entered
