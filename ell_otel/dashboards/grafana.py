"""Panels, variables and dashboards in Grafana's JSON, as plain functions that return plain dicts.

Only what our dashboards use is here, and every panel is written out in full, so that a reader of the JSON need not know
Grafana's defaults. The schema is the one of Grafana 11.6 (``schemaVersion`` 41), which later versions read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

PLUGIN: Final = "grafana-clickhouse-datasource"
PLUGIN_VERSION: Final = "4.20.0"
SOURCE: Final[Mapping[str, str]] = {"type": PLUGIN, "uid": "${datasource}"}
TAG: Final = "ell-otel"
_COLUMNS: Final = 24  # the width of Grafana's grid

# What a link to another of our dashboards takes with it.
KEPT: Final = "${datasource:queryparam}&${__url_time_range}"

MS: Final = "ms"
SECONDS: Final = "s"
PERCENT: Final = "percentunit"
DOLLARS: Final = "currencyUSD"
NUMBER: Final = "short"
BYTES: Final = "bytes"
TIME: Final = "dateTimeAsIso"
TEXT: Final = "string"

_FORMATS: Final = {"timeseries": 0, "table": 1, "logs": 2, "traces": 3}


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is shown. ``link`` is a title and a URL; ``bad`` colours what is above it (below, when negative)."""

    label: str = ""
    unit: str = ""
    width: int = 0
    hidden: bool = False
    wrapped: bool = False
    link: tuple[str, str] = ("", "")
    bad: float | None = None
    decimals: int | None = None

    def properties(self) -> list[Json]:
        """The overrides that say so."""
        said: list[tuple[str, Any]] = [
            ("displayName", self.label),
            ("unit", self.unit),
            ("custom.width", self.width),
            # Twice each, as Grafana 11 says it and as 13 does; each leaves the other's alone.
            ("custom.hidden", self.hidden),
            ("custom.hideFrom", {"viz": True, "legend": False, "tooltip": False} if self.hidden else None),
            ("custom.cellOptions", {"type": "auto", "wrapText": True} if self.wrapped else None),
            ("custom.wrapText", self.wrapped),
            ("custom.inspect", self.wrapped),
            ("links", [{"title": self.link[0], "url": self.link[1]}] if self.link[1] else None),
        ]
        properties = [{"id": name, "value": value} for name, value in said if value]
        if self.decimals is not None:
            properties.append({"id": "decimals", "value": self.decimals})
        if self.bad is not None:
            properties.append({"id": "thresholds", "value": _thresholds(self.bad)})
            properties.append({"id": "color", "value": {"mode": "thresholds"}})
        return properties


Columns = Mapping[str, Column]


def _thresholds(bad: float | None) -> Json:
    steps: list[Json] = [{"color": "text", "value": None}]
    if bad is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": bad}]
        if bad < 0:
            steps = [{"color": "red", "value": None}, {"color": "green", "value": bad}]
    return {"mode": "absolute", "steps": steps}


def query(sql: str, kind: str, ref: str = "A") -> Json:
    """A query as the ClickHouse data source keeps it."""
    return {
        "refId": ref,
        "datasource": dict(SOURCE),
        "editorType": "sql",
        "queryType": kind,
        "format": _FORMATS[kind],
        "rawSql": sql.strip(),
        "pluginVersion": PLUGIN_VERSION,
    }


def _panel(kind: str, title: str, targets: list[Json], *, about: str, defaults: Json, options: Json) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": dict(SOURCE),
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _overrides(columns: Columns) -> list[Json]:
    return [
        {"matcher": {"id": "byName", "options": name}, "properties": column.properties()}
        for name, column in columns.items()
        if column.properties()
    ]


def timeseries(
    title: str,
    sql: str,
    unit: str,
    *,
    name: str = "",
    stacked: bool = False,
    most: float | None = None,
    about: str = "",
) -> Json:
    """A graph over time: bars on top of each other when ``stacked``, else lines. ``name`` is what a series shows."""
    custom = {
        "drawStyle": "bars" if stacked else "line",
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 0,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisSoftMin": 0,
    }
    defaults: Json = {"unit": unit, "custom": custom}
    if name:
        defaults["displayName"] = name
    if most is not None:
        defaults |= {"min": 0, "max": most}
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, [query(sql, "timeseries")], about=about, defaults=defaults, options=options)


def table(title: str, sql: str, columns: Columns, *, about: str = "") -> Json:
    """A table; what ``columns`` does not name is shown as it comes."""
    defaults: Json = {
        "custom": {"align": "auto", "filterable": True, "inspect": False, "cellOptions": {"type": "auto"}}
    }
    options = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0}
    panel = _panel("table", title, [query(sql, "table")], about=about, defaults=defaults, options=options)
    panel["fieldConfig"]["overrides"] = _overrides(columns)
    return panel


def stat(title: str, sql: str, columns: Columns, *, about: str = "") -> Json:
    """The columns of the one row that ``sql`` gives, as large figures."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/", "values": False},
        "textMode": "value_and_name",
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "vertical",
        "wideLayout": False,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    defaults = {"unit": NUMBER, "noValue": "–", "thresholds": _thresholds(None), "color": {"mode": "thresholds"}}
    panel = _panel("stat", title, [query(sql, "table")], about=about, defaults=defaults, options=options)
    panel["fieldConfig"]["overrides"] = _overrides(columns)
    return panel


def bars(title: str, sql: str, x: str, unit: str, *, about: str = "") -> Json:
    """Groups of bars, one group for each row."""
    options = {
        "xField": x,
        "orientation": "auto",
        "stacking": "none",
        "showValue": "auto",
        "barWidth": 0.9,
        "groupWidth": 0.7,
        "xTickLabelRotation": 0,
        "xTickLabelMaxLength": 20,
        "xTickLabelSpacing": 0,
        "fullHighlight": False,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    return _panel("barchart", title, [query(sql, "table")], about=about, defaults={"unit": unit}, options=options)


def lines_of_text(title: str, sql: str, *, about: str = "") -> Json:
    """Text whose indentation counts, in Grafana's panel for logs."""
    options = {
        "showTime": False,
        "showLabels": False,
        "showCommonLabels": False,
        "showLogContextToggle": False,
        "wrapLogMessage": True,
        "prettifyLogMessage": False,
        "enableLogDetails": False,
        "sortOrder": "Ascending",
        "dedupStrategy": "none",
    }
    return _panel("logs", title, [query(sql, "logs")], about=about, defaults={}, options=options)


def trace(title: str, sql: str, *, about: str = "") -> Json:
    """The spans of one trace."""
    return _panel("traces", title, [query(sql, "traces")], about=about, defaults={}, options={})


# -- variables --------------------------------------------------------------------------------------------------------


def data_source() -> Json:
    """Which ClickHouse is asked."""
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "ClickHouse",
        "query": PLUGIN,
        "refresh": 1,
        "regex": "",
    }


def choice(name: str, label: str, sql: str, *, everything: str = "", about: str = "") -> Json:
    """One of the values that ``sql`` gives; with ``everything``, also all of them, for which it then stands."""
    variable: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "description": about,
        "datasource": dict(SOURCE),
        # Read by the data source's older and newer versions alike.
        "query": {"refId": name, "queryType": "sql", "editorType": "sql", "rawSql": sql.strip()},
        "refresh": 2,
        "sort": 0,
        "multi": False,
        "includeAll": bool(everything),
    }
    if everything:
        variable |= {"allValue": everything, "current": {"text": "All", "value": "$__all"}}
    return variable


def options_of(name: str, label: str, values: Mapping[str, str]) -> Json:
    """One of a few values, by the words they are shown as; the first to begin with."""
    first = next(iter(values))
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ", ".join(f"{text} : {value}" for text, value in values.items()),
        "current": {"text": first, "value": values[first]},
        "multi": False,
        "includeAll": False,
    }


def typed(name: str, label: str, default: str = "", about: str = "") -> Json:
    """A field to type into."""
    return {
        "type": "textbox",
        "name": name,
        "label": label,
        "description": about,
        "query": default,
        "current": {"text": default, "value": default},
    }


# -- dashboards -------------------------------------------------------------------------------------------------------

Line = tuple[int, Sequence[tuple[int, Json]]]


def dashboard(
    uid: str, title: str, about: str, variables: Iterable[Json], lines: Iterable[Line], *, marks: str = ""
) -> Json:
    """A dashboard of lines of panels: each line a height and panels with their widths, 24 together.

    ``marks`` is the SELECT of what is marked in every graph.
    """
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": [TAG],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "",
        "fiscalYearStartMonth": 0,
        "time": {"from": "now-24h", "to": "now"},
        "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m", "15m", "1h"], "hidden": False},
        "annotations": {"list": [_marks(marks)] if marks else []},
        "templating": {"list": [data_source(), *variables]},
        "links": [_to_the_others()],
        "panels": _placed(lines),
    }


def _placed(lines: Iterable[Line]) -> list[Json]:
    panels: list[Json] = []
    y = 0
    for height, line in lines:
        x = 0
        for width, panel in line:
            panels.append({"id": len(panels) + 1, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
        if x != _COLUMNS:
            raise ValueError(f"the panels at {panels[-1]['title']!r} are {x} wide together: a line takes {_COLUMNS}")
        y += height
    return panels


def _marks(sql: str) -> Json:
    return {
        "name": "New versions",
        "datasource": dict(SOURCE),
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "target": query(sql, "table", ref="annotation"),
    }


def _to_the_others() -> Json:
    return {
        "title": "ell-otel",
        "type": "dashboards",
        "icon": "external link",
        "tooltip": "",
        "url": "",
        "tags": [TAG],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }
