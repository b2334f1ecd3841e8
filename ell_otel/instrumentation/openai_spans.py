"""Spans of model calls made through the ``openai`` package: ``create`` of chat completions, responses and embeddings,
and ``parse`` of the first two.

This is the path that nearly every call takes, so it is short: one span, its attributes set in two goes, its contents
serialised and redacted once. Everything else of the package is left to OpenTelemetry's own instrumentation
(``openai_genai``), which emits the same spans; where an application has switched that one on itself, it is left all.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode

from ell_otel import config, semconv
from ell_otel.instrumentation import callsite, openai_genai, openai_request, patch
from ell_otel.instrumentation.callsite import CallSite
from ell_otel.instrumentation.coroutines import Pending, passing_for, seen_by
from ell_otel.instrumentation.openai_attributes import Api, Attributes, Chat, Content, Embeddings, Responses
from ell_otel.instrumentation.openai_formats import as_created
from ell_otel.instrumentation.openai_parts import is_list
from ell_otel.instrumentation.openai_streams import HEARD, Heard, watched, when_closed
from ell_otel.telemetry import current
from ell_otel.telemetry.contents import as_json, messages_as_json
from ell_otel.telemetry.guard import guarded, overcome
from ell_otel.telemetry.messages import clean, error_message, redacted

if TYPE_CHECKING:
    from ell_otel.telemetry.providers import Pipeline

_METHODS: Final = (
    ("openai.resources.chat.completions", "Completions", Chat),
    ("openai.resources.responses.responses", "Responses", Responses),
    ("openai.resources.embeddings", "Embeddings", Embeddings),
)
_MESSAGES: Final = frozenset({semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_OUTPUT_MESSAGES})
_MAX_INT: Final = 1 << 63
_RAW_RESPONSE: Final = "X-Stainless-Raw-Response"
_SERVED_MODEL: Final = "x-ms-served-model"
_GENAI_CALL: Final = "opentelemetry.genai.client.inference.context"
"""In the context while OpenTelemetry's instrumentation makes the span: ``responses.stream`` goes through ``create``."""

_active = False
_absent: frozenset[type] = frozenset()


def prepare() -> None:
    """See to it that ``openai`` is instrumented as soon as it is imported. Costs nothing until then. Never raises."""
    with guarded("preparing to instrument openai"):
        if not config.resolve().disabled:
            patch.on_import("openai", _instrument)


def _instrument(package: ModuleType) -> None:
    global _active, _absent
    from importlib import import_module

    _absent = frozenset(
        {type(None), *(getattr(package, name) for name in ("NotGiven", "Omit") if hasattr(package, name))}
    )
    methods: list[tuple[type, str, Any, patch.Wrapper]] = []
    for module, name, api in _METHODS:
        with guarded(f"instrumenting {module}"):  # an old version of the package has no responses
            resources = import_module(module)
            for owner, traced in (getattr(resources, f"Async{name}"), _async), (getattr(resources, name), _sync):
                offered = (each for each in ("create", "parse") if each in vars(owner))
                methods += [(owner, method, vars(owner)[method], traced(api)) for method in offered]
    openai_genai.instrument()
    import wrapt

    for owner, method, before, wrapper in methods:
        patch.replace(owner, method, wrapt.FunctionWrapper(before, wrapper))
    _active = True
    patch.afterwards(_deactivate)


def _deactivate() -> None:
    """The SDK keeps ``with_raw_response`` methods, and so our wrappers, as long as a client lives."""
    global _active
    _active = False


def _sync(api: Api) -> patch.Wrapper:
    def create(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _active:
            return wrapped(*args, **kwargs)
        site = callsite.calling(2)
        call = _begun(api, instance, kwargs, site)
        if call is None:
            return wrapped(*args, **kwargs) if site is None else callsite.under(site, wrapped, args, kwargs)
        with call:
            answer = wrapped(*args, **kwargs)
        return call.answered(answer)

    return create


def _async(api: Api) -> patch.Wrapper:
    def create(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _active:
            return wrapped(*args, **kwargs)
        # Who calls is known now; the coroutine may run in a task with nothing of the caller's on its stack.
        site = callsite.calling(2)
        pending = wrapped(*args, **kwargs)
        return passing_for(pending, _awaited(api, Pending(pending), instance, kwargs, site))

    return create


async def _awaited(api: Api, pending: Pending, instance: Any, arguments: dict[str, Any], site: CallSite | None) -> Any:
    call = _begun(api, instance, arguments, site)
    if call is None:
        return await (pending.coroutine if site is None else callsite.under_async(site, pending))
    with call:
        answer = await pending.coroutine
    return call.answered(answer)


def _begun(api: Api, instance: Any, arguments: dict[str, Any], site: CallSite | None) -> Call | None:
    """The call with its span started; None where somebody else makes its span, or nobody."""
    try:
        context = otel_context.get_current()
        if openai_genai.is_in_charge() or context.get(_GENAI_CALL) is not None:
            return None
        pipeline = current.pipeline()
        if pipeline.settings.disabled:
            return None
        request = as_created({name: value for name, value in arguments.items() if type(value) not in _absent})
        return Call(api, pipeline, request, _start_attributes(api, instance, request, site), context)
    except Exception as error:
        if not overcome(error, "starting a model call's span"):
            raise
        return None


def _start_attributes(api: Api, instance: Any, request: dict[str, Any], site: CallSite | None) -> Attributes:
    attributes: Attributes = {
        semconv.GEN_AI_OPERATION_NAME: api.operation,
        semconv.GEN_AI_PROVIDER_NAME: semconv.PROVIDER_OPENAI,
        **({} if site is None else site.stamp),
    }
    if isinstance(model := request.get("model"), str):
        attributes[semconv.GEN_AI_REQUEST_MODEL] = clean(model)
    attributes.update(_server(getattr(instance, "_client", None)))
    try:
        attributes.update({name: value for name, value in api.asked(request).items() if _is_plain(value)})
    except Exception as error:
        if not overcome(error, "recording a request's settings"):
            raise
    return attributes


def _is_plain(value: Any) -> bool:
    """What a span can hold as it is and OTLP can say; of anything else OpenTelemetry would ask for the ``repr``."""
    if isinstance(value, int):
        return -_MAX_INT <= value < _MAX_INT
    return isinstance(value, float) or _is_text(value) or (is_list(value) and all(map(_is_text, value)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and clean(value) == value  # OTLP cannot say a lone surrogate


def _server(client: Any) -> Attributes:
    """Where requests go. A client's URL is one object for all its calls, and takes time to be asked; the property that
    gives it imports a module each time."""
    global _last_server
    url = getattr(client, "_base_url", None) or getattr(client, "base_url", None)
    known = _last_server  # another thread may exchange it meanwhile
    if url is not known[0]:
        address, port = getattr(url, "host", None), getattr(url, "port", None)
        said = {semconv.SERVER_ADDRESS: address, semconv.SERVER_PORT: port if port != 443 else None}
        known = _last_server = url, {name: value for name, value in said.items() if value}
    return known[1]


_last_server: tuple[Any, Attributes] = (None, {})


class Call:
    """One model call, from its request to its answer or to the end of its stream. Its span ends once.

    The span is current while the SDK works, and at no other time: never in the program that reads a stream.
    """

    def __init__(
        self, api: Api, pipeline: Pipeline, request: dict[str, Any], attributes: Attributes, context: Context
    ) -> None:
        self._ended = True  # until there is a span to end
        self.reading = False
        self._api = api
        self._pipeline = pipeline
        self._around = context
        model = attributes.get(semconv.GEN_AI_REQUEST_MODEL)
        self._span = pipeline.tracer.start_span(
            f"{api.operation} {model}" if model else api.operation, context, SpanKind.CLIENT, attributes
        )
        self._ended = False
        self._attributes: Attributes = {}
        self._content: dict[str, str] = {}
        self._heard: Heard | None = HEARD[api]() if request.get("stream") else None
        headers = request.get("extra_headers") or {}
        self._is_unread = isinstance(headers, dict) and headers.get(_RAW_RESPONSE) == "stream"
        self._records = pipeline.settings.record_content and self._span.is_recording()
        if self._records:
            self._note_request(request)

    def __enter__(self) -> None:
        self._entered = trace.set_span_in_context(self._span, self._around)
        self._token = otel_context.attach(self._entered)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A coroutine that is dropped halfway is closed by the garbage collector, in whatever context that runs in.
        if otel_context.get_current() is self._entered:
            otel_context.detach(self._token)
        if error is not None:
            self.fail(error)

    def answered(self, answer: Any) -> Any:
        """Note what the SDK returned. Returns it, or a stream like it."""
        try:
            if "http_response" in getattr(answer, "__dict__", ()):  # a model's `hasattr` takes long to say no
                return self._raw(answer)
            if self._heard is not None and "_iterator" in getattr(answer, "__dict__", ()):
                self._note_served_model(getattr(answer, "response", None))
                return watched(answer, self)
            self._note_answer(answer)
        except Exception as error:
            if not overcome(error, "recording a model's answer"):
                raise
        self.end()
        return answer

    def note(self, chunk: Any) -> None:
        """A chunk of the stream has come."""
        with guarded("recording a piece of a model's answer"):
            if self._heard is not None and not self._ended:
                self._heard.hear(chunk)
                if self._heard.complete:
                    self.end()

    def end(self) -> None:
        """The call is over."""
        self._finish(self._heard.failure if self._heard is not None else None)

    def fail(self, error: BaseException) -> None:
        """The call has raised."""
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        self._finish((name, error_message(error)))

    def abandon(self) -> None:
        """Nobody is left to read the answer."""
        if not self._ended:
            self._finish((semconv.ERROR_TYPE_OTHER, "abandoned stream"))

    __del__ = abandon

    # -- raw responses ------------------------------------------------------------------------------------------------

    def _raw(self, answer: Any) -> Any:
        """A response whose body is behind ``parse()``: read already, or to be read by the program."""
        self._note_served_model(answer)
        if self._heard is None and not self._is_unread:
            with guarded("recording a raw answer"):
                self._note_answer(answer.parse())
            self.end()
            return answer
        parse, known = answer.parse, {}

        def seen(parsed: Any) -> Any:
            if self._heard is not None and hasattr(parsed, "_iterator"):
                if id(parsed) not in known:
                    known[id(parsed)] = (watched(parsed, self), parsed)
                return known[id(parsed)][0]
            with guarded("recording a raw answer"):
                self._note_answer(parsed)
            return parsed

        answer.parse = seen_by(parse, seen)
        when_closed(answer.http_response, lambda: None if known else self.end())
        return answer

    def _note_served_model(self, response: Any) -> None:
        if model := (getattr(response, "headers", None) or {}).get(_SERVED_MODEL):
            self._attributes[semconv.GEN_AI_RESPONSE_MODEL] = model

    # -- what goes onto the span --------------------------------------------------------------------------------------

    def _note_request(self, request: dict[str, Any]) -> None:
        api, blobs = self._api, self._pipeline.blobs
        try:
            self._record(api.asked_content(request, blobs))
        except Exception as error:
            if not overcome(error, "recording a request's contents"):
                raise
        try:
            said = openai_request.as_sent(request, api.input_name, blobs, self._pipeline.settings.value_bytes)
            self._content[semconv.ELL_REQUEST] = said
        except Exception as error:
            if not overcome(error, "recording a request"):
                raise

    def _note_answer(self, answer: Any) -> None:
        try:
            self._attributes = {**self._api.answered(answer), **self._attributes}
        except Exception as error:
            if not overcome(error, "recording what an answer says of itself"):
                raise
        try:
            if self._records:
                self._record(self._api.answered_content(answer, self._pipeline.blobs))
        except Exception as error:
            if not overcome(error, "recording an answer's contents"):
                raise
        if (failure := self._api.failure(answer)) is not None:
            self._finish(failure)

    def _record(self, content: Content) -> None:
        budget = self._pipeline.settings.value_bytes
        for name, value in content.items():
            if value:
                written = messages_as_json if name in _MESSAGES else as_json
                self._content[name] = written(value, budget)

    def _finish(self, failure: tuple[str, str | None] | None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._heard is not None:
            with guarded("recording what a stream says of itself"):
                self._attributes = {**self._heard.attributes(), **self._attributes}
            if self._records:
                with guarded("recording a stream's contents"):
                    self._record(self._heard.content(self._pipeline.blobs))
        try:
            attributes = self._attributes
            if failure is not None:
                kind, message = failure
                attributes[semconv.ERROR_TYPE] = kind
                self._span.set_status(Status(StatusCode.ERROR, message and redacted(message)))
            self._pipeline.record(self._span, attributes, self._content)
        except Exception as error:
            if not overcome(error, "recording how a model call ended"):
                raise
        try:
            self._span.end()
        except Exception as error:
            if not overcome(error, "ending a model call's span"):
                raise
