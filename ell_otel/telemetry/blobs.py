"""Large parts of a request, images and sound and files, kept by digest beside the telemetry and never in it.

A blob's name is the SHA-256 of its bytes, so the same image is kept once however often it is sent. In the ``.ell``
folder it is written where it is met first; towards an fsspec URL a thread of ours does it, for that may take long.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import queue
import re
import threading
import weakref
from pathlib import Path
from typing import Any, Final

from ell_otel.errors import ExportError
from ell_otel.telemetry.guard import guarded, tell

LARGE: Final = 4096
"""A part of more bytes than this goes into a blob."""

MAX_WAITING: Final = 64
MAX_REMEMBERED: Final = 256
SCHEME: Final = "sha256:"
BLOBS_NAME: Final = "blobs"
_LARGE_STRING: Final = re.compile(rf'"(?:data:[^",\\]{{0,100}},)?[A-Za-z0-9+/]{{{LARGE * 4 // 3}}}')


def head_of(text: str) -> str:
    """What stands before the base64 in a data URL; nothing in base64 alone."""
    if not text.startswith("data:"):
        return ""
    head = text[: text.find(",") + 1]
    return head if head.endswith(";base64,") else ""


class Blobs:
    """A place for blobs: a folder, or the URL of one that fsspec knows. Empty: none, only their digests are kept."""

    def __init__(self, place: str) -> None:
        self._place = place.rstrip("/")
        self._remote = "://" in place
        self._known: set[str] = set()
        self._names: dict[tuple[int, int], str] = {}  # by a text's hash and length; the text may go
        self.begin_sending()
        _all.add(self)

    def begin_sending(self) -> None:
        """With nothing on its way: a forked child has no thread of its parent's, who sends what was on its way."""
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue(MAX_WAITING)
        self._done = threading.Condition()
        self._unfinished = 0
        self._thread: threading.Thread | None = None

    def keep(self, data: bytes) -> str:
        """Keep ``data``; its name, ``sha256:…``. What cannot be kept is told, and has a name all the same."""
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._known and self._place:
            self._known.add(digest)
            with guarded("keeping a large part of a request"):
                if self._remote:
                    self._hand_over(digest, data)
                else:
                    self._write(Path(self._place), digest, data)
        return SCHEME + digest

    def name_of(self, text: str) -> str | None:
        """The name of the bytes that ``text``, base64 or a data URL of it, says exactly, once they are kept.

        None where they are few, or ``text`` says none. What comes again, such as an image with each turn of a
        conversation, is known by the hash of its text, which Python takes once for each string; so it is neither
        decoded nor hashed again.
        """
        if len(text) <= LARGE:
            return None
        key = (hash(text), len(text))
        name = self._names.get(key)
        if name is not None and (not self._place or name.removeprefix(SCHEME) in self._known):
            return name
        payload = text[len(head_of(text)) :]
        if " " in payload[:LARGE]:
            return None  # prose
        try:
            data = base64.b64decode(payload, validate=True)
        except ValueError:
            return None
        if len(data) <= LARGE:
            return None
        while len(self._names) >= MAX_REMEMBERED:
            self._names.pop(next(iter(self._names), key), None)
        name = self._names[key] = self.keep(data)
        return name

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait for what is on its way. True when nothing is left."""
        if not self._unfinished:
            return True
        with self._done:
            return self._done.wait_for(lambda: not self._unfinished, timeout_s)

    def _write(self, folder: Path, digest: str, data: bytes) -> None:
        path = folder / digest
        if path.exists():
            return
        fresh = folder / f".{digest}-{os.getpid()}-{threading.get_ident()}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_bytes(data)
            os.replace(fresh, path)
        except OSError as error:
            self._known.discard(digest)
            raise ExportError(f"cannot write to {folder}: {error.strerror}. Set ELL_OTEL_BLOBS to a folder") from error

    def _hand_over(self, digest: str, data: bytes) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._upload, name="ell-otel-blobs", daemon=True)
            self._thread.start()
        try:
            self._count(1)
            self._waiting.put_nowait((digest, data))
        except queue.Full:
            self._count(-1)
            self._known.discard(digest)
            tell("blobs", f"{self._place} takes blobs slower than they come; some are not kept")

    def _upload(self) -> None:
        while True:
            digest, data = self._waiting.get()
            try:
                with _fsspec().open(f"{self._place}/{digest}", "wb") as file:
                    file.write(data)
            except Exception as error:  # whatever the file system behind the URL raises
                self._known.discard(digest)
                tell("blobs", f"cannot write to {self._place}: {error}. Set ELL_OTEL_BLOBS to another place")
            finally:
                self._count(-1)

    def _count(self, more: int) -> None:
        with self._done:
            self._unfinished += more
            self._done.notify_all()


_all: weakref.WeakSet[Blobs] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for blobs in list(_all):
        blobs.begin_sending()


os.register_at_fork(after_in_child=_after_fork_in_child)


def in_place_of(text: str, blobs: Blobs) -> Any:
    """What stands for large base64 in a request or a message; ``text`` itself where that is none."""
    name = blobs.name_of(text)
    return text if name is None else {"$blob": name, "prefix": head_of(text)}


def by_digest(text: str, blobs: Blobs) -> str:
    """Messages, JSON text as any library records them, with blobs in the place of large base64."""
    if len(text) <= LARGE or not _LARGE_STRING.search(text):
        return text
    try:
        return json.dumps(_by_digest(json.loads(text), blobs), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text


def _by_digest(value: Any, blobs: Blobs) -> Any:
    if isinstance(value, str):
        return in_place_of(value, blobs)
    if isinstance(value, list):
        return [_by_digest(item, blobs) for item in value]
    if isinstance(value, dict):
        content = value.get("content") if value.get("type") == "blob" else None
        if isinstance(content, str) and (name := blobs.name_of(content)) is not None:
            return {**{key: item for key, item in value.items() if key != "content"}, "uri": name, "type": "uri"}
        return {key: _by_digest(item, blobs) for key, item in value.items()}
    return value


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise ExportError("a URL for blobs needs fsspec: pip install fsspec") from None
    return fsspec
