"""Real chDB, in temporary folders.

A process can have one chDB path open at a time, and opens another once every client of the first is closed; so a test
module shares one store, or opens its own in turn, and always closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ell_otel.config import resolve
from ell_otel.store.client import Store, open_store


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Opens the store of a fresh ``.ell`` folder, as often as asked; whatever is open at the end is closed."""
    stores: list[Store] = []

    def open_it(purpose: str = "test", wait_s: float = 0.0, **settings: str) -> Store:
        stores.append(open_store(resolve({}, dir=str(tmp_path / ".ell"), **settings), purpose=purpose, wait_s=wait_s))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()
