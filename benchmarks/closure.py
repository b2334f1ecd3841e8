"""Times of the closure engine beside their floor and beside ell-ai and weave, in one run.

    python benchmarks/closure.py [--against /path/to/venv/bin/python]

The floor is what any engine must do that reads the files concerned: `ast.parse` and `symtable` of each. The others'
requirements do not go together with ours, so they live in an environment of their own:

    python -m venv others && others/bin/pip install "ell-ai[sqlite]==0.0.17" "weave==0.54.0"

Each contestant runs in one fresh interpreter and captures freshly written modules in every round; the rounds are
interleaved, so that a busy moment of the machine falls on all of them. Only the capture of a closure is timed, in
processor time: it reads a file or two and computes, and waits for nothing.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import itertools
import json
import statistics
import subprocess
import symtable
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = """
SOMEVAR = 3
def unused(): pass

def ask(x: int):
    "You are an expert."
    return f"Compute {SOMEVAR} + {x}"

def second(x: int): return f"Compute {x}"
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
def second(x): return h3(x) + str(D)
"""
ROUNDS = 8
OTHERS = ("ell-ai", "weave")
INSTALL = 'others/bin/pip install "ell-ai[sqlite]==0.0.17" "weave==0.54.0"'
IMPORTS = """
import importlib, json, sys, time
for name in json.loads(sys.argv[1]): importlib.import_module(name)
started = time.perf_counter()
import ell_otel
print(json.dumps([(time.perf_counter() - started) * 1e3, [n for n in sys.modules if n.startswith("opentelemetry")]]))
"""
_numbers = itertools.count()


def _chain(length: int) -> str:
    links = "".join(f"def f{i}(x):\n    return f{i + 1}(x) + 1\n" for i in range(length))
    return f"{links}def f{length}(x): return x\ndef ask(x): return f0(x)\ndef second(x): return f{length // 2}(x)\n"


def programs() -> dict[str, dict[str, str]]:
    """By name: the modules, the last of which holds the programs `ask` and `second`. `@` stands for a fresh number."""
    large = "".join(FUNCTION.format(i, i - 1 if i % 10 else i) for i in range(250))
    return {
        "small function": {"small@": SMALL},
        "ten dependencies, three modules": {"one@": ONE, "two@": TWO, "three@": THREE},
        "module of 2,000 lines": {"large@": f"{large}def ask(x): return fn249(x)\ndef second(x): return fn239(x)\n"},
        "chain of 20": {"chain@": _chain(20)},  # weave stops at 20; ell-ai's time grows with the cube: 50 take seconds
        "chain of 2,000": {"chain@": _chain(2000)},
    }


def written(directory: Path, modules: dict[str, str]) -> tuple[Any, list[str]]:
    """The modules of a program, new to this process: the last one imported, and all their texts."""
    number = str(next(_numbers))
    texts = {name.replace("@", number): text.replace("@", number) for name, text in modules.items()}
    for name, text in texts.items():
        (directory / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    return [importlib.import_module(name) for name in texts][-1], list(texts.values())


def milliseconds(action: Callable[[], object]) -> float:
    """Processor time of this thread: what else the machine does stays out of it."""
    gc.collect()
    started = time.thread_time()
    action()
    return (time.thread_time() - started) * 1e3


def capture_of(contestant: str) -> Callable[[Any], Any]:
    """How the contestant captures the lexical closure of a function."""
    if contestant == "ell-ai":
        from ell.util.closure import lexical_closure

        return lambda function: lexical_closure(function, initial_call=True, recursion_stack=[])
    if contestant == "weave":
        from weave.trace.serialization.mem_artifact import MemTraceFilesArtifact
        from weave.trace.serialization.op_type import get_code_deps_safe

        return lambda function: get_code_deps_safe(function, MemTraceFilesArtifact())
    from ell_otel.closure import capture

    return capture


def measured(contestant: str, directory: Path, modules: dict[str, str]) -> dict[str, float]:
    """One round of one contestant, in milliseconds (`is_current`: microseconds)."""
    capture = capture_of(contestant)
    module, texts = written(directory, modules)
    times = {"cold": milliseconds(lambda: capture(module.ask))}
    if contestant == "ours":
        times["floor"] = milliseconds(lambda: [(ast.parse(t), symtable.symtable(t, "x", "exec")) for t in texts])
        times["second"] = milliseconds(lambda: capture(module.second))
        closure = capture(module.ask)
        times["current"] = min(milliseconds(lambda: [closure.is_current() for _ in range(100)]) for _ in range(3)) * 10
    return times


def retained(directory: Path, modules: dict[str, str]) -> dict[str, float]:
    """What stays in memory of a capture once the process is quiet, its closure included, by the source text's size."""
    from ell_otel.closure import quiet

    quiet.QUIET_S = 0.0
    capture = capture_of("ours")
    warm, _ = written(directory, programs()["small function"])
    capture(warm.ask)
    module, texts = written(directory, modules)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    closure = capture(module.ask)
    gc.collect()  # the capture's own cycles, and the occasion to let go of trees
    gc.collect()
    stays = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {"retained": stays / sum(map(len, texts)), "closure": len(closure.text)}


def serve(contestant: str) -> None:
    """Answer each line (`round <program>`, `memory <program>`) with figures, until there are no more lines."""
    capture_of(contestant)
    with tempfile.TemporaryDirectory() as directory:
        sys.path.insert(0, directory)
        for line in sys.stdin:
            task, _, name = line.strip().partition(" ")
            modules = programs()[name]
            figures = retained(Path(directory), modules) if task == "memory" else None
            print(json.dumps(figures or measured(contestant, Path(directory), modules)), flush=True)


class Contestant:
    """One engine in an interpreter of its own."""

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        command = [python, __file__, "--serve", name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, task: str, program: str) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{task} {program}\n")
        self._process.stdin.flush()
        figures: dict[str, float] = json.loads(self._process.stdout.readline())
        return figures

    def close(self) -> None:
        self._process.communicate()


def import_cost() -> float:
    """Milliseconds `import ell_otel` takes when the parts of opentelemetry it needs are imported already."""

    def run(names: list[str]) -> tuple[float, list[str]]:
        command = [sys.executable, "-c", IMPORTS, json.dumps(names)]
        cost, loaded = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return cost, loaded

    _, needed = run([])
    return min(run(needed)[0] for _ in range(5))


def print_speed(contestants: list[Contestant], rounds: int) -> None:
    print(
        f"{'best / median':32}{'floor ms':>15}{'cold ms':>15}{'x floor':>9}{'second':>8}{'is_current us':>15}", end=""
    )
    print("".join(f"{other.name + ' ms':>19}{'x ours':>8}" for other in contestants[1:]))
    for name in programs():
        runners = contestants if name != "chain of 2,000" else contestants[:1]
        found: dict[str, list[dict[str, float]]] = {runner.name: [] for runner in runners}
        for _ in range(rounds):
            for runner in runners:
                found[runner.name].append(runner.ask("round", name))
        columns = {who: {key: [row[key] for row in rows] for key in rows[0]} for who, rows in found.items()}
        ours = columns.pop("ours")
        cold, floor = min(ours["cold"]), min(ours["floor"])
        print(f"{name:32}{both(ours['floor']):>15}{both(ours['cold']):>15}{cold / floor:9.1f}", end="")
        print(f"{min(ours['second']) / cold:8.0%}{min(ours['current']):15.2f}", end="")
        print("".join(f"{both(theirs['cold']):>19}{min(theirs['cold']) / cold:8.1f}" for theirs in columns.values()))


def both(times: list[float]) -> str:
    return f"{min(times):.2f} / {statistics.median(times):.2f}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--against", metavar="PYTHON", help="an interpreter that has ell-ai and weave installed")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--serve", choices=("ours", *OTHERS), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.serve)
        return
    contestants = [Contestant("ours", sys.executable)]
    if given.against:
        contestants += [Contestant(name, given.against) for name in OTHERS]
    else:
        print(f"Without the others. To have them beside: python -m venv others && {INSTALL}\n")
    print_speed(contestants, given.rounds)
    for contestant in contestants:
        contestant.close()
    print("\nretained memory, closure included, as a multiple of the source text")
    for name in programs():
        fresh = Contestant("ours", sys.executable)
        print(f"{name:32}{fresh.ask('memory', name)['retained']:9.1f}")
        fresh.close()
    print(f"\nimport ell_otel beyond opentelemetry's own: {import_cost():.0f} ms")


if __name__ == "__main__":
    main()
