"""Pipeline health: does telemetry arrive, whole and once, and what does it take to keep it."""

from __future__ import annotations

from typing import Final

from ell_otel.dashboards.grafana import (
    BYTES,
    NUMBER,
    PERCENT,
    SECONDS,
    TIME,
    Column,
    Json,
    dashboard,
    table,
    timeseries,
)
from ell_otel.store.panels import health as sql


def health() -> Json:
    """The dashboard."""
    return dashboard(
        "ell-health",
        "Pipeline health",
        "Whether telemetry arrives, whole and once: lag, losses, duplicates, and the sizes of the tables.",
        [],
        _LINES,
    )


_SILENCE: Final = table(
    "Since the newest span",
    sql.SILENCE,
    {"newest": Column("newest span", TIME), "seconds": Column("ago", SECONDS, bad=900)},
)
_LAG: Final = table(
    "From a span's time to its being stored",
    sql.LAG,
    {
        "worst": Column("worst", SECONDS, bad=60),
        "median": Column("median", SECONDS),
        "inserts": Column("inserts", NUMBER),
    },
    about="Of inserts whose rows have not been merged into larger parts yet: the latest ones.",
)
_REPEATED: Final = table(
    "Rows that came again, in the last hour",
    sql.REPEATED,
    {"stored": Column("stored", NUMBER), "distinct": Column("different", NUMBER), "again": Column("again", NUMBER)},
    about="Sent again after an answer that was lost, and not merged yet. Every query counts them once.",
)
_TWO_REPORTERS: Final = table(
    "Model calls that two instrumentations describe",
    sql.TWO_REPORTERS,
    {"spans": Column("spans", NUMBER)},
    about="Counted once. Switching off the instrumentation named here saves the work.",
)
_UNPRICED: Final = table(
    "Models without a price",
    sql.UNPRICED,
    {
        "calls": Column("calls", NUMBER),
        "input": Column("tokens in", NUMBER),
        "output": Column("tokens out", NUMBER),
        "last_seen": Column("last seen", TIME),
    },
    about="Their cost is unknown, not nothing.",
)
_SOURCELESS: Final = table(
    "Versions whose source has not arrived",
    sql.SOURCELESS,
    {"label": Column("version", width=80), "version": Column("hash"), "first_seen": Column("first seen", TIME)},
    about="Their spans came, their code did not: the logs pipeline of a collector is missing, or filters.",
)
_SIZES: Final = table(
    "Tables",
    sql.SIZES,
    {
        "rows": Column("rows", NUMBER),
        "on_disk": Column("on disk", BYTES),
        "raw": Column("before compression", BYTES),
        "ratio": Column("ratio", NUMBER, decimals=1),
        "bytes_per_row": Column("bytes / row", NUMBER, decimals=0),
        "parts": Column("parts", NUMBER),
        "partitions": Column("partitions", NUMBER),
        "last_written": Column("last written", TIME),
    },
    about="Of the node that answers: in a cluster, one replica of one shard.",
)
_PARTS: Final = table(
    "Partitions with the most parts",
    sql.PARTS,
    {"parts": Column("parts", NUMBER, bad=1000)},
    about="ClickHouse slows inserts down at 1,000 parts in a partition and refuses them at 3,000.",
)
_DISKS: Final = table(
    "Disks",
    sql.DISKS,
    {"total": Column("size", BYTES), "free": Column("free", BYTES), "used": Column("used", PERCENT, bad=0.85)},
)
_LINES: Final = [
    (
        8,
        [
            (8, timeseries("Spans", sql.ARRIVED, NUMBER, name="${__field.labels.service}", stacked=True)),
            (8, timeseries("Events", sql.EVENTS_ARRIVED, NUMBER, name="${__field.labels.event}", stacked=True)),
            (
                8,
                timeseries(
                    "Lost, as told by the senders",
                    sql.LOSSES,
                    NUMBER,
                    name="${__field.labels.reason}",
                    stacked=True,
                    about="Records that a program gave up before anybody had accepted them. Empty is well.",
                ),
            ),
        ],
    ),
    (7, [(8, _SILENCE), (8, _LAG), (8, _REPEATED)]),
    (
        7,
        [
            (8, timeseries("Model calls of no known program", sql.ATTRIBUTION, PERCENT, most=1)),
            (8, _TWO_REPORTERS),
            (8, _UNPRICED),
        ],
    ),
    (8, [(24, _SIZES)]),
    (7, [(8, _PARTS), (8, _DISKS), (8, _SOURCELESS)]),
]
