"""Large parts by digest: kept once, in a folder or where a URL says, and never in the way of the call."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import logging
import os
import sys
import threading
from pathlib import Path

import pytest

from ell_otel.telemetry import guard
from ell_otel.telemetry.blobs import MAX_REMEMBERED, Blobs

IMAGE = b"\x89PNG" * 4096
NAME = hashlib.sha256(IMAGE).hexdigest()


def test_a_blob_is_kept_once_in_a_folder_private_to_its_owner(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "blobs"))
    assert blobs.keep(IMAGE) == blobs.keep(IMAGE) == f"sha256:{NAME}"
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == [NAME]
    assert (tmp_path / "blobs" / NAME).read_bytes() == IMAGE
    assert (tmp_path / "blobs").stat().st_mode & 0o077 == 0


def test_base64_is_known_again_by_its_text_and_by_no_other(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    text = base64.b64encode(IMAGE).decode()
    for said in (text, f"data:image/png;base64,{text}"):
        assert blobs.name_of(said) == blobs.name_of(said) == f"sha256:{NAME}"
    other = text[:-4] + "AAAA"
    assert blobs.name_of(other) == f"sha256:{hashlib.sha256(base64.b64decode(other)).hexdigest()}"
    for said in ("words " * 2000, "data:image/png;base64,%%", f"data:image/png,{text}", text[:400], text + "\n"):
        assert blobs.name_of(said) is None


def test_no_more_texts_are_remembered_than_there_is_room_for() -> None:
    blobs = Blobs("")
    for number in range(MAX_REMEMBERED + 10):
        assert blobs.name_of(base64.b64encode(IMAGE + number.to_bytes(2, "big")).decode())
    assert len(blobs._names) == MAX_REMEMBERED


def test_an_image_that_could_not_be_kept_is_kept_when_it_comes_again(tmp_path: Path) -> None:
    guard.raise_faults(False)
    (tmp_path / "blobs").write_text("in the way")
    blobs = Blobs(str(tmp_path / "blobs"))
    text = base64.b64encode(IMAGE).decode()
    assert blobs.name_of(text) == f"sha256:{NAME}"
    (tmp_path / "blobs").unlink()
    assert blobs.name_of(text) == f"sha256:{NAME}"
    assert (tmp_path / "blobs" / NAME).read_bytes() == IMAGE


def test_without_a_place_only_the_digest_is_kept() -> None:
    assert Blobs("").keep(IMAGE) == f"sha256:{NAME}"


def test_a_url_is_written_to_by_fsspec_or_the_command_that_installs_it_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard.raise_faults(False)
    blobs = Blobs(f"file://{tmp_path}")
    with caplog.at_level(logging.WARNING):
        assert blobs.keep(IMAGE) == f"sha256:{NAME}"
        assert blobs.flush()
    if importlib.util.find_spec("fsspec"):
        assert (tmp_path / NAME).read_bytes() == IMAGE
    else:
        assert "pip install fsspec" in caplog.text


def test_a_place_that_is_slow_does_not_hold_up_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow:
        """In the place of fsspec: a file system that answers when it is told to."""

        def open(self, url: str, mode: str) -> object:
            asked.set()
            answer.wait()
            return (tmp_path / url.rpartition("/")[2]).open("wb")

    monkeypatch.setitem(sys.modules, "fsspec", Slow())
    blobs = Blobs("slow://bucket")
    assert blobs.keep(IMAGE) == f"sha256:{NAME}"
    assert asked.wait(10)
    assert not blobs.flush(0.01)
    answer.set()
    assert blobs.flush()
    assert (tmp_path / NAME).read_bytes() == IMAGE


def test_a_forked_child_sends_what_it_meets_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Folder:
        """In the place of fsspec: URLs are of files in a folder."""

        def open(self, url: str, mode: str) -> object:
            return (tmp_path / url.rpartition("/")[2]).open("wb")

    monkeypatch.setitem(sys.modules, "fsspec", Folder())
    blobs = Blobs("any://bucket")
    blobs.keep(IMAGE)
    assert blobs.flush()  # its thread runs from now on, in this process
    child = os.fork()
    if not child:
        blobs.keep(IMAGE[1:])
        os._exit(0 if blobs.flush() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / hashlib.sha256(IMAGE[1:]).hexdigest()).read_bytes() == IMAGE[1:]
