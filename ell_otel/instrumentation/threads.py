"""Taking along into the threads of a pool what goes on where they are given work."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from opentelemetry import context as otel_context

from ell_otel.instrumentation import callsite, patch
from ell_otel.telemetry import invocation as invocations
from ell_otel.telemetry.guard import guarded

P = ParamSpec("P")
R = TypeVar("R")
_Work = tuple[Any, tuple[Any, ...]]


def copy_context_to(executor: Executor) -> Executor:
    """``executor``, such that what is submitted through the result runs in the context of whoever submits it.

    Context variables do not cross threads by themselves, so a model call in a pool's thread would not belong to the
    invocation that asked for it. It does when submitted through this, by ``submit``, ``map`` or asyncio's
    ``run_in_executor``; ``contextvars.copy_context().run`` does the same for one call. Everything else, also
    ``shutdown``, is the executor's own. Raises ``TypeError`` for a pool of processes, which no context can reach.
    """
    if isinstance(executor, ProcessPoolExecutor):
        raise TypeError("copy_context_to takes an executor of threads: a context cannot be sent to another process")
    return _Carrying(executor)


class _Carrying(Executor):
    """Each call runs in a copy of the context of its own: one context cannot be entered twice at once."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        context = contextvars.copy_context()
        work, given = _on_behalf(fn, args)
        return self._executor.submit(lambda: context.run(work, *given, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


# -- a client's method as the work itself -----------------------------------------------------------------------------


def prepare() -> None:
    """Have pools run a client's method for whoever submits it: nothing of the user's is on the stack over there."""
    patch.on_import("concurrent.futures.thread", _pools)


def _pools(module: ModuleType) -> None:
    patch.wrap(module.ThreadPoolExecutor, "submit", _submit)


def _submit(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if args and invocations.scope(context := otel_context.get_current()) is not None:
        # In the midst of a model call it is the library that submits, such as litellm the telling of what it did.
        args = (functools.partial(run_as_part_of, context, args[0]), *args[1:])
    elif args:
        work, given = _on_behalf(args[0], args[1:])
        args = (work, *given)
    return wrapped(*args, **kwargs)


def _on_behalf(work: Any, args: tuple[Any, ...]) -> _Work:
    """Work and its arguments, themselves unless they ask a model: then for the invocation or program that submits."""
    with guarded("finding the program that submits a model call"):
        asks, in_context = _asks_model(work, args)
        if not asks:
            return work, args
        if invocations.is_attributed(context := otel_context.get_current()):
            return (work, args) if in_context else _by(functools.partial(_run_in, context), work, args)
        site = callsite.calling(3)
        if site is not None:
            return _by(functools.partial(_run_for, site), work, args)
    return work, args


def _asks_model(work: Any, args: tuple[Any, ...]) -> tuple[bool, bool]:
    """Whether work is a client's method, with some arguments given before or not, and whether it has a context."""
    in_context = False
    while True:
        if type(work) is functools.partial:
            work, args = work.func, (*work.args, *args)
        elif args and isinstance(getattr(work, "__self__", None), contextvars.Context):
            work, args, in_context = args[0], args[1:], True
        else:
            return patch.is_ours(work), in_context


def _by(runner: Callable[..., Any], work: Any, args: tuple[Any, ...]) -> _Work:
    """The same work with the client's method, wherever it stands in it, run by ``runner``."""
    if type(work) is functools.partial:
        inner, given = _by(runner, work.func, (*work.args, *args))
        return functools.partial(inner, **work.keywords), given
    if patch.is_ours(work):
        return functools.partial(runner, work), args
    inner, given = _by(runner, args[0], args[1:])
    return work, (inner, *given)


def _run_for(site: callsite.CallSite, work: Any, /, *args: Any, **kwargs: Any) -> Any:
    return callsite.under(site, work, args, kwargs)


def run_as_part_of(context: otel_context.Context, work: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call ``work`` in the invocation and the model call of another context."""
    return _run_in(invocations.carried(context), work, *args, **kwargs)


def _run_in(context: otel_context.Context, work: Any, /, *args: Any, **kwargs: Any) -> Any:
    token = otel_context.attach(context)
    try:
        return work(*args, **kwargs)
    finally:
        otel_context.detach(token)
