"""What telemetry adds to a model call: `python benchmarks/overhead.py [--peers name,name]`.

The real OpenAI client over a transport inside the process, so that there is no network, and an exporter that does
nothing; no prompt and no answer comes twice. Each contestant runs in a fresh interpreter, in turns with plain calls: of
the method as it was before the contestant was switched on, on a client of its own. Both are warmed up, the blocks are
short and follow one another at once, and the garbage collector rests meanwhile, so that what disturbs one disturbs the
other. The contestants take turns as well, for several rounds.

Microseconds beyond the plain call, of the rounds the median: of wall time at the median; of the thread's processor
time, which says most where the machine has other things to do, at the median and at the 99th percentile. The bare span
costs about half as much in a loop of its own as here, where each call finds the caches full of other things.

Other projects run where they are asked for by name, each in an environment of its own, made by this script with pip in
`--environments`. One that cannot be installed or started is named with the reason.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PEERS = {
    "openinference": ["openinference-instrumentation-openai", "opentelemetry-sdk"],
    "traceloop": ["opentelemetry-instrumentation-openai", "opentelemetry-sdk"],
    "langfuse": ["langfuse"],
    "logfire": ["logfire"],
    "mlflow": ["mlflow"],
    "weave": ["weave"],
}
WARM_UP = 300
BLOCKS = 60
CALLS = 20  # of a block
PROMPT = "Summarise this in one sentence: " + "lorem ipsum dolor sit amet " * 40
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Lorem ipsum. " * 8 + "@"}}
    ],
    "usage": {"prompt_tokens": 280, "completion_tokens": 32, "total_tokens": 312},
}

numbers = itertools.count()

Ask = Callable[[], Any]
Contestant = Callable[[Any], Ask | None]
"""Switches itself on, given the client; returns what is to be called in the place of `ask`, or None for the same."""


def client() -> Any:
    import openai

    try:
        import httpx2 as http
    except ImportError:
        import httpx as http
    before, _, after = json.dumps(ANSWER).encode().partition(b"@")

    def answered(_: Any) -> Any:
        body = b"%b%d%b" % (before, next(numbers), after)
        return http.Response(200, content=body, headers={"content-type": "application/json"})

    transport = http.MockTransport(answered)
    return openai.OpenAI(api_key="none", base_url="http://model.test/v1", http_client=http.Client(transport=transport))


def request() -> dict[str, Any]:
    system = {"role": "system", "content": "You answer in one sentence."}
    user = {"role": "user", "content": f"{PROMPT}{next(numbers)}"}
    return {"model": "gpt-4o-mini", "messages": [system, user], "temperature": 0.5, "max_tokens": 100}


def asking(sdk: Any) -> Ask:
    def ask() -> Any:
        return sdk.chat.completions.create(**request())

    return ask


def asking_plainly(sdk: Any) -> Ask:
    """As `asking`, by the methods as they are now, whatever takes their place later."""
    sdk.request = sdk.request  # of its own: some wrap what `create` calls
    create = type(sdk.chat.completions).create

    def ask() -> Any:
        return create(sdk.chat.completions, **request())

    return ask


# -- the contestants --------------------------------------------------------------------------------------------------


def nowhere() -> Any:
    """An exporter that does nothing."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    return Nowhere()


def provider() -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(nowhere()))
    return made


def floor(sdk: Any) -> Ask:
    tracer = provider().get_tracer("floor")
    ask = asking(sdk)

    def spanned() -> Any:
        span = tracer.start_span("floor")
        for number in range(15):
            span.set_attribute(f"attribute.{number}", "value")
        answer = ask()
        span.end()
        return answer

    return spanned


def genai(content: str) -> Contestant:
    def switch_on(_: Any) -> None:
        os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = content
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(tracer_provider=provider())

    return switch_on


def openinference(*, content: bool) -> Contestant:
    def switch_on(_: Any) -> None:
        from openinference.instrumentation import TraceConfig
        from openinference.instrumentation.openai import OpenAIInstrumentor

        config = TraceConfig(hide_inputs=not content, hide_outputs=not content)
        OpenAIInstrumentor().instrument(tracer_provider=provider(), config=config)

    return switch_on


def traceloop(*, content: bool) -> Contestant:
    def switch_on(_: Any) -> None:
        os.environ["TRACELOOP_TRACE_CONTENT"] = str(content).lower()
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(tracer_provider=provider())

    return switch_on


def langfuse(sdk: Any) -> Ask:
    os.environ.update(LANGFUSE_PUBLIC_KEY="pk-none", LANGFUSE_SECRET_KEY="sk-none", LANGFUSE_HOST="http://127.0.0.1:9")
    from langfuse import Langfuse
    from langfuse.openai import OpenAI

    Langfuse(span_exporter=nowhere())
    return asking(OpenAI(api_key="none", base_url="http://model.test/v1", http_client=sdk._client))


def logfire(sdk: Any) -> None:
    import logfire as package

    package.configure(send_to_logfire=False, console=False, inspect_arguments=False)
    package.instrument_openai(sdk)


def mlflow(_: Any) -> None:
    """Traces go into SQLite, in threads of its own."""
    import mlflow as package

    os.chdir(tempfile.mkdtemp())  # it writes beside the database too, into the working directory
    package.set_tracking_uri("sqlite:///mlflow.db")
    package.openai.autolog()


def weave(_: Any) -> None:
    """Its client without `weave.init`, which wants an account, and a server that takes everything at once."""
    import weave as package
    from weave.trace.context.weave_client_context import set_weave_client_global
    from weave.trace.weave_client import WeaveClient

    class Taken(str):
        def __getattr__(self, name: str) -> Any:
            return Taken("x")

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return Taken("x")

    set_weave_client_global(WeaveClient("nobody", "overhead", Taken("server"), ensure_project_exists=False))
    package.integrations.patch_openai()


def ours(*, content: bool, decorated: bool = False, spool: bool = False) -> Contestant:
    def switch_on(sdk: Any) -> Ask | None:
        import ell_otel as ell
        from ell_otel.telemetry import providers

        if not spool:
            providers.SpoolSpanExporter = lambda *_: nowhere()
        ell.init(dir=tempfile.mkdtemp(suffix=".ell"), content=content)
        ell.instrument()
        return ell.program(asking(sdk)) if decorated else None

    return switch_on


FLOOR = "bare span, 15 attributes"
CONTESTANTS: dict[str, tuple[str, Contestant]] = {
    FLOOR: ("", floor),
    "genai-openai, no content": ("", genai("NO_CONTENT")),
    "genai-openai": ("", genai("SPAN_ONLY")),
    "openinference, no content": ("openinference", openinference(content=False)),
    "openinference": ("openinference", openinference(content=True)),
    "traceloop, no content": ("traceloop", traceloop(content=False)),
    "traceloop": ("traceloop", traceloop(content=True)),
    "langfuse": ("langfuse", langfuse),
    "logfire": ("logfire", logfire),
    "mlflow": ("mlflow", mlflow),
    "weave": ("weave", weave),
    "ell-otel, no content": ("", ours(content=False)),
    "ell-otel": ("", ours(content=True)),
    "ell-otel, into the spool": ("", ours(content=True, spool=True)),
    "ell-otel, decorated": ("", ours(content=True, decorated=True)),
    "ell-otel, decorated, spool": ("", ours(content=True, decorated=True, spool=True)),
}

# -- measuring --------------------------------------------------------------------------------------------------------


def timed(ask: Ask) -> list[tuple[int, int]]:
    """Nanoseconds of each call in a block: wall, and the thread's processor time."""
    times = []
    for _ in range(CALLS):
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        ask()
        cpu = time.thread_time_ns() - cpu
        times.append((time.perf_counter_ns() - wall, cpu))
    return times


def compared(plain: Ask, ask: Ask) -> list[float]:
    """What `ask` takes beyond `plain`, in microseconds: wall and processor time at the median, the latter at p99."""
    for _ in range(WARM_UP):
        plain(), ask()
    gc.collect()
    gc.freeze()
    gc.disable()
    calls: dict[Ask, list[tuple[int, int]]] = {plain: [], ask: []}
    differences = []
    for number in range(BLOCKS):
        pair = (plain, ask) if number % 2 else (ask, plain)
        blocks = {each: timed(each) for each in pair}
        for each, block in blocks.items():
            calls[each] += block
        middle = {each: [statistics.median(column) for column in zip(*blocks[each], strict=True)] for each in pair}
        differences.append([after - before for before, after in zip(middle[plain], middle[ask], strict=True)])
        gc.collect()
    walls, cpus = zip(*differences, strict=True)
    slowest = {each: statistics.quantiles((cpu for _, cpu in block), n=100)[98] for each, block in calls.items()}
    beyond = (statistics.median(walls), statistics.median(cpus), slowest[ask] - slowest[plain])
    return [nanoseconds / 1e3 for nanoseconds in beyond]


def contest(name: str) -> None:
    """In a fresh interpreter: print what `name` adds."""
    plain = asking_plainly(client())
    sdk = client()
    ask = CONTESTANTS[name][1](sdk) or asking(sdk)
    print(json.dumps(compared(plain, ask)))
    sys.stdout.flush()
    os._exit(0)  # what is left to send is nobody's


def interpreter(peer: str, environments: Path) -> str:
    """The Python to run a contestant with; raises CalledProcessError where its environment cannot be made."""
    if not peer:
        return sys.executable
    folder = environments / peer
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [folder / "bin" / "pip", "install", "-q", "openai", *PEERS[peer]]
        subprocess.run(install, check=True, capture_output=True, text=True)
    return str(folder / "bin" / "python")


def run(names: list[str], environments: Path, rounds: int) -> None:
    """Print the table."""
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for name in names:
            if name in missing:
                continue
            try:
                python = interpreter(CONTESTANTS[name][0], environments)
                command = [python, __file__, "--contestant", name]
                done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
                samples[name].append(json.loads(done.stdout.splitlines()[-1]))
            except (subprocess.SubprocessError, ValueError, IndexError) as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
                missing[name] = said[-1][:120] if said else repr(error)
    middle = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in samples.items()
        if rows
    }
    base = middle[FLOOR]
    print(f"{'us beyond the plain call':28}{'wall':>8}{'cpu':>8}{'x floor':>9}{'cpu p99':>9}{'cpu of rounds':>18}")
    for name, (wall, cpu, slowest) in middle.items():
        rounds_of = sorted(row[1] for row in samples[name])
        spread = f"{rounds_of[0]:.0f} to {rounds_of[-1]:.0f}"
        print(f"{name:28}{wall:8.0f}{cpu:8.0f}{cpu / base[1]:9.2f}{slowest:9.0f}{spread:>18}")
    for name, reason in missing.items():
        print(f"{name:28}did not run: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "ell-otel-peers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only", default="", help="names of contestants, with `;` between; the bare span is always one"
    )
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        contest(given.contestant)
    peers = {"", *filter(None, given.peers.split(","))}
    if unknown := peers - {"", *PEERS}:
        parser.error(f"no peer is called {min(unknown)!r}; there are {', '.join(PEERS)}")
    only = {FLOOR, *filter(None, given.only.split(";"))} if given.only else set(CONTESTANTS)
    names = [name for name, (peer, _) in CONTESTANTS.items() if peer in peers and name in only]
    run(names, given.environments, given.rounds)


if __name__ == "__main__":
    main()
