"""Programs: every program at a glance."""

from __future__ import annotations

from typing import Final

from ell_otel.dashboards.grafana import (
    DOLLARS,
    KEPT,
    MS,
    NUMBER,
    PERCENT,
    TIME,
    Column,
    Columns,
    Json,
    choice,
    dashboard,
    stat,
    table,
    timeseries,
)
from ell_otel.store.panels import programs as sql
from ell_otel.store.panels.parts import EVERYTHING

_TO_PROGRAM: Final = ("Its versions", f"/d/ell-program?{KEPT}&var-program=${{__data.fields.program:percentencode}}")

FIGURES: Final[Columns] = {
    "calls": Column("calls", NUMBER),
    "error_rate": Column("errors", PERCENT, bad=0.05, decimals=1),
    "p50": Column("p50", MS),
    "p95": Column("p95", MS),
    "input_per_call": Column("tokens in / call", NUMBER),
    "output_per_call": Column("tokens out / call", NUMBER),
    "cost_per_call": Column("cost / call", DOLLARS, decimals=6),
    "cost": Column("cost", DOLLARS, decimals=4),
    "unpriced": Column("calls without a price", NUMBER, bad=1),
    "score": Column("score", NUMBER, decimals=3),
    "scores": Column("scores", NUMBER),
}


def programs() -> Json:
    """The dashboard."""
    variables = [
        choice("service", "Service", sql.SERVICES, everything=EVERYTHING),
        choice("program", "Program", sql.PROGRAMS, everything=EVERYTHING),
        choice("model", "Model", sql.MODELS, everything=EVERYTHING, about="Asked for or answering, dated or not."),
    ]
    return dashboard(
        "ell-programs",
        "Programs",
        "Every language-model program: calls, errors, latency, tokens and cost, by version and by model.",
        variables,
        _LINES,
        marks=sql.NEW_VERSION_MARKS,
    )


_TOTALS: Final = stat(
    "In this time",
    sql.TOTALS,
    {
        "calls": Column("calls"),
        "error_rate": Column("errors", PERCENT, bad=0.05, decimals=1),
        "p50": Column("p50", MS),
        "p95": Column("p95", MS),
        "input": Column("tokens in"),
        "output": Column("tokens out"),
        "cost": Column("cost", DOLLARS),
        "unpriced": Column("model calls without a price", bad=1),
    },
    about="Cost is worked out now, from the price table; model calls without a price are left out of it and counted.",
)
_BY_PROGRAM: Final = table(
    "Programs",
    sql.PROGRAM_TABLE,
    {
        "program": Column("program", link=_TO_PROGRAM, width=240),
        "versions": Column("versions", NUMBER),
        "last_seen": Column("last seen", TIME),
        **FIGURES,
    },
    about="Tokens and cost of a program are those of the model calls that it makes itself, not of programs it calls.",
)
_BY_MODEL: Final = table(
    "Models",
    sql.MODEL_TABLE,
    {
        **{name: FIGURES[name] for name in ("calls", "error_rate", "p50", "p95", "cost", "unpriced")},
        "input": Column("tokens in", NUMBER),
        "output": Column("tokens out", NUMBER),
        "cached": Column("of these cached", NUMBER),
        "reasoning": Column("of these reasoning", NUMBER),
    },
)
_NEW: Final = table(
    "New versions",
    sql.NEW_VERSIONS,
    {
        "time": Column("first seen", TIME, width=190),
        "program": Column("program", link=_TO_PROGRAM),
        "label": Column(
            "version",
            width=80,
            link=(
                "What changed",
                _TO_PROGRAM[1]
                + "&var-before=${__data.fields.previous:percentencode}"
                + "&var-after=${__data.fields.version:percentencode}",
            ),
        ),
        "version": Column("hash"),
        "previous": Column(hidden=True),
    },
)
_LABEL: Final = "${__field.labels.%s}"
_LINES: Final = [
    (4, [(24, _TOTALS)]),
    (
        8,
        [
            (12, timeseries("Calls", sql.CALLS, NUMBER, name=_LABEL % "program", stacked=True)),
            (12, timeseries("Calls by version", sql.CALLS_BY_VERSION, NUMBER, name=_LABEL % "version", stacked=True)),
        ],
    ),
    (
        8,
        [
            (8, timeseries("Latency", sql.LATENCY, MS)),
            (8, timeseries("Latency, p95 by program", sql.LATENCY_BY_PROGRAM, MS, name=_LABEL % "program")),
            (8, timeseries("Latency, p95 by model", sql.LATENCY_BY_MODEL, MS, name=_LABEL % "model")),
        ],
    ),
    (
        8,
        [
            (8, timeseries("Errors", sql.ERRORS, PERCENT, name=_LABEL % "program", most=1)),
            (8, timeseries("Cost by program", sql.COST_BY_PROGRAM, DOLLARS, name=_LABEL % "program", stacked=True)),
            (8, timeseries("Cost by model", sql.COST_BY_MODEL, DOLLARS, name=_LABEL % "model", stacked=True)),
        ],
    ),
    (
        8,
        [
            (
                12,
                timeseries("Tokens", sql.TOKENS, NUMBER, name="${__field.name} ${__field.labels.model}", stacked=True),
            ),
            (12, _NEW),
        ],
    ),
    (9, [(24, _BY_PROGRAM)]),
    (8, [(24, _BY_MODEL)]),
]
