"""Public fakes: what this project's own tests use, and yours may.

``FakeModel`` is a real HTTP server on loopback that speaks the OpenAI API (chat completions, streamed or not, tools,
structured output, several choices, embeddings) and always gives the same answer to the same request.
``recorded`` reads what a program has put into the spool of an ``.ell`` folder, and leaves it there.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from ell_otel.telemetry.segments import SPOOL_NAME, Kind, pending

Reply = Callable[[dict[str, Any]], str | dict[str, Any]]
"""From the request's JSON to the answer's text, or to a whole assistant message (``{"content", "tool_calls"}``)."""


class FakeModel:
    """An OpenAI-compatible server on a free port of 127.0.0.1, running from ``with`` to its end.

    ``requests`` holds the JSON of every request. ``reply`` decides the answers; by default: run a tool if one is
    offered and was not run yet, fill in the schema if one is asked for, else a sentence chosen by the messages' hash.
    """

    def __init__(self, reply: Reply | None = None, *, latency_s: float = 0.0) -> None:
        self.requests: list[dict[str, Any]] = []
        self._reply = reply or default_reply
        self._latency_s = latency_s
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def base_url(self) -> str:
        """What goes into ``OPENAI_BASE_URL`` or ``OpenAI(base_url=…)``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def client(self) -> Any:
        """An ``openai.OpenAI`` that talks to this server."""
        import openai

        return openai.OpenAI(base_url=self.base_url, api_key="not-needed", max_retries=0)

    def async_client(self) -> Any:
        """An ``openai.AsyncOpenAI`` that talks to this server."""
        import openai

        return openai.AsyncOpenAI(base_url=self.base_url, api_key="not-needed", max_retries=0)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="fake-model", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.requests.append(request)
                time.sleep(fake._latency_s)
                if self.path.endswith("/embeddings"):
                    self._send(json.dumps(embeddings(request)).encode())
                elif request.get("stream"):
                    self._stream(chunks(request, fake._reply))
                else:
                    self._send(json.dumps(completion(request, fake._reply)).encode())

            def _send(self, body: bytes, content_type: str = "application/json") -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _stream(self, events: Iterator[dict[str, Any]]) -> None:
                lines = [f"data: {json.dumps(event)}\n\n" for event in events]
                self._send("".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream")

            def log_message(self, *_: Any) -> None:
                """Silent."""

        return Handler


@dataclass(frozen=True, slots=True)
class RecordedSpan:
    """A span as it was accepted. ``attributes`` are plain values; ids are lower-case hex; ``status`` ok or error."""

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    attributes: dict[str, Any]
    status: str
    message: str
    links: tuple[str, ...]  # span ids


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it was accepted."""

    name: str
    body: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """What is in a spool, in the order it was accepted."""

    spans: list[RecordedSpan]
    events: list[RecordedEvent]

    def span(self, name: str) -> RecordedSpan:
        """The only span of this name. Raises ``LookupError`` when there is none, or more."""
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            raise LookupError(
                f"{len(found)} spans are called {name!r}; there are: {[span.name for span in self.spans]}"
            )
        return found[0]


def recorded(directory: Path) -> Recording:
    """Everything in the spool of the ``.ell`` folder ``directory`` that no store has taken over yet."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    recording = Recording([], [])
    for segment in pending(directory / SPOOL_NAME):
        for frame in segment.read(max_bytes=1 << 30).frames:
            if frame.kind is Kind.TRACES:
                traces = ExportTraceServiceRequest.FromString(frame.payload)
                scopes = [scope for resource in traces.resource_spans for scope in resource.scope_spans]
                recording.spans.extend(_span(span) for scope in scopes for span in scope.spans)
            else:
                logs = ExportLogsServiceRequest.FromString(frame.payload)
                groups = [scope for resource in logs.resource_logs for scope in resource.scope_logs]
                recording.events.extend(_event(record) for group in groups for record in group.log_records)
    return recording


def _span(span: Any) -> RecordedSpan:
    return RecordedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
        "error" if span.status.code == span.status.STATUS_CODE_ERROR else "ok",
        span.status.message,
        tuple(link.span_id.hex() for link in span.links),
    )


def _event(record: Any) -> RecordedEvent:
    return RecordedEvent(
        record.event_name,
        record.body.string_value,
        record.trace_id.hex(),
        record.span_id.hex(),
        _attributes(record.attributes),
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


# -- what a fake model says -------------------------------------------------------------------------------------------


def default_reply(request: dict[str, Any]) -> str | dict[str, Any]:
    """The answers of a ``FakeModel`` that was given no reply of its own."""
    messages = request["messages"]
    if request.get("tools") and not any(message["role"] == "tool" for message in messages):
        function = request["tools"][0]["function"]
        arguments = json.dumps(_instance(function["parameters"], function["parameters"]))
        call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        return {"content": None, "tool_calls": [call]}
    schema = (request.get("response_format") or {}).get("json_schema", {}).get("schema")
    if schema:
        return json.dumps(_instance(schema, schema))
    digest = hashlib.sha256(json.dumps(messages).encode()).digest()
    return _SENTENCES[digest[0] % len(_SENTENCES)]


_SENTENCES = (
    "Certainly. Here is what I can say about that.",
    "The short answer is yes, with two reservations.",
    "It depends on the weather, the season and the price of tea.",
    "There are three points worth making, and this is the first.",
    "I would rather begin with the evidence and then conclude.",
)


def completion(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """A chat completion object in answer to ``request``."""
    choices = []
    for index in range(request.get("n") or 1):
        message = _answer(request, reply)
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        choices.append({"index": index, "finish_reason": reason, "message": message})
    return {**_head(request, "chat.completion"), "choices": choices, "usage": _usage(request, choices)}


def chunks(request: dict[str, Any], reply: Reply) -> Iterator[dict[str, Any]]:
    """The chunk objects of a streamed answer to ``request``: a word each, then the usage if it was asked for."""
    head = _head(request, "chat.completion.chunk")
    message = _answer(request, reply)
    for index, word in enumerate((message["content"] or "").split(" ")):
        delta = {"role": "assistant", "content": word if index == 0 else f" {word}"}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (request.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _usage(request, [{"message": message}])}


def embeddings(request: dict[str, Any]) -> dict[str, Any]:
    """An embeddings object: eight numbers for each input, from its hash."""
    inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
    data = [
        {"object": "embedding", "index": index, "embedding": [byte / 255 for byte in _digest(text)[:8]]}
        for index, text in enumerate(inputs)
    ]
    tokens = sum(_tokens(text) for text in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": request["model"], "data": data, "usage": usage}


def _answer(request: dict[str, Any], reply: Reply) -> dict[str, Any]:
    answer = reply(request)
    message: dict[str, Any] = {"role": "assistant", "content": None}
    message.update({"content": answer} if isinstance(answer, str) else answer)
    return message


def _head(request: dict[str, Any], kind: str) -> dict[str, Any]:
    identity = _digest(json.dumps(request, sort_keys=True)).hex()[:24]
    return {"id": f"chatcmpl-{identity}", "object": kind, "created": 1_700_000_000, "model": request["model"]}


def _usage(request: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
    asked = sum(_tokens(message.get("content")) + 4 for message in request["messages"])
    answered = sum(_tokens(choice["message"]["content"]) for choice in choices)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _tokens(content: Any) -> int:
    """About four characters to a token, as the usual rule of thumb has it."""
    return -(-len(content if isinstance(content, str) else json.dumps(content or "")) // 4)


def _digest(text: Any) -> bytes:
    return hashlib.sha256(str(text).encode("utf-8", "replace")).digest()


def _instance(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The simplest value that fits a JSON schema."""
    if "$ref" in schema:
        return _instance(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema:
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    if options := schema.get("anyOf"):
        return _instance(options[0], root)
    if schema.get("type") == "object":
        return {name: _instance(part, root) for name, part in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_instance(schema["items"], root)] if "items" in schema else []
    return {"integer": 7, "number": 0.5, "boolean": True, "null": None}.get(schema.get("type", "string"), "Paris")
