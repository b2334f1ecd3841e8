"""Times of the closure engine beside their floor: `python benchmarks/closure.py`.

The floor is what any engine must do: `ast.parse` and `symtable` of the files concerned. Each figure is the best
of several captures of freshly written modules, in milliseconds.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import symtable
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ell_otel.closure import capture

SMALL = """
SOMEVAR = 3
def unused(): pass

def ask(x: int):
    "You are an expert."
    return f"Compute {SOMEVAR} + {x}"
"""
FUNCTION = """
def fn{0}(x, y=3):
    "Doc {0}."
    z = [a for a in range(x) if a]
    if z:
        return str(z) + CONST{0}
    return fn{1}(x)
CONST{0} = "c{0}"
"""
ONE = "A = 1\nB = 'x'\ndef h1(x): return x + str(A)\ndef h2(x): return h1(x) + B\n"
TWO = "from one@ import h1\nC = 3\nclass K:\n    def m(self, x): return h1(x) * C\n"
THREE = """
from one@ import h2
from two@ import K
import one@
D = [1]
def h3(x): return h2(x)
def ask(x): return K().m(x) + h3(x) + one@.B + str(D)
"""
_numbers = itertools.count()


def programs() -> dict[str, tuple[dict[str, str], str]]:
    """By name: the modules, the last of which holds the target, and the target. `@` stands for a fresh number."""
    large = "".join(FUNCTION.format(i, i - 1 if i % 10 else i) for i in range(250)) + "def ask(x): return fn249(x)\n"
    chain = "".join(f"def f{i}(x):\n    return f{i + 1}(x) + 1\n" for i in range(2000)) + "def f2000(x): return x\n"
    three = {"one@": ONE, "two@": TWO, "three@": THREE}
    return {
        "small function": ({"small@": SMALL}, "ask"),
        "ten dependencies, three modules": (three, "ask"),
        "module of 2,000 lines": ({"large@": large}, "ask"),
        "chain of 2,000": ({"chain@": chain}, "f0"),
    }


def milliseconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1e3


def measure(directory: Path, modules: dict[str, str], target: str) -> tuple[float, float, float, float]:
    """Floor, cold capture, the same again, and `is_current` in microseconds."""
    number = str(next(_numbers))
    texts = {name.replace("@", number): text.replace("@", number) for name, text in modules.items()}
    for name, text in texts.items():
        (directory / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    module = [importlib.import_module(name) for name in texts][-1]
    floor = milliseconds(lambda: [(ast.parse(t), symtable.symtable(t, "x", "exec")) for t in texts.values()])
    cold = milliseconds(lambda: capture(getattr(module, target)))
    again = milliseconds(lambda: capture(getattr(module, target)))
    closure = capture(getattr(module, target))
    current = milliseconds(lambda: [closure.is_current() for _ in range(100)]) * 10
    return floor, cold, again, current


def main() -> None:
    print(f"{'':34}{'floor ms':>10}{'cold ms':>10}{'again ms':>10}{'is_current us':>15}")
    with tempfile.TemporaryDirectory() as directory:
        sys.path.insert(0, directory)
        for name, (modules, target) in programs().items():
            rounds = [measure(Path(directory), modules, target) for _ in range(8)]
            best = [min(column) for column in zip(*rounds, strict=True)]
            print(f"{name:34}{best[0]:10.2f}{best[1]:10.2f}{best[2]:10.2f}{best[3]:15.2f}")


if __name__ == "__main__":
    main()
