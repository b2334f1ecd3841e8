"""From a request to the OpenAI API, and from its answer, to a span's attributes: one class for each API.

They are those of ``opentelemetry-instrumentation-genai-openai``, so that whoever reads a span cannot tell the two
apart. A test compares them call by call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ell_otel import semconv
from ell_otel.instrumentation import openai_messages as messages
from ell_otel.instrumentation.openai_parts import Plain, field, is_list, text_part
from ell_otel.telemetry.blobs import Blobs

Attributes = dict[str, Any]
Content = dict[str, list[Plain]]
"""Messages by the attribute that carries them."""

_CHAT_SETTINGS: Final = (
    ("temperature", semconv.GEN_AI_REQUEST_TEMPERATURE),
    ("top_p", semconv.GEN_AI_REQUEST_TOP_P),
    ("presence_penalty", semconv.GEN_AI_REQUEST_PRESENCE_PENALTY),
    ("frequency_penalty", semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY),
    ("seed", semconv.GEN_AI_REQUEST_SEED),
)
_RESPONSES_SETTINGS: Final = (
    ("temperature", semconv.GEN_AI_REQUEST_TEMPERATURE),
    ("top_p", semconv.GEN_AI_REQUEST_TOP_P),
)


class Chat:
    """``chat.completions.create``."""

    operation: Final = semconv.OPERATION_CHAT
    input_name: Final = "messages"

    @staticmethod
    def asked(request: dict[str, Any]) -> Attributes:
        """What the request says, without its content."""
        attributes = {name: request[key] for key, name in _CHAT_SETTINGS if key in request}
        extra = request.get("extra_body")
        extra = extra if extra is not None and isinstance(extra, Mapping) else {}
        limit = request.get("max_completion_tokens", request.get("max_tokens", extra.get("max_completion_tokens")))
        if limit is not None:
            attributes[semconv.GEN_AI_REQUEST_MAX_TOKENS] = limit
        if (stop := request.get("stop")) is not None:
            attributes[semconv.GEN_AI_REQUEST_STOP_SEQUENCES] = [stop] if isinstance(stop, str) else stop
        if isinstance(count := request.get("n"), int) and count != 1:
            attributes[semconv.GEN_AI_REQUEST_CHOICE_COUNT] = count
        if (wanted := request.get("response_format")) is not None:
            kind = wanted.get("type") if isinstance(wanted, Mapping) else wanted
            if kind is not None:
                attributes[semconv.GEN_AI_OUTPUT_TYPE] = _output_type(kind)
        tier = request.get("service_tier", extra.get("service_tier"))
        if isinstance(tier, str) and tier != "auto":
            attributes[semconv.OPENAI_REQUEST_SERVICE_TIER] = tier
        return attributes

    @staticmethod
    def asked_content(request: dict[str, Any], blobs: Blobs) -> Content:
        """What people wrote into the request."""
        return {
            semconv.GEN_AI_INPUT_MESSAGES: messages.chat_input(request.get("messages"), blobs),
            semconv.GEN_AI_TOOL_DEFINITIONS: messages.chat_tools(request.get("tools")),
        }

    @staticmethod
    def answered(answer: Any) -> Attributes:
        """What a completion says, without its content."""
        attributes: Attributes = {}
        if model := getattr(answer, "model", None):
            attributes[semconv.GEN_AI_RESPONSE_MODEL] = model
        if is_list(choices := getattr(answer, "choices", None)) and choices:
            attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(
                [getattr(each, "finish_reason", None) or "error" for each in choices]
            )
        if identity := getattr(answer, "id", None):
            attributes[semconv.GEN_AI_RESPONSE_ID] = identity
        if tier := getattr(answer, "service_tier", None):
            attributes[semconv.OPENAI_RESPONSE_SERVICE_TIER] = tier
        if fingerprint := getattr(answer, "system_fingerprint", None):
            attributes[semconv.OPENAI_RESPONSE_SYSTEM_FINGERPRINT] = fingerprint
        if usage := getattr(answer, "usage", None):
            attributes.update(chat_usage(usage))
        return attributes

    @staticmethod
    def answered_content(answer: Any, blobs: Blobs) -> Content:
        """What the model wrote."""
        choices = getattr(answer, "choices", None) or ()
        return {semconv.GEN_AI_OUTPUT_MESSAGES: messages.chat_output(choices, blobs)}

    @staticmethod
    def failure(answer: Any) -> tuple[str, str] | None:
        """A completion that came has not failed."""
        return None


class Responses:
    """``responses.create``."""

    operation: Final = semconv.OPERATION_CHAT
    input_name: Final = "input"

    @staticmethod
    def asked(request: dict[str, Any]) -> Attributes:
        """What the request says, without its content."""
        attributes: Attributes = {semconv.OPENAI_API_TYPE: semconv.OPENAI_API_TYPE_RESPONSES}
        for key, name in _RESPONSES_SETTINGS:
            if _is_number(value := request.get(key)):
                attributes[name] = float(value or 0)
        if _is_number(limit := request.get("max_output_tokens")):
            attributes[semconv.GEN_AI_REQUEST_MAX_TOKENS] = limit
        conversation = request.get("conversation")
        identity = conversation if isinstance(conversation, str) else field(conversation, "id")
        if isinstance(identity, str) and identity:
            attributes[semconv.GEN_AI_CONVERSATION_ID] = identity
        if isinstance(tier := request.get("service_tier"), str) and tier != "auto":
            attributes[semconv.OPENAI_REQUEST_SERVICE_TIER] = tier
        if isinstance(kind := field(field(request.get("text"), "format"), "type"), str):
            attributes[semconv.GEN_AI_OUTPUT_TYPE] = _output_type(kind)
        if has_compaction(request.get("input")):
            attributes[semconv.GEN_AI_CONVERSATION_COMPACTED] = True
        return attributes

    @staticmethod
    def asked_content(request: dict[str, Any], blobs: Blobs) -> Content:
        """What people wrote into the request."""
        instructions = request.get("instructions")
        return {
            semconv.GEN_AI_SYSTEM_INSTRUCTIONS: ([text_part(instructions)] if isinstance(instructions, str) else []),
            semconv.GEN_AI_INPUT_MESSAGES: messages.responses_input(request.get("input"), blobs),
            semconv.GEN_AI_TOOL_DEFINITIONS: messages.responses_tools(request.get("tools")),
        }

    @staticmethod
    def answered(answer: Any) -> Attributes:
        """What a response says, without its content."""
        if getattr(answer, "object", None) != "response":
            return {}
        named = (
            (semconv.GEN_AI_RESPONSE_MODEL, answer.model),
            (semconv.GEN_AI_RESPONSE_ID, answer.id),
            (semconv.OPENAI_RESPONSE_SERVICE_TIER, getattr(answer, "service_tier", None)),
        )
        attributes: Attributes = {name: value for name, value in named if value is not None}
        if (usage := answer.usage) is not None:
            _add_usage(attributes, usage, "input_tokens", "output_tokens")
        if reasons := _finish_reasons(answer):
            attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
        if has_compaction(answer.output):
            attributes[semconv.GEN_AI_CONVERSATION_COMPACTED] = True
        return attributes

    @staticmethod
    def answered_content(answer: Any, blobs: Blobs) -> Content:
        """What the model wrote."""
        if getattr(answer, "object", None) != "response":
            return {}
        return {semconv.GEN_AI_OUTPUT_MESSAGES: messages.responses_output(answer.output)}

    @staticmethod
    def failure(answer: Any) -> tuple[str, str] | None:
        """Type and message, where the model's side says that it has failed."""
        error = getattr(answer, "error", None)
        return None if error is None else (field(error, "code"), field(error, "message"))


class Embeddings:
    """``embeddings.create``."""

    operation: Final = semconv.OPERATION_EMBEDDINGS
    input_name: Final = ""

    @staticmethod
    def asked(request: dict[str, Any]) -> Attributes:
        """What the request says, without its content."""
        attributes: Attributes = {}
        if (dimensions := request.get("dimensions")) is not None:
            attributes[semconv.GEN_AI_EMBEDDINGS_DIMENSION_COUNT] = dimensions
        if (encoding := request.get("encoding_format")) is not None:
            attributes[semconv.GEN_AI_REQUEST_ENCODING_FORMATS] = [encoding]
        return attributes

    @staticmethod
    def asked_content(request: dict[str, Any], blobs: Blobs) -> Content:
        """No messages: what is embedded stands in ``ell.request``."""
        return {}

    @staticmethod
    def answered(answer: Any) -> Attributes:
        """What the answer says, without the vectors."""
        attributes: Attributes = {}
        if model := getattr(answer, "model", None):
            attributes[semconv.GEN_AI_RESPONSE_MODEL] = model
        if is_list(data := getattr(answer, "data", None)) and data and is_list(vector := field(data[0], "embedding")):
            attributes[semconv.GEN_AI_EMBEDDINGS_DIMENSION_COUNT] = len(vector)
        if (count := field(getattr(answer, "usage", None), "prompt_tokens")) is not None:
            attributes[semconv.GEN_AI_USAGE_INPUT_TOKENS] = count
        return attributes

    @staticmethod
    def answered_content(answer: Any, blobs: Blobs) -> Content:
        """Vectors are no content."""
        return {}

    @staticmethod
    def failure(answer: Any) -> tuple[str, str] | None:
        """An answer that came has not failed."""
        return None


Api = type[Chat] | type[Responses] | type[Embeddings]


def chat_usage(usage: Any) -> Attributes:
    """Token counts of a chat completion; what the model has not counted, or counted as none, is left out."""
    attributes: Attributes = {}
    asked, answered = _add_usage(attributes, usage, "prompt_tokens", "completion_tokens")
    for details, name in (
        (asked, semconv.GEN_AI_USAGE_AUDIO_INPUT_TOKENS),
        (answered, semconv.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS),
    ):
        if details is not None and _is_number(count := field(details, "audio_tokens")) and count > 0:
            attributes[name] = count
    return attributes


def has_compaction(items: Any) -> bool:
    """Whether a conversation was compacted on the way."""
    return is_list(items) and any(field(item, "type") == "compaction" for item in items)


def _add_usage(attributes: Attributes, usage: Any, asked: str, answered: str) -> tuple[Any, Any]:
    """Add the counts that every kind of usage has; returns the details of what was asked and of what was answered."""
    if (count := field(usage, asked)) is not None:
        attributes[semconv.GEN_AI_USAGE_INPUT_TOKENS] = count
    if (count := field(usage, answered)) is not None:
        attributes[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] = count
    if (details_asked := field(usage, f"{asked}_details")) is not None:
        if count := field(details_asked, "cached_tokens"):
            attributes[semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS] = count
        if count := field(details_asked, "cache_write_tokens") or field(details_asked, "cache_creation_input_tokens"):
            attributes[semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS] = count
    details_answered = field(usage, f"{answered}_details")
    if details_answered is not None and (count := field(details_answered, "reasoning_tokens")):
        attributes[semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS] = count
    return details_asked, details_answered


def _finish_reasons(answer: Any) -> list[str]:
    whole = messages.status_reason(answer.status, field(answer.incomplete_details, "reason"))
    reasons: list[str] = []
    if answer.status not in ("failed", "cancelled", "incomplete", "queued", "in_progress"):
        for item in answer.output if is_list(answer.output) else ():
            if messages.is_finished_call(item):
                reasons.append("tool_calls")
            elif field(item, "type") == "message" and (reason := messages.status_reason(field(item, "status"))):
                reasons.append(reason)
    return list(dict.fromkeys(reasons)) or ([whole] if whole else [])


def _output_type(kind: str) -> str:
    return semconv.OUTPUT_TYPE_JSON if kind in {"json_object", "json_schema"} else kind


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
