"""How fast the product's questions are answered over many invocations: `python benchmarks/queries.py --count 1000000`.

The store is made by ``corpus`` (its head says what is in it) with what it takes of merging left to the engine, as in
life; ``--store`` names a folder to keep it in, and what is there already is used. Every question is put through the
product's own functions, seven times, each time about another program, trace or word, so that no cache of answers
helps; the files are in the page cache. Wall is best and median, CPU the process's, both in milliseconds.

``--against PYTHON`` is an interpreter that has ell-ai (`pip install 'ell-ai[sqlite]==0.0.17'`): it records a thousand
of the same invocations into its SQLite store, and the bytes of each are set side by side.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

from corpus import RARE, load

from ell_otel.config import resolve
from ell_otel.store import queries
from ell_otel.store.client import Store, open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.queries import InvocationFilter

TURNS = 7
SHARED = 1_000  # invocations recorded by the rival as well
Ask = Callable[[int], object]


def questions(store: Store) -> dict[str, tuple[str, Ask]]:
    """Each with its bar, and what asks it for the n-th time."""
    programs = [each.name for each in queries.programs(store)]
    newest = queries.invocations(store, limit=1)[0].started
    spread = [each.trace_id for each in _spread(store)]
    words = store.query("SELECT arraySlice(list, 15000, 20) AS words FROM words")[0]["words"]
    assert isinstance(words, list)
    cursors = [each.cursor for each in queries.invocations(store, limit=100)]
    return {
        "latest 100 invocations": ("50", lambda n: queries.invocations(store, limit=100, before=cursors[n])),
        "one trace": ("50", lambda n: queries.trace(store, spread[n])),
        "one invocation, with what was said": ("", lambda n: queries.find_invocation(store, spread[n + TURNS])),
        "versions of a program, percentiles": ("150", lambda n: queries.versions(store, programs[n])),
        "cost by hour and version, 30 days": (
            "300",
            lambda n: queries.usage(
                store, ("hour", "version"), program=programs[n], since=newest - timedelta(days=30, hours=n)
            ),
        ),
        "cost by hour and model, all programs": (
            "",
            lambda n: queries.usage(store, ("hour", "model"), since=newest - timedelta(days=30, hours=n)),
        ),
        "search, 1 in 300 says it": ("1000", lambda n: queries.invocations(store, InvocationFilter(text=words[n]))),
        "search, 1 in 10,000 says it": (
            "1000",
            lambda n: queries.invocations(store, InvocationFilter(text=RARE), limit=100 + n),
        ),
        "search, nobody says it": ("1000", lambda n: queries.invocations(store, InvocationFilter(text=f"{RARE}{n}"))),
    }


def _spread(store: Store) -> list[Any]:
    """Invocations from all over the time that there is."""
    (row,) = store.query("SELECT min(Started) AS first, max(Started) AS last FROM ell_spans")
    first, last = cast("datetime", row["first"]), cast("datetime", row["last"])
    times = [first + (last - first) * number / (2 * TURNS) for number in range(1, 2 * TURNS + 1)]
    return [queries.invocations(store, limit=1, before=f"{int(at.timestamp() * 1e9)}.f")[0] for at in times]


def measure(ask: Ask) -> tuple[float, float, float]:
    walls, before = [], time.process_time()
    for turn in range(TURNS):
        started = time.perf_counter()
        ask(turn)
        walls.append((time.perf_counter() - started) * 1e3)
    return min(walls), statistics.median(walls), (time.process_time() - before) / TURNS * 1e3


def sizes(store: Store, count: int) -> float:
    """Prints what each table takes on disk per invocation; returns the sum."""
    rows = store.query(
        "SELECT table, sum(bytes_on_disk) AS bytes, sum(rows) AS rows, count() AS parts FROM system.parts "
        "WHERE active AND database = currentDatabase() GROUP BY table ORDER BY bytes DESC"
    )
    total = sum(int(str(row["bytes"])) for row in rows) / count
    for row in rows[:2]:
        per = int(str(row["bytes"])) / count
        print(f"{row['table']!s:36}{per:8.0f} bytes an invocation ({row['parts']} parts)")
    print(f"{'all tables':36}{total:8.0f}")
    return total


RIVAL = """
import json, os, sys, ell, httpx, openai
from ell.stores.sql import SQLiteStore
said = [json.loads(line) for line in sys.stdin]
now = {}
def answer(request):
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    delta = {"index": 0, "delta": {"role": "assistant", "content": now["answer"]}, "finish_reason": None}
    usage = {"prompt_tokens": 300, "completion_tokens": 90, "total_tokens": 390}
    chunks = [{**base, "choices": [delta]}, {**base, "choices": [], "usage": usage}]
    body = "".join(f"data: {json.dumps(chunk)}\\n\\n" for chunk in chunks) + "data: [DONE]\\n\\n"
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
client = openai.OpenAI(api_key="x", http_client=httpx.Client(transport=httpx.MockTransport(answer)))
ell.init(store=SQLiteStore(sys.argv[1]), autocommit=False, verbose=False)
@ell.simple(model="gpt-4o-mini", client=client)
def reply(prompt, mail):
    return [ell.system(prompt), ell.user("Answer this mail: " + mail)]
file = os.path.join(sys.argv[1], "ell.db")
for number, now in enumerate(said):
    reply(now["prompt"], now["mail"])
    before = os.path.getsize(file) if number == 99 else before if number > 99 else 0
print((os.path.getsize(file) - before) / (len(said) - 100))
"""


def rival(store: Store, python: str) -> float:
    """Bytes per invocation in ell-ai's store, of the first thousand invocations, the first hundred left out."""
    rows = store.query(
        "SELECT InvocationId, max(Arguments) AS mail, max(Result) AS answer, max(System) AS prompt "
        "FROM ell_invocation_contents WHERE Started < (SELECT min(Started) + toIntervalDay(1) FROM ell_spans) "
        f"GROUP BY InvocationId HAVING prompt != '' ORDER BY min(Started) LIMIT {SHARED}"
    )
    said = [
        {
            "mail": json.loads(str(row["mail"]))["mail"],
            "answer": json.loads(str(row["answer"])),
            "prompt": json.loads(str(row["prompt"]))[0]["content"],
        }
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        lines = "\n".join(map(json.dumps, said))
        done = subprocess.run([python, "-c", RIVAL, folder], input=lines, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--count", type=int, default=1_000_000, help="invocations")
    arguments.add_argument("--store", help="a folder to keep the store in")
    arguments.add_argument("--against", metavar="PYTHON", help="an interpreter that has ell-ai")
    options = arguments.parse_args()
    folder = options.store or tempfile.mkdtemp(prefix="ell-queries-")
    with open_store(resolve({}, dir=folder), purpose="benchmark") as store:
        migrate(store)
        if not queries.counts(store).spans:
            started = time.perf_counter()
            load(store, 0, options.count, options.count, int(time.time() - 30 * 86_400) * 10**9)
            print(f"made in {time.perf_counter() - started:.0f} s")
        ours = sizes(store, queries.counts(store).invocations)
        if options.against:
            theirs = rival(store, options.against)
            print(f"{'ell-ai, the same invocations':36}{theirs:8.0f}  ({theirs / ours:.1f} times ours)")
        print(f"\n{'':36}{'bar':>6}{'best':>8}{'median':>8}{'CPU':>8}")
        for name, (bar, ask) in questions(store).items():
            best, median, cpu = measure(ask)
            print(f"{name:36}{bar:>6}{best:8.0f}{median:8.0f}{cpu:8.0f}", flush=True)


if __name__ == "__main__":
    main()
