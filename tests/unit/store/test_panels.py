"""The SELECTs of the dashboards and alert rules, as Grafana would send them, over rows whose figures are known."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from grafana import expanded, interpolated
from store_rows import MS, T0, evaluation, hash_of, id_of, inference, invocation, program_event, record, rows_of

from ell_otel.config import resolve
from ell_otel.store import queries
from ell_otel.store.client import Store, open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.panels import alerts, health, invocations, program, programs, words
from ell_otel.store.writer import Rows, write

GREET, QUOTED = "app.greet", "it's\\a 'program\\"
V1, V2, ODD = hash_of("aaaaaa11"), hash_of("aaaaaa22"), hash_of("bbbbbb")
MODEL = "gpt-4o-mini"  # 0.15 dollars per million tokens in, 0.60 out
SECOND = 1000 * MS
ALL = {"service": "*", "program": "*", "model": "*", "version": "*", "status": "*", "slower_than_ms": "0", "search": ""}
ONE = {"program": GREET, "before": V1, "after": V2}


def _rows() -> Iterator[Rows]:
    text = "def tone():\n    return 'warmly'\n"
    yield program_event(GREET, V1, attributes={"ell.program.source": text})
    changed = text.replace("warmly", "briefly")
    yield program_event(GREET, V2, Timestamp=T0 + 50 * SECOND, attributes={"ell.program.source": changed})
    yield program_event(QUOTED, ODD)
    # Forty calls of v1 of 100 ms, 1,000 tokens in and 100 out, all well; then forty of v2: 300 ms, twice the tokens, a quarter fails.
    for n in range(1, 81):
        first, at = n <= 40, {"Timestamp": T0 + n * SECOND}
        version, tokens = (V1, 1) if first else (V2, 2)
        failed = {"StatusCode": "Error", "attributes": {"error.type": "ValueError"}} if not first and n % 4 == 0 else {}
        yield invocation(n, GREET, version, Duration=(100 if first else 300) * MS, **at, **failed)
        used = {"input_tokens": 1000 * tokens, "output_tokens": 100 * tokens}
        yield inference(n, GREET, version, MODEL, used, **at)
        yield evaluation(n, GREET, version, "1" if first else "0.5", **at)
    said = [{"role": "user", "parts": [{"type": "text", "content": 'He said "où?" \\ 100%_'}]}]
    asked = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "look", "arguments": {"at": 1}}]}
    replied = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "result": "nothing"}]}
    contents = {
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be kind."}]),
        "gen_ai.input.messages": json.dumps([*said, asked, replied]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "Here."}]}]),
    }
    yield invocation(90, QUOTED, ODD)
    yield inference(90, QUOTED, ODD, "home-made", {"input_tokens": 5, "output_tokens": 6}, attributes=contents)
    yield inference(91, "", "", MODEL, {"input_tokens": 1}, attributes={"ell.invocation.id": ""})
    yield inference(92, GREET, V1, MODEL, {"input_tokens": 9}, attributes={"ell.duplicate": "1"}, ScopeName="another")
    lost = {"event.name": "ell.loss", "ell.loss.count": "7", "ell.loss.reason": "disk full"}
    yield record(lost)
    yield record(lost)
    # A version that only spans know.
    yield invocation(95, "app.bare", hash_of("cccccc"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(resolve({}, dir=str(tmp_path_factory.mktemp("s") / ".ell")), purpose="test") as opened:
        migrate(opened)
        write(opened, rows_of(*_rows()))
        write(opened, invocation(1, GREET, V1, Duration=100 * MS, Timestamp=T0 + SECOND))  # again
        yield opened


Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def ask(store: Store) -> Ask:
    def answer(sql: str, start_s: int = -60, end_s: int = 600, **values: str) -> list[dict[str, Any]]:
        start, end = T0 // 10**9 + start_s, T0 // 10**9 + end_s
        return store.query(expanded(interpolated(sql, {**ALL, **values}), start, end))

    return answer


# -- programs ---------------------------------------------------------------------------------------------------------


def test_totals_count_each_call_once_and_leave_unknown_cost_out(ask: Ask) -> None:
    (row,) = ask(programs.TOTALS)
    assert (row["calls"], row["error_rate"]) == (82, 10 / 82)
    assert (row["input"], row["output"]) == (40 * 3000 + 5 + 1, 40 * 300 + 6)
    assert row["cost"] == pytest.approx((40 * 3000 + 1) * 0.15e-6 + 40 * 300 * 0.6e-6)
    assert row["unpriced"] == 1


def test_totals_of_nothing_are_unknown_not_zero(ask: Ask) -> None:
    (row,) = ask(programs.TOTALS, start_s=9000, end_s=9060)
    assert (row["calls"], row["error_rate"], row["p95"], row["cost"]) == (0, None, None, None)


def test_a_program_costs_in_grafana_what_it_costs_in_the_shell(store: Store, ask: Ask) -> None:
    from ell_otel.store.queries import programs as in_the_shell

    shown = {row["program"]: row["cost"] for row in ask(programs.PROGRAM_TABLE)}
    assert shown == {row.name: pytest.approx(row.cost) for row in in_the_shell(store)}


def test_the_programs_table_has_a_row_for_each_with_its_figures(ask: Ask) -> None:
    rows = {row["program"]: row for row in ask(programs.PROGRAM_TABLE)}
    assert set(rows) == {GREET, QUOTED, "app.bare"}
    greet = rows[GREET]
    assert (greet["calls"], greet["versions"], greet["error_rate"]) == (80, 2, 10 / 80)
    assert (greet["input_per_call"], greet["output_per_call"]) == (1500, 150)
    assert (greet["score"], greet["scores"]) == (0.75, 80)
    assert (rows[QUOTED]["cost"], rows[QUOTED]["unpriced"]) == (None, 1)


def test_models_are_counted_also_without_a_program_and_a_second_report_is_not(ask: Ask) -> None:
    rows = {row["model"]: row for row in ask(programs.MODEL_TABLE)}
    assert {model: row["calls"] for model, row in rows.items()} == {MODEL: 81, "home-made": 1}
    assert rows["home-made"]["cost"] is None
    assert rows[MODEL]["cached"] is None


@pytest.mark.parametrize(
    ("variables", "calls"),
    [
        ({"program": GREET}, 80),
        ({"program": QUOTED}, 1),
        ({"model": MODEL}, 80),
        ({"model": "home-made"}, 1),
        ({"service": "elsewhere"}, 0),
        ({"program": "' OR '1'='1"}, 0),
        ({"program": "\\"}, 0),
    ],
)
def test_a_variable_narrows_whatever_stands_in_it(ask: Ask, variables: dict[str, str], calls: int) -> None:
    assert ask(programs.TOTALS, **variables)[0]["calls"] == calls


def test_series_have_a_time_that_grows_a_label_and_a_number(ask: Ask) -> None:
    series = {
        programs.CALLS: {"program"},
        programs.CALLS_BY_VERSION: {"version"},
        programs.ERRORS: {"program"},
        programs.LATENCY_BY_PROGRAM: {"program"},
        programs.LATENCY_BY_MODEL: {"model"},
        programs.TOKENS: {"model"},
        programs.COST_BY_MODEL: {"model"},
        programs.COST_BY_PROGRAM: {"program"},
        health.ARRIVED: {"service"},
        health.EVENTS_ARRIVED: {"event"},
        health.LOSSES: {"reason"},
    }
    for sql, labels in series.items():
        rows = ask(sql)
        assert rows, sql
        assert all(earlier["time"] <= later["time"] for earlier, later in itertools.pairwise(rows)), sql
        assert {name for name, value in rows[0].items() if isinstance(value, str)} == labels, sql
        assert len({(row["time"], *(row[label] for label in labels)) for row in rows}) == len(rows), sql


def test_calls_by_version_add_up_and_name_the_version(ask: Ask) -> None:
    counted: dict[str, int] = {}
    for row in ask(programs.CALLS_BY_VERSION):
        counted[row["version"]] = counted.get(row["version"], 0) + row["calls"]
    assert counted == {"app.greet v1": 40, "app.greet v2": 40, f"{QUOTED} v1": 1, "app.bare v1": 1}


def test_a_new_version_is_marked_where_it_was_first_seen_and_a_first_one_is_not(ask: Ask) -> None:
    assert [(row["text"], row["tags"]) for row in ask(programs.NEW_VERSION_MARKS)] == [("app.greet v2", GREET)]
    newest = ask(programs.NEW_VERSIONS)[0]
    assert (newest["program"], newest["label"], newest["previous"]) == (GREET, "v2", V1)


# -- one program ------------------------------------------------------------------------------------------------------


def test_the_first_choice_is_the_newest_version_and_the_one_before_it(ask: Ask) -> None:
    assert [row["value"] for row in ask(program.AFTER, **ONE)] == [V2, V1]
    assert [row["value"] for row in ask(program.BEFORE, **ONE)] == [V1, V2]
    assert [row["value"] for row in ask(program.BEFORE, program=QUOTED)] == [ODD]


def test_the_change_from_before_to_after_is_what_it_is(ask: Ask) -> None:
    (row,) = ask(program.CHANGE, **ONE)
    assert row["latency"] == pytest.approx(2)
    assert row["cost"] == pytest.approx(1)
    assert (row["errors"], row["score"]) == (0.25, -0.5)
    before, after = ask(program.COMPARISON, **ONE)
    assert (before["which"], before["p95"], after["which"], after["p95"]) == ("before", 100, "after", 300)


def test_a_version_without_calls_has_no_figures_and_no_change(ask: Ask) -> None:
    (row,) = ask(program.CHANGE, **ONE, end_s=45)
    assert row["latency"] == pytest.approx(2)
    (row,) = ask(program.CHANGE, **ONE, end_s=30)
    assert row["latency"] is None
    assert [each["calls"] for each in ask(program.COMPARISON, **ONE, end_s=30)] == [30, 0]


def test_what_changed_is_the_lines_that_one_of_the_two_has(ask: Ask) -> None:
    rows = ask(program.DIFFERENCE, **ONE)
    assert [(row["body"], row["level"]) for row in rows] == [
        ("-     return 'warmly'", "error"),
        ("+     return 'briefly'", "info"),
    ]
    assert ask(program.SOURCE, **ONE)[0]["body"] == "def tone():\n    return 'briefly'\n"
    assert ask(program.DIFFERENCE, **{**ONE, "before": V2}) == []


def test_what_to_type_holds_no_more_of_what_a_sender_chose_than_a_hash(ask: Ask) -> None:
    (row,) = ask(program.IN_THE_SHELL, **ONE)
    assert row["body"].splitlines()[1:5:3] == [f"ell-otel diff {V1} {V2}", f"ell-otel checkout {V2}"]
    (row,) = ask(program.IN_THE_SHELL, program="'; rm -r ~; '", before=f"{V1}'; rm -r ~", after=f"x\n{V2}")
    assert "rm" not in row["body"]
    assert row["body"].splitlines()[1:5:3] == ["ell-otel diff  ", "ell-otel checkout "]


def test_the_versions_table_has_each_version_with_the_one_before_it(ask: Ask) -> None:
    rows = ask(program.VERSION_TABLE, **ONE)
    assert [(row["label"], row["previous"], row["calls"]) for row in rows] == [("v2", V1, 40), ("v1", "", 40)]


def test_every_series_of_a_program_has_both_versions(ask: Ask) -> None:
    for sql in (program.CALLS, program.ERRORS, program.LATENCY, program.SCORES, program.COST):
        assert {row["version"] for row in ask(sql, **ONE)} == {"v1", "v2"}, sql
    quantiles = ask(program.LATENCY_QUANTILES, **ONE)
    assert [row["quantile"] for row in quantiles] == ["p10", "p25", "p50", "p75", "p90", "p95", "p99"]
    assert {(row["before"], row["after"]) for row in quantiles} == {(100, 300)}
    assert ask(program.SCORE_TABLE, **ONE) == [
        {"name": "exact", "before": 1, "after": 0.5, "change": -0.5, "scores_before": 40, "scores_after": 40}
    ]


# -- invocations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, 82),
        ({"status": "error"}, 10),
        ({"status": "ok"}, 72),
        ({"slower_than_ms": "200"}, 40),
        ({"slower_than_ms": "a few"}, 82),
        ({"version": V1}, 40),
        ({"model": "home-made"}, 1),
        ({"search": "OÙ EST"}, 80),
        ({"search": 'said "où?" \\ 100%_'}, 1),
        ({"search": "be KIND"}, 1),
        ({"search": "100%%"}, 0),
        ({"search": "'); DROP TABLE otel_traces; --"}, 0),
        ({"search": "? \\ 1"}, 0),
        ({"search": "kin"}, 0),
        ({"search": "e kind"}, 0),
        ({"search": "RESULT 7"}, 1),
        ({"search": "\\ 100"}, 1),
        ({"search": "$__timeFilter(x) ${search} {x:String}"}, 0),
    ],
)
def test_invocations_are_found_by_what_is_typed_and_chosen(ask: Ask, variables: dict[str, str], found: int) -> None:
    rows = ask(invocations.TABLE, **variables)
    assert len(rows) == found
    assert sum(row["ok"] + row["error"] for row in ask(invocations.OUTCOMES, **variables)) == found


@pytest.mark.parametrize(
    "text", ["OÙ EST", 'said "où?" \\', "be KIND.", "kin", "sult 7", "result 7", "number", "\\ 100"]
)
def test_the_dashboard_finds_what_the_shell_finds(ask: Ask, store: Store, text: str) -> None:
    found = {row["invocation"] for row in ask(invocations.TABLE, search=text)}
    assert found == {each.id for each in queries.invocations(store, queries.InvocationFilter(text=text), limit=200)}


def test_a_search_asks_the_index_of_words(store: Store) -> None:
    spans = words.SEARCHED[words.SEARCHED.index("WITH ") : -3]

    def granules(text: str) -> tuple[int, int]:
        asked = expanded(interpolated(f"EXPLAIN indexes = 1 {spans} {words.USING_THE_INDEX}", {"search": text}), 0, 1)
        plan = "\n".join(str(row["explain"]).strip() for row in store.query(asked))
        read, of = re.findall(r"Granules: (\d+)/(\d+)", plan.partition("Name: idx_text")[2])[0]
        return int(read), int(of)

    assert granules("kind")[0] == 1
    assert granules("absent kind")[0] == 0
    read, of = granules("où absent")  # what is not ASCII may stand as an escape: it is looked for everywhere
    assert read == of >= 1


def test_a_line_of_the_list_says_what_the_call_was(ask: Ask) -> None:
    row = next(row for row in ask(invocations.TABLE, program=GREET) if row["invocation"] == id_of(80))
    assert (row["version"], row["status"], row["error"]) == ("v2", "error", "ValueError")
    assert (row["duration"], row["models"], row["input"], row["output"]) == (300, MODEL, 2000, 200)
    assert row["cost"] == pytest.approx(2000 * 0.15e-6 + 200 * 0.6e-6)
    assert (row["score"], row["trace"]) == (0.5, f"{80:032x}")


def test_messages_are_shown_part_by_part_in_the_order_they_were_said(ask: Ask) -> None:
    rows = ask(invocations.MESSAGES, trace=f"{90:032x}", invocation=id_of(90))
    assert [(row["role"], row["part"], row["text"]) for row in rows] == [
        ("system", "text", "Be kind."),
        ("user", "text", 'He said "où?" \\ 100%_'),
        ("assistant", "tool_call", 'look {"at":1}'),
        ("tool", "tool_call_response", '"nothing"'),
        ("assistant", "text", "Here."),
    ]
    (call,) = ask(invocations.CALL, trace=f"{90:032x}", invocation=id_of(90))
    assert call == {"arguments": '{"number": 90}', "result": '"result 90"'}


def test_the_trace_has_grafanas_columns_and_finds_a_trace_outside_of_the_time_shown(ask: Ask) -> None:
    rows = ask(invocations.TRACE, start_s=9000, end_s=9060, trace=f"{80:032x}")
    assert [row["operationName"] for row in rows] == [f"invoke_workflow {GREET}", f"chat {MODEL}"]
    assert rows[1]["parentSpanID"] == rows[0]["spanID"]
    assert (rows[0]["statusCode"], rows[0]["duration"]) == (2, 300)
    assert rows[0]["startTime"] == pytest.approx(T0 / 1e6 + 80_000)
    assert {"key": "ell.program.name", "value": GREET} in rows[0]["tags"]
    assert ask(invocations.TRACE, trace="' OR 1 OR '") == []


def test_versions_to_choose_from_are_those_of_the_program(ask: Ask) -> None:
    assert [row["text"] for row in ask(invocations.VERSIONS, program=GREET)] == ["app.greet v2", "app.greet v1"]
    assert len(ask(invocations.VERSIONS)) == 4
    assert [row["name"] for row in ask(invocations.SCORES, invocation=id_of(3))] == ["exact"]


# -- health and alerts ------------------------------------------------------------------------------------------------


def test_health_says_what_was_lost_doubled_unknown_and_unpriced(ask: Ask) -> None:
    assert [(row["reason"], row["lost"]) for row in ask(health.LOSSES)] == [("disk full", 7)]
    assert {row["table"]: row["again"] for row in ask(health.REPEATED)}["otel_traces"] in {0, 1}
    assert [(row["producer"], row["spans"]) for row in ask(health.TWO_REPORTERS)] == [("another", 1)]
    assert [row["model"] for row in ask(health.UNPRICED)] == ["home-made"]
    assert [row["program"] for row in ask(health.SOURCELESS)] == ["app.bare"]
    assert max(row["unknown"] for row in ask(health.ATTRIBUTION)) > 0
    assert [row["service"] for row in ask(health.SILENCE)] == ["shop"]


def test_health_says_what_the_tables_take(store: Store, ask: Ask) -> None:
    sizes = {row["table"]: row for row in ask(health.SIZES)}
    assert {"otel_traces", "otel_logs", "ell_spans"} <= set(sizes)
    assert all(row["rows"] > 0 and row["on_disk"] > 0 for row in sizes.values())
    assert ask(health.PARTS)[0]["parts"] >= 1
    assert all(0 <= row["used"] <= 1 for row in ask(health.DISKS))
    written = store.query("SELECT toUnixTimestamp(now()) AS now")[0]["now"] - T0 // 10**9
    lag = {row["table"]: row["worst"] for row in ask(health.LAG, start_s=0, end_s=int(written) + 60)}
    assert lag["otel_traces"] > 0


def test_a_rule_has_one_number_for_each_label(ask: Ask) -> None:
    for sql in (alerts.COST, alerts.ERROR_RATE, alerts.SLOWER, alerts.DEARER, alerts.WORSE, alerts.LOST):
        rows = ask(sql)
        assert rows, sql
        for row in rows:
            assert sum(not isinstance(value, str) for value in row.values()) == 1, sql
            assert next(iter(row.values())), sql


def test_a_worse_version_is_told_by_how_much(ask: Ask) -> None:
    (slower,) = ask(alerts.SLOWER)
    assert (slower["program"], slower["version"], slower["ratio"]) == (GREET, "v2", pytest.approx(3))
    assert ask(alerts.DEARER)[0]["ratio"] == pytest.approx(2)
    assert ask(alerts.WORSE)[0]["drop"] == pytest.approx(0.5)
    assert ask(alerts.ERROR_RATE) == [{"program": GREET, "error_rate": 10 / 80}]
    assert ask(alerts.LOST) == [{"service": "shop", "lost": 7}]


def test_a_version_that_is_not_new_or_has_few_calls_alarms_nobody(ask: Ask) -> None:
    # The newest version was first seen before the rule's range; then, inside of it, but with ten calls only.
    assert ask(alerts.SLOWER, start_s=55, end_s=600) == []
    assert ask(alerts.ERROR_RATE, end_s=10) == []
