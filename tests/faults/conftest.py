"""The helpers of these tests (``oracle``, ``victims``) stand beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def nobody_is_left_behind() -> Iterator[None]:
    """A test that fails half way leaves no server and no senders, which would slow the tests after it."""
    from victims import endings

    shared = len(endings)  # those of the module's fixtures, which came before
    yield
    while len(endings) > shared:
        endings.pop()()
