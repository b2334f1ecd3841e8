"""``@ell.program``: each run of the decorated callable becomes one invocation. The tour of the code starts here.

What happens to a run, in order: ``Run.begin`` asks the registry for the version (its closure is announced before the
first span that carries it) and starts the span; the body runs with the invocation current, so that every span below
is stamped with it; ``Run.end`` records the result or the error. The wrapper is of the same kind as what it wraps
(function, coroutine function, generator function, async generator function), returns what that returns and raises what
that raises. In a generator the invocation is current only while the body runs, never across a ``yield``.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from ell_otel import semconv
from ell_otel.instrumentation import openai_spans, origins
from ell_otel.instrumentation.coroutines import Pending, passing_for
from ell_otel.registry import Program
from ell_otel.telemetry import current
from ell_otel.telemetry import invocation as invocations
from ell_otel.telemetry.guard import guarded
from ell_otel.telemetry.invocation import Invocation
from ell_otel.telemetry.messages import Items, error_text, named_arguments, to_json

if TYPE_CHECKING:
    from ell_otel.telemetry.providers import Pipeline

P = ParamSpec("P")
R = TypeVar("R")

_OFFERED: Final = ("cache_clear", "cache_info", "cache_parameters", "func", "keywords")
_KEPT_LOCALS: Final = (str, bytes, int, float, bool, type(None), type, FunctionType)

MARK: Final = "__ell_program__"
"""Attribute of a wrapper that holds its ``Program``; the closure engine knows a program by it."""


def program(target: Callable[P, R]) -> Callable[P, R]:
    """Make every run of ``target`` an invocation of a language-model program.

    ``target`` is a function, coroutine function, generator function, async generator function, method, static or class
    method, or any other callable that is not a class. What it does, returns and raises stays as it is.
    Raises ``TypeError`` for anything else.
    """
    if isinstance(target, (staticmethod, classmethod)):
        return cast("Callable[P, R]", type(target)(program(target.__func__)))
    if isinstance(target, type) or not callable(target):
        raise TypeError(
            f"@ell.program takes a function or another callable, not {target!r}. "
            "To follow a class, decorate the methods whose result is sent to a model"
        )
    return instrumented(target, target)


def instrumented(
    target: Callable[..., Any], body: Callable[..., Any], before: Callable[[], None] | None = None
) -> Callable[..., Any]:
    """A wrapper that runs ``body`` as an invocation of the program ``target``.

    The two differ where a decorator adds something to what the user wrote, such as sending its result to a model.
    ``before`` is called ahead of every run, outside its span.
    What else the target offers, as an ``lru_cache`` does ``cache_clear``, the wrapper offers too.
    """
    openai_spans.prepare()
    watched = Program(target, _names_around(target), before)
    kind = body if inspect.isroutine(body) or isinstance(body, functools.partial) else type(body).__call__
    if inspect.isasyncgenfunction(kind):
        wrapper = _async_generator(watched, body)
    elif inspect.isgeneratorfunction(kind):
        wrapper = _generator(watched, body)
    elif inspect.iscoroutinefunction(kind):
        wrapper = _coroutine(watched, body)
    else:
        wrapper = _function(watched, body)
    functools.update_wrapper(wrapper, target)
    for name in _OFFERED:
        if hasattr(target, name):
            setattr(wrapper, name, getattr(target, name))
    for name in ("__defaults__", "__kwdefaults__"):  # our own parameters take no notice of them, but readers do
        setattr(wrapper, name, getattr(target, name, None))
    setattr(wrapper, MARK, watched)
    return wrapper


def _function(watched: Program, body: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with Run(watched, args, kwargs) as run:
            return run.returned(body(*args, **kwargs))

    return wrapper


def _coroutine(watched: Program, body: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(run: Run, pending: Pending) -> Any:
        with run:
            return run.returned(await pending.coroutine)

    def steps_of(run: Run, coroutine: Any) -> Coroutine[Any, Any, Any]:
        return awaited(run, Pending(coroutine))

    return _making(watched, body, steps_of, inspect.CO_COROUTINE)


def _generator(watched: Program, body: Callable[..., Any]) -> Callable[..., Any]:
    def steps_of(run: Run, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        run.begin()
        step, sent = steps.send, None
        try:
            while True:
                with run.current():
                    item = step(sent)
                run.yielded(item)
                try:
                    step, sent = steps.send, (yield item)
                except GeneratorExit:
                    with run.current():
                        steps.close()
                    raise
                except BaseException as error:
                    step, sent = steps.throw, error
        except StopIteration as stop:
            run.end()
            return stop.value
        except BaseException as error:
            run.end(error)
            raise

    return _making(watched, body, steps_of, inspect.CO_GENERATOR)


def _async_generator(watched: Program, body: Callable[..., Any]) -> Callable[..., Any]:
    async def steps_of(run: Run, steps: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        run.begin()
        left: BaseException | None = None
        step, sent = _unhooked(steps.asend), None
        try:
            while True:
                with run.current():
                    item = await step(sent)
                run.yielded(item)
                try:
                    step, sent = steps.asend, (yield item)
                except GeneratorExit:
                    with run.current():
                        await steps.aclose()
                    raise
                except BaseException as error:
                    step, sent = steps.athrow, error
                    left = error if _cancels_closing(error) else None
        except StopAsyncIteration:
            run.end()
        except BaseException as error:
            run.end(GeneratorExit() if error is left else error)
            raise

    return _making(watched, body, steps_of, inspect.CO_ASYNC_GENERATOR)


def _making(watched: Program, body: Callable[..., Any], steps_of: Callable[..., Any], kind: int) -> Callable[..., Any]:
    """A function that makes the generator or coroutine ``steps_of`` around the one that ``body`` makes.

    It calls ``body`` at once, so that wrong arguments are a ``TypeError`` where they were given, as without us. No code
    of the user's runs by that. It is marked as of the ``kind`` that it stands for, since frameworks ask for it.
    """

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        steps = body(*args, **kwargs)
        return passing_for(steps, steps_of(Run(watched, args, kwargs), steps))

    marked = wrapper.__code__.replace(co_flags=wrapper.__code__.co_flags | kind)
    return FunctionType(marked, globals(), closure=wrapper.__closure__)


def _unhooked(asend: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``asend`` of a generator that the event loop shall not know: at its end the loop closes all those it knows, at
    once, and the wrapper closes this one."""

    def first(sent: Any) -> Any:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            return asend(sent)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    return first


def _cancels_closing(error: BaseException) -> bool:
    """Whether what was thrown into a generator comes of its closing being cancelled, as it is when the event loop ends.

    The consumer had left by then. A cancellation that reaches the generator by way of code has been raised there.
    """
    trace = error.__traceback__
    return isinstance(error, asyncio.CancelledError) and (trace is None or trace.tb_next is None)


class Run:
    """One invocation, from its first to its last moment. No method raises, and all may be used with no span."""

    def __init__(self, watched: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._watched = watched
        self._args = args
        self._kwargs = kwargs
        self._invocation: Invocation | None = None
        self._current = _Current(None)
        self._pipeline: Pipeline | None = None
        self._budget = 0  # characters to spend on arguments and on the result; 0: neither is recorded
        self._items: Items | None = None

    def __enter__(self) -> Self:
        self.begin()
        self._current.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._current.__exit__(kind, error, trace)
        self.end(error)

    def begin(self) -> Self:
        """Determine the version, start the span, record the arguments."""
        with guarded("starting an invocation"):
            pipeline = self._pipeline = current.pipeline()
            if pipeline.settings.disabled:
                return self
            self._watched.before()
            closure = self._watched.announced(pipeline)
            span = pipeline.tracer.start_span(
                f"{semconv.OPERATION_INVOKE_WORKFLOW} {closure.name}",
                kind=SpanKind.INTERNAL,
                links=[_consumes(origin) for origin in origins.among(self._args, self._kwargs)],
            )
            self._invocation = Invocation(invocations.new_id(), closure.name, closure.version, span)
            self._current = _Current(self._invocation)
            if pipeline.settings.record_content and span.is_recording():
                self._budget = pipeline.settings.value_bytes
            span.set_attributes(
                {
                    **self._invocation.stamp,
                    semconv.GEN_AI_OPERATION_NAME: semconv.OPERATION_INVOKE_WORKFLOW,
                    semconv.GEN_AI_WORKFLOW_NAME: closure.name,
                    semconv.CODE_FUNCTION_NAME: closure.name,
                    semconv.CODE_FILE_PATH: closure.file or "",
                    semconv.CODE_LINE_NUMBER: closure.line or 0,
                }
            )
        with guarded("recording arguments"):
            if self._budget:
                named = named_arguments(self._watched.target, self._args, self._kwargs)
                self._content(semconv.ELL_INVOCATION_ARGUMENTS, to_json(named, self._budget))
        return self

    def current(self) -> _Current:
        """Context manager: the invocation is current inside."""
        return self._current

    def returned(self, result: R) -> R:
        """Note the result, and that it came from here. Returns it."""
        with guarded("recording a result"):
            if self._invocation is not None:
                origins.remember(result, self._invocation)
                if self._budget:
                    self._content(semconv.ELL_INVOCATION_RESULT, to_json(result, self._budget))
        return result

    def yielded(self, item: object) -> None:
        """Note one item of a generator."""
        with guarded("recording an item"):
            if self._budget:
                self._items = self._items or Items(self._budget)
                self._items.add(item)

    def end(self, error: BaseException | None = None) -> None:
        """End the span, once: well, abandoned (``GeneratorExit``), or with an error."""
        if self._invocation is None:
            return
        span = self._invocation.span
        with guarded("recording how an invocation ended"):
            if self._items is not None:
                self._content(semconv.ELL_INVOCATION_RESULT, self._items.json())
            if isinstance(error, GeneratorExit):
                span.set_attribute(semconv.ELL_INVOCATION_ABANDONED, True)
            elif error is not None:
                span.set_status(Status(StatusCode.ERROR, error_text(error)))
                span.set_attribute(semconv.ERROR_TYPE, type(error).__qualname__)
        self._invocation = None
        with guarded("ending an invocation"):
            span.end()

    def _content(self, name: str, value: str) -> None:
        if self._invocation is not None and self._pipeline is not None:
            self._pipeline.content(self._invocation.span, name, value)


class _Current:
    """Context manager that makes an invocation current; may be entered many times, one after the other."""

    def __init__(self, invocation: Invocation | None) -> None:
        self._invocation = invocation
        self._entered: otel_context.Context | None = None
        self._token: Any = None

    def __enter__(self) -> None:
        if self._invocation is not None:
            self._entered = invocations.entered(self._invocation)
            self._token = otel_context.attach(self._entered)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A coroutine that is dropped halfway is closed by the garbage collector, in whatever context that runs in:
        # there is nothing to give back there.
        if self._token is not None and otel_context.get_current() is self._entered:
            otel_context.detach(self._token)
        self._token = None


def _names_around(target: Callable[..., Any]) -> dict[str, Any]:
    """Plain values, functions and classes among the locals of the function that ``target`` is being defined in.

    Its decorators read them now, and they are gone when the closure is captured. Nothing for a module-level function.
    """
    outer = getattr(target, "__qualname__", "").rpartition(".<locals>.")[0].rpartition(".")[2]
    frame = sys._getframe(1) if outer else None
    while frame is not None and frame.f_code.co_name != outer:
        frame = frame.f_back
    if frame is None:
        return {}
    return {name: value for name, value in frame.f_locals.items() if isinstance(value, _KEPT_LOCALS)}


def _consumes(origin: SpanContext) -> Link:
    return Link(origin, {semconv.ELL_LINK: semconv.LINK_CONSUMES})
