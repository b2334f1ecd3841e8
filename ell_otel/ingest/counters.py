"""What the collector has done since it started, in one place, in Prometheus' text format."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

_MEANING: Final = {
    "accepted_spans": "Spans acknowledged to their senders: durable in the log.",
    "accepted_records": "Log records acknowledged to their senders: durable in the log.",
    "rejected_items": "Spans and log records of accepted requests that could never be stored, told as partial success.",
    "stored_spans": "Spans written to the store, or taken over by the next collector.",
    "stored_records": "Log records written to the store, or taken over by the next collector.",
    "refused_requests": "Requests answered with an error, by reason.",
    "not_stored_data_points": "Metric data points received; metrics are not stored.",
    "damaged_frames": "Stretches of the spool that could not be read, and frames put aside as no OTLP.",
}


class Counters:
    """Thread-safe. Every name counted must have a meaning above."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Counter[tuple[str, str]] = Counter()
        self.lag_s: Callable[[], float] = lambda: 0.0  # delivery puts its own clock here

    def add(self, name: str, count: int = 1, *, reason: str = "") -> None:
        if name not in _MEANING:
            raise KeyError(name)
        with self._lock:
            self._values[name, reason] += count

    def value(self, name: str, reason: str | None = None) -> int:
        """The count of one reason, or of all of them."""
        with self._lock:
            return sum(n for (key, why), n in self._values.items() if key == name and reason in (None, why))

    def prometheus(self) -> str:
        with self._lock:
            values = dict(self._values)
        lines = []
        for name, meaning in _MEANING.items():
            metric = f"ell_otel_{name}_total"
            lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} counter"]
            rows = sorted((why, n) for (key, why), n in values.items() if key == name) or [("", 0)]
            lines += [f'{metric}{{reason="{why}"}} {n}' if why else f"{metric} {n}" for why, n in rows]
        lines += [
            "# HELP ell_otel_lag_seconds Age of the oldest acknowledged request that is not yet delivered.",
            "# TYPE ell_otel_lag_seconds gauge",
            f"ell_otel_lag_seconds {self.lag_s():.3f}",
        ]
        return "\n".join(lines) + "\n"
