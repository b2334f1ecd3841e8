"""What Grafana and its ClickHouse data source do to a query before it is sent.

Written after the data source's macro list and Grafana's variable formats. What is not here, our queries must not use:
the functions raise on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

# JavaScript's encodeURIComponent leaves these as they are; the format encodes ! ' ( ) * besides.
_PLAIN = "-_.~"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<format>\w+))?\}|\$(?P<bare>\w+)|\[\[(?P<old>\w+)")
_MACRO = re.compile(r"\$__(?P<name>\w+)(?:\((?P<argument>[^()]*)\))?")


def interpolated(sql: str, values: Mapping[str, str]) -> str:
    """The query with its variables replaced, which Grafana does before the data source sees the macros."""

    def replace(found: re.Match[str]) -> str:
        if (found["bare"] or "").startswith("__"):
            return found[0]
        assert found["format"] == "percentencode", f"{found[0]} is put into SQL as it is"
        return quote(values[found["name"]], safe=_PLAIN)

    return _VARIABLE.sub(replace, sql)


def expanded(sql: str, start_s: int, end_s: int, interval_s: int = 60) -> str:
    """The query with its macros replaced."""
    start, end = f"toDateTime({start_s})", f"toDateTime({end_s})"
    macros: dict[str, Callable[[str], str]] = {
        "timeFilter": lambda column: f"{column} >= {start} AND {column} <= {end}",
        "timeInterval": lambda column: f"toStartOfInterval(toDateTime({column}), INTERVAL {interval_s} second)",
        "fromTime": lambda _: start,
        "toTime": lambda _: end,
    }
    replaced = _MACRO.sub(lambda found: macros[found["name"]](found["argument"]), sql)
    assert "$__" not in replaced, replaced
    return replaced


def queries(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every query of a dashboard with what it belongs to: panels, variables and what is marked in graphs."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]
    for mark in dashboard["annotations"]["list"]:
        yield mark["name"], mark["target"]
