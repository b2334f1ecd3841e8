"""A library's stream that tells of its call when it is read to its end: litellm's, by a stand-in of its shape."""

from __future__ import annotations

import contextvars
import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ell_otel as ell

HANDLER = """
import asyncio

class CustomStreamWrapper:
    def __init__(self, waits): self.waits = waits
    def __next__(self): raise StopIteration
    async def __anext__(self):
        if self.waits:
            await asyncio.Future(loop=self.waits)
        raise StopAsyncIteration
"""


@pytest.fixture
def stream_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("litellm", "litellm/litellm_core_utils"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("def completion(): ...\n")
    (tmp_path / "litellm/litellm_core_utils/streaming_handler.py").write_text(HANDLER)
    monkeypatch.syspath_prepend(tmp_path)
    ell.instrument()
    yield importlib.import_module("litellm.litellm_core_utils.streaming_handler").CustomStreamWrapper
    ell.uninstrument()
    for name in [name for name in sys.modules if name.partition(".")[0] == "litellm"]:
        del sys.modules[name]


def test_one_that_is_dropped_halfway_and_ends_in_another_context_says_nothing(
    stream_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    import asyncio

    loop = asyncio.new_event_loop()
    reading = stream_class(loop).__anext__()
    with caplog.at_level(logging.DEBUG, "opentelemetry"):
        contextvars.copy_context().run(reading.send, None)
        reading.close()
    loop.close()
    assert caplog.records == []


def test_its_end_is_the_readers(stream_class: Any) -> None:
    assert list(iter(stream_class(None).__next__, object())) == []
    with pytest.raises(StopAsyncIteration):
        stream_class(None).__anext__().send(None)
