"""Alert rules, in the format of Grafana's provisioning files.

They ask the data source whose uid is ``ell-clickhouse``, the one that ``collector/grafana`` provisions: rules know no
variables. Grafana replaces ``$name`` from its environment in such files, but not in queries, so that the macros need no
escape; the summaries do without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ell_otel.dashboards.grafana import PLUGIN, Json, query
from ell_otel.store.panels import alerts as sql

SOURCE_UID: Final = "ell-clickhouse"
_DAY: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class _Rule:
    uid: str
    title: str
    sql: str
    range_s: int
    above: float
    summary: str
    dashboard: str
    severity: str = "warning"

    def json(self) -> Json:
        source = {"type": PLUGIN, "uid": SOURCE_UID}
        asked = {**query(self.sql, "table"), "datasource": source, "intervalMs": 60_000, "maxDataPoints": 1000}
        condition = {
            "refId": "B",
            "type": "threshold",
            "expression": "A",
            "datasource": {"type": "__expr__", "uid": "__expr__"},
            "conditions": [{"evaluator": {"type": "gt", "params": [self.above]}}],
        }
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "B",
            "data": [
                {
                    "refId": "A",
                    "datasourceUid": SOURCE_UID,
                    "relativeTimeRange": {"from": self.range_s, "to": 0},
                    "model": asked,
                },
                {
                    "refId": "B",
                    "datasourceUid": "__expr__",
                    "relativeTimeRange": {"from": 0, "to": 0},
                    "model": condition,
                },
            ],
            "noDataState": "OK",
            "execErrState": "Error",
            "for": "2m",
            "annotations": {"summary": self.summary, "dashboard": f"/d/{self.dashboard}"},
            "labels": {"product": "ell-otel", "severity": self.severity},
            "isPaused": False,
        }


_RULES: Final = (
    _Rule(
        "ell-cost",
        "A program's cost in the last hour",
        sql.COST,
        3600,
        10,
        "{{ .Labels.program }} has cost {{ .Values.A.Value }} dollars in the last hour.",
        "ell-programs",
    ),
    _Rule(
        "ell-errors",
        "A program's calls fail",
        sql.ERROR_RATE,
        900,
        0.1,
        "Of the calls of {{ .Labels.program }} in the last 15 minutes, {{ .Values.A.Value }} (1 is all) failed.",
        "ell-programs",
        "critical",
    ),
    _Rule(
        "ell-slower",
        "A new version is slower",
        sql.SLOWER,
        _DAY,
        1.5,
        "{{ .Labels.program }} {{ .Labels.version }}: p95 is {{ .Values.A.Value }} times that of the version before.",
        "ell-program",
    ),
    _Rule(
        "ell-dearer",
        "A new version is dearer",
        sql.DEARER,
        _DAY,
        1.5,
        "{{ .Labels.program }} {{ .Labels.version }}: a model call costs {{ .Values.A.Value }} times as much.",
        "ell-program",
    ),
    _Rule(
        "ell-worse",
        "A new version scores lower",
        sql.WORSE,
        _DAY,
        0.05,
        "{{ .Labels.program }} {{ .Labels.version }}: the mean score is {{ .Values.A.Value }} lower than before.",
        "ell-program",
    ),
    _Rule(
        "ell-lost",
        "Telemetry was lost",
        sql.LOST,
        900,
        0,
        "{{ .Labels.service }} has given up {{ .Values.A.Value }} records in the last 15 minutes.",
        "ell-health",
        "critical",
    ),
)


def alerts() -> Json:
    """The provisioning file."""
    group = {"orgId": 1, "name": "ell-otel", "folder": "ell-otel", "interval": "1m"}
    return {"apiVersion": 1, "groups": [{**group, "rules": [rule.json() for rule in _RULES]}]}
