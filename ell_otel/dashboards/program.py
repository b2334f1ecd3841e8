"""One program: version against version."""

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
    Json,
    bars,
    choice,
    dashboard,
    lines_of_text,
    stat,
    table,
    timeseries,
)
from ell_otel.dashboards.programs import FIGURES
from ell_otel.store.panels import program as sql
from ell_otel.store.panels.programs import NEW_VERSION_MARKS, PROGRAMS

_HERE: Final = f"/d/ell-program?{KEPT}&${{program:queryparam}}"
_COMPARE: Final = (
    "Against the version before",
    f"{_HERE}&var-before=${{__data.fields.previous:percentencode}}&var-after=${{__data.fields.version:percentencode}}",
)
_RUNS: Final = (
    "Its invocations",
    f"/d/ell-invocations?{KEPT}&${{program:queryparam}}&var-version=${{__data.fields.version:percentencode}}",
)


def program() -> Json:
    """The dashboard."""
    variables = [
        choice("program", "Program", PROGRAMS),
        choice("before", "Before", sql.BEFORE),
        choice("after", "After", sql.AFTER),
    ]
    return dashboard(
        "ell-program",
        "One program",
        "The versions of one program, and two of them side by side: what changed, and did it get better.",
        variables,
        _LINES,
        marks=NEW_VERSION_MARKS,
    )


_CHANGE: Final = stat(
    "From before to after",
    sql.CHANGE,
    {
        "latency": Column("latency p95", PERCENT, bad=0.2, decimals=1),
        "cost": Column("cost / call", PERCENT, bad=0.2, decimals=1),
        "output": Column("tokens out / call", PERCENT, decimals=1),
        "errors": Column("errors, difference", PERCENT, bad=0.02, decimals=1),
        "score": Column("score, difference", NUMBER, bad=-0.02, decimals=3),
    },
    about="Of the calls in this time. A version that was not called in it has no figures.",
)
_VERSIONS: Final = table(
    "Versions",
    sql.VERSION_TABLE,
    {
        "label": Column("version", width=80, link=_COMPARE),
        "version": Column("hash", width=120, link=_RUNS),
        "previous": Column(hidden=True),
        "first_seen": Column("first seen", TIME, width=190),
        "commit": Column("commit", width=100),
        **FIGURES,
    },
    about="A click on a version compares it with the one before; a click on its hash lists its invocations.",
)
_SIDE_BY_SIDE: Final = table(
    "Side by side", sql.COMPARISON, {"which": Column(" ", width=80), "label": Column("version", width=80), **FIGURES}
)
_SCORES: Final = table(
    "Scores",
    sql.SCORE_TABLE,
    {
        "before": Column("before", NUMBER, decimals=3),
        "after": Column("after", NUMBER, decimals=3),
        "change": Column("difference", NUMBER, decimals=3, bad=-0.02),
        "scores_before": Column("how many before", NUMBER),
        "scores_after": Column("how many after", NUMBER),
    },
)
_VERSION: Final = "${__field.labels.version}"
_LINES: Final = [
    (4, [(24, _CHANGE)]),
    (5, [(24, _SIDE_BY_SIDE)]),
    (
        9,
        [
            (18, lines_of_text("What changed", sql.DIFFERENCE, about="Lines that only one of the two versions has.")),
            (6, lines_of_text("In the shell", sql.IN_THE_SHELL)),
        ],
    ),
    (
        8,
        [
            (8, timeseries("Calls", sql.CALLS, NUMBER, name=_VERSION, stacked=True)),
            (8, timeseries("Latency", sql.LATENCY, MS, name=f"${{__field.name}} {_VERSION}")),
            (8, bars("Latency, before and after", sql.LATENCY_QUANTILES, "quantile", MS)),
        ],
    ),
    (
        8,
        [
            (8, timeseries("Cost", sql.COST, DOLLARS, name=_VERSION, stacked=True)),
            (8, timeseries("Errors", sql.ERRORS, PERCENT, name=_VERSION, most=1)),
            (8, timeseries("Score", sql.SCORES, NUMBER, name=_VERSION)),
        ],
    ),
    (8, [(16, _VERSIONS), (8, _SCORES)]),
    (12, [(24, lines_of_text("The closure of the version after", sql.SOURCE))]),
]
