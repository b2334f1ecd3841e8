"""Invocations: a list to search, and one of them in full."""

from __future__ import annotations

from typing import Final

from ell_otel.dashboards.grafana import (
    DOLLARS,
    KEPT,
    MS,
    NUMBER,
    TIME,
    Column,
    Json,
    choice,
    dashboard,
    options_of,
    table,
    timeseries,
    trace,
    typed,
)
from ell_otel.store.panels import invocations as sql
from ell_otel.store.panels.parts import EVERYTHING
from ell_otel.store.panels.programs import MODELS, PROGRAMS, SERVICES

_FILTERS: Final = ("service", "program", "version", "model", "status", "slower_than_ms", "search")
_CHOSEN: Final = (
    "&var-trace=${__data.fields.trace:percentencode}&var-invocation=${__data.fields.invocation:percentencode}"
)
_OPEN: Final = (
    "Open it below",
    f"/d/ell-invocations?{KEPT}&{'&'.join(f'${{{name}:queryparam}}' for name in _FILTERS)}{_CHOSEN}",
)
_TO_PROGRAM: Final = ("Its versions", f"/d/ell-program?{KEPT}&var-program=${{__data.fields.program:percentencode}}")


def invocations() -> Json:
    """The dashboard."""
    variables = [
        choice("service", "Service", SERVICES, everything=EVERYTHING),
        choice("program", "Program", PROGRAMS, everything=EVERYTHING),
        choice("version", "Version", sql.VERSIONS, everything=EVERYTHING),
        choice("model", "Model", MODELS, everything=EVERYTHING),
        options_of("status", "Status", {"any": EVERYTHING, "ok": "ok", "error": "error"}),
        typed("slower_than_ms", "Slower than, ms", "0"),
        typed("search", "Search", about="Whole words in arguments, results and messages, whatever the case."),
        typed("invocation", "Invocation", about="Set by a click on a line of the list."),
        typed("trace", "Trace", about="Set by a click on a line of the list."),
    ]
    return dashboard(
        "ell-invocations",
        "Invocations",
        "Runs of programs: find one, read what was said, and see its trace.",
        variables,
        _LINES,
    )


_LIST: Final = table(
    "The latest 200",
    sql.TABLE,
    {
        "started": Column("started", TIME, width=190, link=_OPEN),
        "program": Column("program", link=_TO_PROGRAM),
        "version": Column("version", width=80),
        "status": Column("status", width=70),
        "duration": Column("took", MS, width=90),
        "models": Column("models"),
        "input": Column("tokens in", NUMBER, width=90),
        "output": Column("tokens out", NUMBER, width=90),
        "cost": Column("cost", DOLLARS, width=100, decimals=6),
        "score": Column("score", NUMBER, width=80, decimals=3),
        "error": Column("error"),
        "service": Column("service"),
        "invocation": Column("invocation", width=130, link=_OPEN),
        "trace": Column("trace", width=130, link=_OPEN),
    },
    about="A click on the time opens the invocation below.",
)
_MESSAGES: Final = table(
    "Messages",
    sql.MESSAGES,
    {
        "time": Column("at", TIME, width=190),
        "role": Column("role", width=90),
        "part": Column("part", width=110),
        "text": Column("text", wrapped=True),
    },
    about="What was said to models and by them. Empty where contents were not recorded.",
)
_CALL: Final = table(
    "Arguments and result",
    sql.CALL,
    {"arguments": Column("arguments", wrapped=True), "result": Column("result", wrapped=True)},
)
_SCORES: Final = table(
    "Scores",
    sql.SCORES,
    {"time": Column("at", TIME, width=190), "explanation": Column("explanation", wrapped=True)},
)
_LINES: Final = [
    (6, [(24, timeseries("Invocations", sql.OUTCOMES, NUMBER, stacked=True))]),
    (12, [(24, _LIST)]),
    (12, [(14, _MESSAGES), (10, trace("Trace", sql.TRACE, about="Every span of the trace, ours or not."))]),
    (6, [(14, _CALL), (10, _SCORES)]),
]
