"""The parts of a message that the OpenAI API takes or gives: text, images, sound, files.

Large ones go among the blobs, and their name into the message.
"""

from __future__ import annotations

import base64
import functools
import mimetypes
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ell_otel.telemetry.blobs import LARGE, Blobs
from ell_otel.telemetry.messages import plain_text

Plain = dict[str, Any]

_AUDIO_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def field(value: Any, name: str) -> Any:
    """A dict's item or an object's attribute, a text plain; None where there is none."""
    if type(value) is dict:  # nearly always; asking for the abstract class takes longer
        found = value.get(name)
    elif value is None:
        return None
    else:
        found = _reader(type(value))(value, name)  # type: ignore[arg-type]
    return plain_text(found) if isinstance(found, str) else found


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
    if type(value) is list or value is None:  # nearly always; as in `field`
        return value is not None
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def text_part(text: str) -> Plain:
    """A part of plain text."""
    return {"content": plain_text(text), "type": "text"}


def content_parts(content: Any, blobs: Blobs) -> list[Plain]:
    """A message's content, a text or a list of parts."""
    if isinstance(content, str):
        return [text_part(content)]
    if not is_list(content):
        return []
    return [part for item in content if (part := _part(item, blobs)) is not None]


def _part(item: Any, blobs: Blobs) -> Plain | None:
    if isinstance(item, str):
        return text_part(item)
    kind, text = field(item, "type"), field(item, "text")
    if kind in {"text", "input_text", "output_text", None}:
        return text_part(text) if isinstance(text, str) else None
    if kind == "refusal":
        refusal = field(item, "refusal")
        return text_part(refusal) if isinstance(refusal, str) else None
    if kind == "input_audio":
        return _audio(field(item, "input_audio"), blobs)
    if kind in {"file", "input_file"}:
        return _file(field(item, "file") or item, blobs)
    return _image(item, blobs) if kind in {"image_url", "input_image"} else None


def _audio(audio: Any, blobs: Blobs) -> Plain | None:
    return _from_base64(field(audio, "data"), _AUDIO_TYPES.get(field(audio, "format")), "audio", blobs)


def _file(file: Any, blobs: Blobs) -> Plain | None:
    filename, file_id, data = field(file, "filename"), field(file, "file_id"), field(file, "file_data")
    mime_type = mimetypes.guess_type(filename)[0] if isinstance(filename, str) and filename else None
    if isinstance(file_id, str) and file_id:
        return {"mime_type": mime_type, "modality": "document", "file_id": file_id, "type": "file"}
    if not isinstance(data, str) or not data:
        return None
    if data.startswith("data:"):
        return _from_url(data, "document", blobs)
    return _from_base64(data, mime_type, "document", blobs)


def _image(item: Any, blobs: Blobs) -> Plain | None:
    url, file_id = field(item, "image_url"), field(item, "file_id")
    url = url if isinstance(url, str) else field(url, "url")
    if isinstance(url, str) and url:
        return _from_url(url, "image", blobs)
    if field(item, "type") == "input_image" and isinstance(file_id, str) and file_id:
        return {"mime_type": None, "modality": "image", "file_id": file_id, "type": "file"}
    return None


def _from_url(url: str, modality: str, blobs: Blobs) -> Plain | None:
    if not url.startswith("data:"):
        return _reference(None, modality, url)
    comma = url.find(",")
    head = url[5 : comma if comma >= 0 else None]
    mime_type = head.split(";", 1)[0] or None
    if ";base64" in head.lower():
        return _from_base64(url, mime_type, modality, blobs)
    return _blob(mime_type, modality, urllib.parse.unquote_to_bytes(url.partition(",")[2]), blobs)


def _from_base64(text: Any, mime_type: str | None, modality: str, blobs: Blobs) -> Plain | None:
    """What ``text``, base64 or a data URL of it, says; nothing where it is neither: garbage is worse than nothing."""
    if not isinstance(text, str):
        return None
    if (name := blobs.name_of(text)) is not None:
        return _reference(mime_type, modality, name)
    try:
        payload = text[text.index(",") + 1 :] if text.startswith("data:") else text
        data = base64.b64decode("".join(payload.split()), validate=True)
    except ValueError:
        return None
    return _blob(mime_type, modality, data, blobs)


def _reference(mime_type: str | None, modality: str, uri: str) -> Plain:
    return {"mime_type": mime_type, "modality": modality, "uri": uri, "type": "uri"}


def _blob(mime_type: str | None, modality: str, data: bytes, blobs: Blobs) -> Plain:
    """Bytes in the message where they are few, else the name that they are kept under."""
    if len(data) > LARGE:
        return _reference(mime_type, modality, blobs.keep(data))
    encoded = base64.b64encode(data).decode("ascii")
    return {"mime_type": mime_type, "modality": modality, "content": encoded, "type": "blob"}
