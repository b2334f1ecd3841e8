"""What a decorated call costs beyond the bare one: `python benchmarks/overhead.py`.

Microseconds, median over interleaved rounds, wall and CPU, in one process:

* ``span``: a bare SDK span with 15 attributes and no exporter, the floor that any OpenTelemetry producer pays;
* ``program``: ``@ell.program`` with arguments and result, appended to the spool;
* ``program, no content``: the same without arguments and result.

And the time that importing takes, each in a fresh interpreter, beside OpenTelemetry's own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from opentelemetry.sdk.trace import TracerProvider

import ell_otel as ell
from ell_otel.telemetry import providers

ROUNDS = 60
CALLS = 50
PROMPT = "Summarise this in one sentence: " + "lorem ipsum dolor sit amet " * 40


def bare(text: str) -> str:
    return text + "!"


def spanned(text: str) -> str:
    span = _tracer.start_span("floor")
    for number in range(15):
        span.set_attribute(f"attribute.{number}", "value")
    span.end()
    return text + "!"


@ell.program
def program(text: str) -> str:
    return text + "!"


_tracer = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")


def timed(function: Callable[[str], str]) -> tuple[float, float]:
    """Microseconds per call, wall and CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(CALLS):
        function(PROMPT)
    return (time.perf_counter() - wall) / CALLS * 1e6, (time.process_time() - cpu) / CALLS * 1e6


def measure() -> None:
    """Print the table of calls."""
    contestants: dict[str, tuple[Callable[[str], str], bool]] = {
        "bare": (bare, True),
        "span": (spanned, True),
        "program": (program, True),
        "program, no content": (program, False),
    }
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as folder:
        for content in (True, False):
            ell.init(dir=folder, content=content)
            for _ in range(ROUNDS):
                for name, (function, wants_content) in contestants.items():
                    if content == wants_content:
                        samples[name].append(timed(function))
        providers.reset()
    base = [statistics.median(column) for column in zip(*samples["bare"], strict=True)]
    floor = statistics.median(wall for wall, _ in samples["span"]) - base[0]
    print(f"{'':24}{'wall us':>10}{'cpu us':>10}{'x floor':>10}")
    for name in list(contestants)[1:]:
        wall, cpu = (statistics.median(column) for column in zip(*samples[name], strict=True))
        print(f"{name:24}{wall - base[0]:10.1f}{cpu - base[1]:10.1f}{(wall - base[0]) / floor:10.2f}")


def imports() -> None:
    """Print the time of each import, the best of five fresh interpreters."""
    for statement in (
        "pass",
        "import opentelemetry.sdk.trace, opentelemetry.sdk._logs",
        "import ell_otel",
        "import ell_otel; ell_otel.program",
    ):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            times.append(time.perf_counter() - started)
        print(f"{min(times) * 1e3:8.0f} ms  python -c {statement!r}")


if __name__ == "__main__":
    measure()
    imports()
