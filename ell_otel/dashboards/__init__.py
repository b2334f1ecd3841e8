"""Grafana's dashboards and alert rules, as code: the SELECTs are in ``store.panels``, the layout is here.

``python -m ell_otel.dashboards collector/grafana`` writes them; ``make check`` sees that what is committed is what
they give.
"""

from ell_otel.dashboards.alerts import alerts
from ell_otel.dashboards.grafana import Json
from ell_otel.dashboards.health import health
from ell_otel.dashboards.invocations import invocations
from ell_otel.dashboards.program import program
from ell_otel.dashboards.programs import programs

__all__ = ["alerts", "dashboards", "files"]


def dashboards() -> dict[str, Json]:
    """Every dashboard by the name of its file."""
    return {"programs": programs(), "program": program(), "invocations": invocations(), "health": health()}


def files() -> dict[str, Json]:
    """Every generated file by its path below ``collector/grafana``."""
    made = {f"dashboards/{name}.json": made for name, made in dashboards().items()}
    return {**made, "provisioning/alerting/ell-otel.json": alerts()}
