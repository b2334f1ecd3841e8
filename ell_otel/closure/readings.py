"""Which objects of installed classes a closure reads, and on which it only puts something.

A route of a web application, a command of a group, a tool of a server: what else is put on the same object is none of
theirs, as long as nobody asks the object for it.
"""

from __future__ import annotations

import sys

from ell_otel.closure.meanings import is_code
from ell_otel.closure.spaces import MISSING, Slot, Spaces


class Readings:
    """The objects read, and those only changed, as far as a closure has been followed."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._read: set[Slot] = set()
        self._changed: set[Slot] = set()

    def note(self, slot: Slot, changing: bool) -> bool:
        """Note a use of an object; whether it is the first reading of one that was only changed before."""
        if changing and slot not in self._read and self._is_of_installed_class(slot):
            self._changed.add(slot)
            return False
        self._read.add(slot)
        late = slot in self._changed
        self._changed.discard(slot)
        return late

    def only_changes(self, slot: Slot) -> bool:
        """Whether the closure, as far as it has been followed, changes the object and never reads it."""
        return slot in self._changed

    def _is_of_installed_class(self, slot: Slot) -> bool:
        """Python's own are not meant: what a dict or a `SimpleNamespace` does is what the user has put there."""
        live = slot.space.live(slot.name)
        if live is MISSING or is_code(live):
            return False
        module = str(getattr(type(live), "__module__", ""))
        return module.partition(".")[0] not in sys.stdlib_module_names and self._spaces.of_module(module) is None
