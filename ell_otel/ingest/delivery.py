"""The thread that moves what was accepted on to the sink, for as long as the server runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ell_otel.errors import EllOtelError
from ell_otel.ingest.counters import Counters
from ell_otel.ingest.drain import ENOUGH_BYTES, drain
from ell_otel.ingest.log import Clock
from ell_otel.ingest.sink import Sink, Taken
from ell_otel.telemetry.segments import Frame

_LOOK_S: Final = 0.5  # other processes append to the spool without telling us
_GATHER_S: Final = 0.2  # what comes so soon after the first, if it is not much, goes with it: an insert costs 50 ms
_RETRY_S: Final = 0.5
_RETRY_MOST_S: Final = 30.0


class Delivery:
    """Drains ``folders`` of the ``.ell`` folder ``directory`` into ``sink``: when woken, and twice a second.

    A sink that fails is tried again with growing pauses, no two servers in step; the frames stay meanwhile.
    """

    def __init__(
        self,
        directory: Path,
        folders: Sequence[str],
        sink: Sink,
        counters: Counters,
        narrate: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._folders = folders
        self._sink = _Counted(sink, counters)
        self._counters = counters
        self._narrate = narrate
        self._said: set[str] = set()
        self._failures = 0
        self._clock = Clock()
        self._woken = threading.Event()
        self._enough = threading.Event()
        self._waiting = 0  # bytes, about: threads add to it without a lock
        self._ending = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ell-otel delivery", daemon=True)
        counters.lag_s = self._clock.lag_s

    def wake(self, size: int) -> None:
        """Something of ``size`` bytes has been appended."""
        self._clock.arrive()
        self._waiting += size
        if self._waiting >= ENOUGH_BYTES:
            self._enough.set()
        self._woken.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Deliver what there is, for at most ``timeout_s`` seconds. The rest stays for the next start."""
        self._ending.set()
        self._woken.set()
        self._enough.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s * 0.7)
            self._leave.set()  # after the delivery that is under way
            self._thread.join(timeout_s * 0.3)

    def turn(self) -> bool:
        """Drain once. An error is told, not raised: the frames stay, and the next turn tries again."""
        self._clock.take()
        try:
            for folder in self._folders:
                self._drain(folder)
        except (EllOtelError, OSError) as error:
            self._failures += 1
            self._say(f"what was accepted could not be delivered to {self._sink.name}, and waits: {error}")
            return False
        self._clock.deliver()
        self._failures = 0
        self._said.clear()
        return True

    def _drain(self, folder: str) -> None:
        drained = drain(self._directory, self._sink, folder=folder, ending=self._leave.is_set)
        self._counters.add("damaged_frames", drained.damaged + len(drained.quarantined))
        if drained.damaged or drained.quarantined:
            self._narrate(str(drained))

    def _run(self) -> None:
        while not self._ending.is_set():
            if self._failures:
                self._ending.wait(pause_s(self._failures))
            elif self._woken.wait(_LOOK_S):
                self._enough.wait(_GATHER_S)
            self._woken.clear()
            self._waiting = 0
            self._enough.clear()
            self.turn()
        if not self._failures:
            self.turn()  # what came during the last one

    def _say(self, sentence: str) -> None:
        """Once per trouble, not at each turn; a line that fails now in one way and now in another tells each once."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._narrate(sentence)


class _Counted:
    """A sink whose deliveries are counted one by one, those before a failure too."""

    def __init__(self, sink: Sink, counters: Counters) -> None:
        self.name = sink.name
        self._sink = sink
        self._counters = counters

    def put(self, frames: Sequence[Frame]) -> Taken:
        taken = self._sink.put(frames)
        self._counters.add("stored_spans", taken.spans)
        self._counters.add("stored_records", taken.records)
        return taken


def pause_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling up to a bound, between half of it and all."""
    most = min(_RETRY_MOST_S, _RETRY_S * float(1 << min(failures - 1, 10)))
    return most * random.uniform(0.5, 1.0)  # noqa: S311 - only to keep servers out of step
