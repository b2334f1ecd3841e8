"""Taking the invocation that is going on along into the threads of a pool."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


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
        return self._executor.submit(lambda: context.run(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)
