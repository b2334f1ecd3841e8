"""The functions by which applications ask a model, in libraries whose spans are made by others.

Each is wrapped so that what it reports is the caller's, also when the work is done later, in a task or a thread. Only
the caller is noted here: the spans come from the library itself or from whoever instruments it.
"""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from ell_otel.instrumentation import agents, callsite, patch, threads
from ell_otel.instrumentation.coroutines import Pending, passing_for
from ell_otel.telemetry import current
from ell_otel.telemetry import invocation as invocations

_Methods = dict[str, dict[str, tuple[str, ...]]]  # names of methods by class, by module


def _of(*classes: str, methods: tuple[str, ...] = ("create",)) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(classes, methods)


_METHODS: Final[_Methods] = {
    "anthropic.resources.messages": _of("Messages", "AsyncMessages", methods=("create", "parse", "stream")),
    "anthropic.resources.beta.messages": _of("Messages", "AsyncMessages", methods=("create", "parse", "stream")),
    "openai.resources.audio.speech": _of("Speech", "AsyncSpeech"),
    "openai.resources.audio.transcriptions": _of("Transcriptions", "AsyncTranscriptions"),
    "openai.resources.batches": _of("Batches", "AsyncBatches"),
    "openai.resources.completions": _of("Completions", "AsyncCompletions"),
    "openai.resources.images": _of("Images", "AsyncImages", methods=("generate", "edit")),
}
"""None is patched before its module is imported."""

_INSTRUMENTED: Final[_Methods] = {
    "openai.resources.responses.responses": _of("Responses", "AsyncResponses", methods=("stream",)),
}
"""What the instrumentation of ``openai`` has patched already: our wrapper must be outside of its. ``create`` and
``parse`` are not among it: ``openai_spans`` sees to those itself."""

_LITELLM: Final = (
    *("completion", "acompletion", "embedding", "aembedding", "text_completion", "atext_completion"),
    *("responses", "aresponses", "image_generation", "aimage_generation"),
)
_LITELLM_STREAMS: Final = {
    "litellm.litellm_core_utils.streaming_handler": ("CustomStreamWrapper",),
    "litellm.responses.streaming_iterator": ("ResponsesAPIStreamingIterator", "SyncResponsesAPIStreamingIterator"),
}
"""They tell of the call when they are read to their end, long after the function that made it has returned."""
_BEGUN_IN: Final = "_ell_begun_in"  # the context in which such a stream was made


def prepare() -> None:
    """See to it that each of these is attended to when it is imported. After the instrumentation of ``openai``."""
    for path in _METHODS:
        patch.on_import(path, _methods)
    agents.prepare()
    patch.on_import("openai", _instrumented)
    patch.on_import("litellm", _litellm)
    for path in _LITELLM_STREAMS:
        patch.on_import(path, _litellm_streams)
    patch.on_import("anthropic._base_client", _anthropic_client)


def scoped(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call ``wrapped`` as one model call of whoever calls it."""
    if invocations.scope() is not None:
        return wrapped(*args, **kwargs)
    site = callsite.calling(depth=2) or callsite.NOBODY
    result = callsite.under(site, wrapped, args, kwargs)
    if not inspect.iscoroutine(result):
        return result
    return passing_for(result, callsite.under_async(site, Pending(result)))


def _methods(module: ModuleType) -> None:
    _wrap(module, _METHODS[module.__name__], scoped)


def _instrumented(_: ModuleType) -> None:
    for path, classes in _INSTRUMENTED.items():
        _wrap(importlib.import_module(path), classes, scoped)


def _litellm(module: ModuleType) -> bool:
    for name in _LITELLM:
        patch.wrap(module, name, scoped)
    return hasattr(module, _LITELLM[0])  # it imports openai first, which may be what has us instrumented


def _litellm_streams(module: ModuleType) -> bool:
    found = [vars(module)[name] for name in _LITELLM_STREAMS[module.__name__] if name in vars(module)]
    for stream in found:
        patch.wrap(stream, "__init__", _begun)
        patch.wrap(stream, "__next__", _read)
        patch.wrap(stream, "__anext__", _read_async)
    return bool(found)


def _begun(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    vars(instance)[_BEGUN_IN] = otel_context.get_current()
    wrapped(*args, **kwargs)


def _read(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return threads.run_as_part_of(_begun_in(instance), wrapped, *args, **kwargs)


async def _read_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = otel_context.attach(resumed := invocations.carried(_begun_in(instance)))
    try:
        return await wrapped(*args, **kwargs)
    finally:
        if otel_context.get_current() is resumed:  # dropped halfway, it ends in whatever context collects it
            otel_context.detach(token)


def _begun_in(stream: Any) -> Context:
    return vars(stream).get(_BEGUN_IN) or otel_context.get_current()


def _wrap(module: ModuleType, classes: dict[str, tuple[str, ...]], wrapper: patch.Wrapper) -> None:
    for name, methods in classes.items():
        owner = getattr(module, name, None)
        for method in methods if owner is not None else ():
            patch.wrap(owner, method, wrapper)


def _anthropic_client(module: ModuleType) -> None:
    current.tell_libraries()  # a client asks when it is made, which may be before the first span
    patch.wrap(module, "get_tracer", _traced)


def _traced(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A client's tracer: ours where neither the client nor the application has one."""
    options = args[0] if args else None
    if isinstance(options, dict) and options.get("tracer_provider") is None and not current.has_application_provider():
        return wrapped({**options, "tracer_provider": current.tracer_provider()}, *args[1:], **kwargs)
    return wrapped(*args, **kwargs)
