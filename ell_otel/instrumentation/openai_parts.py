"""The parts of a message that the OpenAI API takes or gives: text, images, sound, files.

Large ones are given to ``keep``, which returns the name they are kept under.
"""

from __future__ import annotations

import base64
import functools
import mimetypes
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ell_otel.telemetry.blobs import LARGE

Keep = Callable[[bytes], str]
Plain = dict[str, Any]

_AUDIO_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def field(value: Any, name: str) -> Any:
    """A dict's item or an object's attribute; None where there is none."""
    if type(value) is dict:  # nearly always; asking for the abstract class takes longer
        return value.get(name)
    return None if value is None else _reader(type(value))(value, name)


@functools.lru_cache(maxsize=512)
def _reader(kind: type) -> Callable[[Any, str], Any]:
    """How the fields of this class's objects are read."""
    if issubclass(kind, Mapping):
        return kind.get
    return _of_model if hasattr(kind, "model_fields") else _of_object


def _of_model(model: Any, name: str) -> Any:
    """As ``_of_object``, which of a pydantic model takes thirty times as long to find that there is none."""
    fields = vars(model)
    return fields[name] if name in fields else (getattr(model, "__pydantic_extra__", None) or {}).get(name)


def _of_object(value: Any, name: str) -> Any:
    return getattr(value, name, None)


def is_list(value: Any) -> bool:
    """Whether ``value`` can be read more than once, item by item, and is no text."""
    return type(value) is list or (isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)))


def text_part(text: str) -> Plain:
    """A part of plain text."""
    return {"content": text, "type": "text"}


def content_parts(content: Any, keep: Keep) -> list[Plain]:
    """A message's content, a text or a list of parts."""
    if isinstance(content, str):
        return [text_part(content)]
    if not is_list(content):
        return []
    return [part for item in content if (part := _part(item, keep)) is not None]


def _part(item: Any, keep: Keep) -> Plain | None:
    if isinstance(item, str):
        return text_part(item)
    kind, text = field(item, "type"), field(item, "text")
    if kind in {"text", "input_text", "output_text", None}:
        return text_part(text) if isinstance(text, str) else None
    if kind == "refusal":
        refusal = field(item, "refusal")
        return text_part(refusal) if isinstance(refusal, str) else None
    if kind == "input_audio":
        return _audio(field(item, "input_audio"), keep)
    if kind in {"file", "input_file"}:
        return _file(field(item, "file") or item, keep)
    return _image(item, keep) if kind in {"image_url", "input_image"} else None


def _audio(audio: Any, keep: Keep) -> Plain | None:
    data = _decoded(field(audio, "data"))
    return None if data is None else _blob(_AUDIO_TYPES.get(field(audio, "format")), "audio", data, keep)


def _file(file: Any, keep: Keep) -> Plain | None:
    filename, file_id, data = field(file, "filename"), field(file, "file_id"), field(file, "file_data")
    mime_type = mimetypes.guess_type(filename)[0] if isinstance(filename, str) and filename else None
    if isinstance(file_id, str) and file_id:
        return {"mime_type": mime_type, "modality": "document", "file_id": file_id, "type": "file"}
    if not isinstance(data, str) or not data:
        return None
    if data.startswith("data:"):
        return _from_url(data, "document", keep)
    decoded = _decoded(data)
    return None if decoded is None else _blob(mime_type, "document", decoded, keep)


def _image(item: Any, keep: Keep) -> Plain | None:
    url, file_id = field(item, "image_url"), field(item, "file_id")
    url = url if isinstance(url, str) else field(url, "url")
    if isinstance(url, str) and url:
        return _from_url(url, "image", keep)
    if field(item, "type") == "input_image" and isinstance(file_id, str) and file_id:
        return {"mime_type": None, "modality": "image", "file_id": file_id, "type": "file"}
    return None


def _from_url(url: str, modality: str, keep: Keep) -> Plain | None:
    if not url.startswith("data:"):
        return {"mime_type": None, "modality": modality, "uri": url, "type": "uri"}
    head, _, payload = url[5:].partition(",")
    encoded = ";base64" in head.lower()
    data = _decoded(payload) if encoded else urllib.parse.unquote_to_bytes(payload)
    return None if data is None else _blob(head.split(";", 1)[0] or None, modality, data, keep)


def _blob(mime_type: str | None, modality: str, data: bytes, keep: Keep) -> Plain:
    """Bytes in the message where they are few, else the name that they are kept under."""
    if len(data) > LARGE:
        return {"mime_type": mime_type, "modality": modality, "uri": keep(data), "type": "uri"}
    encoded = base64.b64encode(data).decode("ascii")
    return {"mime_type": mime_type, "modality": modality, "content": encoded, "type": "blob"}


def _decoded(data: Any) -> bytes | None:
    """The bytes of base64 text, or None for what is none: garbage is worse than nothing."""
    try:
        return base64.b64decode("".join(data.split()), validate=True) if isinstance(data, str) else None
    except ValueError:
        return None
