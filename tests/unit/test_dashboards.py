"""The dashboards' files: what Grafana's schema says of them, and what they say of each other."""

from __future__ import annotations

import enum
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from grafana import queries
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting, common, expr
from grafana_foundation_sdk.models import dashboard as schema

from ell_otel.dashboards import alerts, dashboards, files
from ell_otel.dashboards.grafana import dashboard as made
from ell_otel.dashboards.grafana import table

plugins.register_default_plugins()
COMMITTED = Path(__file__).parents[2] / "collector" / "grafana"
BY_NAME = dashboards()
EVERY = pytest.mark.parametrize("name", BY_NAME)


def faults(value: Any, hint: Any, path: str = "") -> list[str]:
    """Where a value is not what the schema's types say. The SDK reads any JSON; only its annotations are strict."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object):
        hint = type(value)  # a panel's options: the plugin's own class, when the schema knows the plugin
    if origin in (typing.Union, types.UnionType):
        fits = [faults(value, each, path) for each in arguments if (each is types.NoneType) == (value is None)]
        return min(fits, key=len, default=[f"{path}: is missing"])
    if origin is typing.Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments}"]
    if origin in (list, dict):
        if not isinstance(value, origin):
            return [f"{path}: {value!r} is no {origin.__name__}"]
        items = value.items() if origin is dict else enumerate(value)
        return [fault for key, item in items for fault in faults(item, arguments[-1], f"{path}.{key}")]
    if issubclass(hint, enum.Enum):
        return [] if value in [each.value for each in hint] else [f"{path}: {value!r} is no {hint.__name__}"]
    if not isinstance(value, (int, float) if hint is float else hint):
        return [f"{path}: {value!r} is no {hint.__name__}"]
    if not hint.__module__.startswith("grafana_foundation_sdk"):
        return []
    hints = typing.get_type_hints(type(value), vars(sys.modules[type(value).__module__]))
    return [fault for name, each in hints.items() for fault in faults(getattr(value, name), each, f"{path}.{name}")]


def unknown(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """What of our JSON the schema does not know: it is gone when the SDK has read it and written it again."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [fault for key in ours for fault in unknown(ours[key], theirs.get(key), f"{path}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [fault for n, item in enumerate(ours) for fault in unknown(item, theirs[n], f"{path}[{n}]")]
    return [] if ours == theirs else [f"{path}: {ours!r}"]


def checked(ours: Any, model: Any) -> list[str]:
    read = model.from_json(ours)
    return [*faults(read, model), *unknown(ours, json.loads(json.dumps(read, cls=JSONEncoder)))]


@EVERY
def test_grafanas_schema_knows_all_that_a_dashboard_says(name: str) -> None:
    dashboard = BY_NAME[name]
    # The schema leaves a mark's query and a variable's to the data source.
    marks = [{key: each[key] for key in each if key != "target"} for each in dashboard["annotations"]["list"]]
    plain = {**dashboard, "annotations": {"list": marks}}
    assert checked(plain, schema.Dashboard) == []
    for panel in dashboard["panels"]:
        assert checked(panel, schema.Panel) == [], panel["title"]


def test_the_schemas_check_sees_a_wrong_type_a_wrong_word_and_an_unknown_key() -> None:
    panel = BY_NAME["programs"]["panels"][1]
    assert checked({**panel, "gridPos": {**panel["gridPos"], "w": "wide"}}, schema.Panel)
    assert checked({**panel, "options": {**panel["options"], "tooltip": {"mode": "all", "sort": "desc"}}}, schema.Panel)
    assert checked({**panel, "colour": "red"}, schema.Panel)


def test_grafanas_schema_knows_all_that_an_alert_rule_says() -> None:
    (group,) = alerts()["groups"]
    for rule in group["rules"]:
        # In provisioning files the folder and the group stand once, outside of the rules.
        whole = {**rule, "orgID": 1, "folderUID": "f", "ruleGroup": group["name"]}
        assert checked(whole, alerting.Rule) == []
        condition = {**rule["data"][1]["model"]}
        assert checked(condition, expr.TypeThreshold) == []
        assert rule["condition"] == condition["refId"]
        assert condition["expression"] == rule["data"][0]["refId"]


def test_an_alert_rules_words_hold_nothing_that_grafana_would_replace_from_its_environment() -> None:
    for rule in alerts()["groups"][0]["rules"]:
        assert "$" not in json.dumps({key: value for key, value in rule.items() if key != "data"})


def test_the_committed_files_are_the_ones_that_the_code_makes() -> None:
    for path, content in files().items():
        assert json.loads((COMMITTED / path).read_text()) == content, f"{path}: run make generate"
    assert {f"dashboards/{path.name}" for path in (COMMITTED / "dashboards").glob("*")} <= set(files())


@EVERY
def test_panels_lie_side_by_side_and_do_not_overlap(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in BY_NAME[name]["panels"]:
        at = panel["gridPos"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            assert cell[0] < 24
            taken[cell] = panel["title"]
    assert len({panel["id"] for panel in BY_NAME[name]["panels"]}) == len(BY_NAME[name]["panels"])


def test_a_line_that_is_not_full_is_refused() -> None:
    with pytest.raises(ValueError, match="24"):
        made("x", "X", "", [], [(4, [(12, table("Half", "SELECT 1", {}))])])


@EVERY
def test_every_variable_that_is_used_is_one_of_the_dashboard(name: str) -> None:
    dashboard = BY_NAME[name]
    there = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{(\w+)", json.dumps({**dashboard, "links": []})))
    assert {each for each in used if not each.startswith("__")} <= there


@EVERY
def test_every_link_leads_to_one_of_our_dashboards_and_sets_variables_it_has(name: str) -> None:
    by_uid = {dashboard["uid"]: dashboard for dashboard in BY_NAME.values()}
    for uid, arguments in re.findall(r'"url": "/d/([\w-]+)\?([^"]*)"', json.dumps(BY_NAME[name])):
        there = {variable["name"] for variable in by_uid[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", arguments)) <= there
        assert set(re.findall(r"\$\{(\w+):queryparam\}", arguments)) <= there


@EVERY
def test_no_variable_reaches_sql_but_percent_encoded_between_quotes(name: str) -> None:
    for title, query in queries(BY_NAME[name]):
        for found in re.finditer(r"(.{0,1})\$(?!__)(\{?\w+[^}]*\}?)(.{0,1})", query["rawSql"]):
            assert found[2].endswith(":percentencode}"), f"{title}: {found[0]}"
            assert (found[1], found[3]) == ("'", "'"), f"{title}: {found[0]}"


@EVERY
def test_what_a_column_overrides_is_something_that_grafana_lets_it(name: str) -> None:
    fields, cells = (
        {re.sub(r"_(\w)", lambda found: found[1].upper(), each) for each in typing.get_type_hints(model, vars(module))}
        for model, module in ((schema.FieldConfig, schema), (common.TableFieldOptions, common))
    )
    cells |= {"wrapText", "hideFrom"}  # since Grafana 12
    for panel in BY_NAME[name]["panels"]:
        for override in panel["fieldConfig"]["overrides"]:
            for each in override["properties"]:
                kind, _, rest = each["id"].partition(".")
                assert (rest in cells) if kind == "custom" else (kind in fields), each["id"]
