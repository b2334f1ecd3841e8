"""What invocations take at rest, and how long the dashboards' queries take: `python benchmarks/dashboards.py 200000`.

Invocations are made in the store itself, two spans each (a program and its model call), over thirty days, of 50
programs of which few are called often, with up to 8 versions. Messages are pieces of the text of Python's standard
library, code and English, so that they compress as what people send to models does. Bytes are after merging; a query's
time is the best of three, over the last 24 hours and over all thirty days.
"""

from __future__ import annotations

import argparse
import re
import sysconfig
import tempfile
import time
from pathlib import Path

from ell_otel.config import resolve
from ell_otel.dashboards import dashboards
from ell_otel.store.client import Store, open_store
from ell_otel.store.migrate import migrate

SIZES = (1_000, 4_000)  # characters of messages in a model call
DAYS = 30
BLOCK = 50_000

SPANS = """
INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ResourceAttributes,
    SpanAttributes, Duration, StatusCode)
WITH assumeNotNull((SELECT any(text) FROM corpus)) AS corpus, intDiv(number, 2) AS run, number % 2 AS inner,
    cityHash64(run) AS chance, toUInt8(50 * pow((chance % 1000) / 1000, 4)) AS program,
    toUInt8(8 * pow((intDiv(chance, 1000) % 1000) / 1000, 2)) AS version,
    ['gpt-4o-mini', 'gpt-4o', 'gpt-4.1', 'claude-sonnet-4-5'] AS models,
    models[1 + toUInt8(4 * pow((intDiv(chance, 7919) % 100) / 100, 2))] AS model,
    intDiv({size:UInt32}, 2) AS half, length(corpus) - half AS last,
    toJSONString(substring(corpus, 1 + cityHash64(number) % last, half)) AS said,
    toJSONString(substring(corpus, 1 + cityHash64(number + 1) % last, half)) AS answered,
    concat('app.program_', toString(program)) AS name,
    concat('c1:', repeat(lower(hex(cityHash64(program, version))), 4)) AS hash,
    lower(hex(MD5(toString(run)))) AS id,
    map('ell.program.name', name, 'ell.program.version', hash, 'ell.invocation.id', id) AS common
SELECT fromUnixTimestamp64Nano({now_ns:Int64} - toInt64(({runs:UInt64} - run) * {step_ns:Int64}) + toInt64(inner)),
    id, lower(hex(cityHash64(number))), if(inner, lower(hex(cityHash64(number - 1))), ''),
    if(inner, concat('chat ', model), concat('invoke_workflow ', name)), if(inner, 'Client', 'Internal'), 'app',
    map('service.name', 'app', 'telemetry.sdk.language', 'python'),
    if(inner, mapUpdate(common, map('gen_ai.operation.name', 'chat', 'gen_ai.provider.name', 'openai',
        'gen_ai.request.model', model, 'gen_ai.usage.input_tokens', toString(intDiv(half, 4) + chance % 100),
        'gen_ai.usage.output_tokens', toString(intDiv(half, 4) + chance % 50),
        'gen_ai.input.messages', concat('[{"role":"user","parts":[{"type":"text","content":', said, '}]}]'),
        'gen_ai.output.messages', concat('[{"role":"assistant","parts":[{"type":"text","content":', answered, '}]}]'))),
        mapUpdate(common, map('gen_ai.operation.name', 'invoke_workflow', 'ell.invocation.result', answered))),
    toUInt64(2e8 + (chance % 1000) * 1e6 * (1 + version)), if(chance % 50 = 0, 'Error', 'Unset')
FROM numbers({first:UInt64}, {count:UInt64})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("invocations", nargs="?", type=int, default=100_000)
    wanted = parser.parse_args()
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, open_store(resolve({}, dir=folder), purpose="benchmark") as store:
            migrate(store)
            began = time.process_time()
            _fill(store, wanted.invocations, size)
            filled = time.process_time() - began
            print(f"\n{wanted.invocations:,} invocations, {size:,} characters of messages in a model call")
            print(f"processor time to make and insert a span: {filled / wanted.invocations / 2 * 1e6:.0f} us")
            _sizes(store, wanted.invocations)
            if size == SIZES[0]:
                _times(store)


def _fill(store: Store, runs: int, size: int) -> None:
    text = "".join(path.read_text(errors="replace") for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")))
    store.command("CREATE TABLE corpus (text String) ENGINE = MergeTree ORDER BY tuple()")
    store.insert("corpus", ["text"], ["String"], [[text.encode("ascii", "replace").decode()]])
    given = {"size": size, "runs": runs, "now_ns": time.time_ns(), "step_ns": DAYS * 24 * 3600 * 10**9 // runs}
    for first in range(0, 2 * runs, BLOCK):
        store.command(SPANS, {**given, "first": first, "count": min(BLOCK, 2 * runs - first)})
    store.command("DROP TABLE corpus")


def _sizes(store: Store, runs: int) -> None:
    names = [str(row["name"]) for row in store.query("SELECT name FROM system.tables WHERE engine LIKE '%MergeTree'")]
    for name in names:
        store.command(f"OPTIMIZE TABLE {name} FINAL")
    rows = store.query(
        "SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, sum(data_uncompressed_bytes) AS raw "
        "FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY bytes DESC"
    )
    for row in [row for row in rows if int(str(row["bytes"])) > runs]:
        bytes_, raw = int(str(row["bytes"])), int(str(row["raw"]))
        print(f"{row['table']:<28}{bytes_ / runs:8.0f} bytes an invocation at rest{raw / bytes_:8.1f} x compressed")
    total = sum(int(str(row["bytes"])) for row in rows)
    print(f"{'all':<28}{total / runs:8.0f}")


def _times(store: Store) -> None:
    (run,) = store.query("SELECT InvocationId, TraceId FROM ell_invocations LIMIT 1")
    versions = store.query(
        "SELECT ProgramVersion v FROM ell_invocations WHERE ProgramName = 'app.program_0' GROUP BY v ORDER BY count()"
    )
    chosen = dict.fromkeys(("service", "program", "model", "version", "status"), "*") | {"search": ""}
    chosen |= {"slower_than_ms": "0", "trace": str(run["TraceId"]), "invocation": str(run["InvocationId"])}
    chosen |= {"before": str(versions[-1]["v"]), "after": str(versions[-2]["v"])}
    for name, dashboard in dashboards().items():
        values = chosen | ({"program": "app.program_0"} if name == "program" else {})
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                taken = [_time(store, target["rawSql"], values, days) for days in (1, DAYS)]
                print(f"{dashboard['title']:<18}{panel['title']:<48}" + "".join(f"{ms:8.0f} ms" for ms in taken))


def _time(store: Store, sql: str, values: dict[str, str], days: int) -> float:
    """The data source's macros and Grafana's variables, as tests/grafana.py replaces them; here all values are tame."""
    end = int(time.time())
    start = end - days * 24 * 3600
    sql = re.sub(r"\$\{(\w+):percentencode\}", lambda found: values[found[1]], sql)
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= toDateTime({start}) AND \1 <= toDateTime({end})", sql)
    sql = sql.replace("$__fromTime", f"toDateTime({start})").replace("$__toTime", f"toDateTime({end})")
    step = max(60, days * 24 * 3600 // 300)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {step} second)", sql)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        store.query(sql)
        best = min(best, time.perf_counter() - began)
    return best * 1000


if __name__ == "__main__":
    main()
