"""How long rows are kept, and where they go when they are old."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store_rows import T0, hash_of, id_of, invocation, rows_of

from ell_otel.config import resolve
from ell_otel.errors import ConfigError
from ell_otel.store import queries
from ell_otel.store.client import Store
from ell_otel.store.migrate import migrate, plan
from ell_otel.store.writer import write

Open = Callable[..., Store]


def test_rows_are_kept_as_long_as_is_said_and_for_ever_again_when_that_is_said(opened: Open) -> None:
    store = opened()

    def made(table: str) -> str:
        (row,) = store.query(f"SELECT create_table_query AS made FROM system.tables WHERE name = '{table}'")
        return str(row["made"])

    migrate(store, resolve({}, keep=("otel_traces=30", "ell_spans=365")))
    assert "TTL toDateTime(Timestamp) + toIntervalDay(30)" in made("otel_traces")
    assert "TTL toDateTime(Started) + toIntervalDay(365)" in made("ell_spans")
    assert plan(store, resolve({}, keep=("otel_traces=30", "ell_spans=365"))) == []
    migrate(store)
    assert "TTL " in made("otel_traces")
    migrate(store, resolve({}, keep=("otel_traces=0",)))
    assert "TTL " not in made("otel_traces")
    old, new = (invocation(n, "a.b", hash_of("1"), Timestamp=at) for n, at in ((1, T0), (2, time.time_ns())))
    write(store, rows_of(old, new))
    store.command("OPTIMIZE TABLE ell_spans FINAL")
    assert [found.id for found in queries.invocations(store)] == [id_of(2)]


@pytest.mark.parametrize("pair", ["otel_traces", "otel_traces=soon", "ell_prices=3", "=1"])
def test_a_time_to_keep_that_means_nothing_is_refused(opened: Open, pair: str) -> None:
    with pytest.raises(ConfigError, match="is not table=days, where table is one of otel_traces, otel_logs"):
        migrate(opened(), resolve({}, keep=(pair,)))


STORAGE = """
<clickhouse><storage_configuration>
  <disks><far><type>local</type><path>{far}/</path></far></disks>
  <policies><tiered><volumes>
    <default><disk>default</disk></default><cold><disk>far</disk></cold>
  </volumes></tiered></policies>
</storage_configuration></clickhouse>
"""


def test_old_rows_move_to_the_cold_volume_of_a_storage_policy(tmp_path: Path) -> None:
    config = tmp_path / "storage.xml"
    config.write_text(STORAGE.format(far=tmp_path / "far"))
    script = [sys.executable, "-c", TIERED, str(tmp_path / ".ell"), str(config), str(Path(__file__).parent)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["far", "default"]


# In a process of its own: the configuration is the engine's, and a process has one engine.
TIERED = """
import sys, time
sys.path.insert(0, sys.argv[3])
from store_rows import T0, hash_of, invocation
from ell_otel.config import resolve
from ell_otel.store import client
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write
client._CHDB_OPTIONS["config-file"] = sys.argv[2]
store = client.open_store(resolve({}, dir=sys.argv[1]), purpose="test")
migrate(store, resolve({}, storage_policy="tiered", cold=("otel_traces=7",)))
for at in (T0, time.time_ns()):
    write(store, invocation(1, "a.b", hash_of("1"), Timestamp=at))
    time.sleep(1)
sql = "SELECT disk_name FROM system.parts WHERE table = 'otel_traces' AND active ORDER BY min_time"
until = time.monotonic() + 20
while time.monotonic() < until and (found := [row["disk_name"] for row in store.query(sql)]) != ["far", "default"]:
    time.sleep(0.2)
print(*found)
store.close()
"""
