"""Questions and their answers, over one set of rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from store_rows import MS, T0, evaluation, hash_of, id_of, inference, invocation, program_event, record, rows_of, span

from ell_otel.config import resolve
from ell_otel.errors import NotFoundError, StoreError
from ell_otel.store.client import Store, open_store
from ell_otel.store.migrate import migrate
from ell_otel.store.queries import (
    InvocationFilter,
    counts,
    find_invocation,
    find_version,
    invocations,
    programs,
    trace,
    unpriced_models,
    versions,
)
from ell_otel.store.writer import Rows, write

V1, V2, HELPER, SPLIT, TORN = (hash_of(digits) for digits in ("aaaaaa11", "aaaaaa22", "bbbbbb", "cccccc", "dddddd"))


def _rows() -> Iterator[Rows]:
    yield program_event(
        "app.greet",
        V1,
        Timestamp=T0 - 10,
        attributes={"ell.program.git.commit": "abc", "ell.program.git.branch": "main"},
    )
    yield program_event(
        "app.greet",
        V2,
        Timestamp=T0 + 50 * MS,
        attributes={
            "ell.program.partial": "true",
            "ell.program.warnings": '["no source for helper"]',
            "ell.program.uses": json.dumps([{"name": "app.helper", "version": HELPER}]),
            "ell.program.git.dirty": "true",
        },
    )
    yield program_event("app.helper", HELPER)
    for part, text in ((2, "second\n"), (1, "first\n")):
        yield program_event(
            "long.story", SPLIT, attributes={"ell.program.source": text, "ell.program.part": f"{part}/2"}
        )
    yield program_event("long.torn", TORN, attributes={"ell.program.part": "1/3"})
    for n in range(1, 21):
        version = V1 if n <= 12 else V2
        failed = {"StatusCode": "Error", "attributes": {"error.type": "ValueError"}} if n == 20 else {}
        yield invocation(n, "app.greet", version, Duration=n * 10 * MS, **failed)
        tokens = {
            "input_tokens": 1000,
            "output_tokens": 100,
            "cache_read.input_tokens": 400,
            "reasoning.output_tokens": 20,
        }
        dated = {"gen_ai.response.model": "gpt-4o-2024-08-06"}
        yield inference(n, "app.greet", version, "gpt-4o", tokens, attributes=dated)
    yield evaluation(1, "app.greet", V1, "1")
    yield evaluation(2, "app.greet", V1, "0.5")
    # Runs of the helper: a model without a price, no model at all, a priced beside an unpriced one, a failed call.
    yield invocation(31, "app.helper", HELPER)
    yield inference(31, "app.helper", HELPER, "home-made", {"input_tokens": 5, "output_tokens": 6})
    yield invocation(
        32,
        "app.helper",
        HELPER,
        Links__TraceId=[f"{1:032x}"],
        Links__SpanId=[f"{1:016x}"],
        Links__TraceState=[""],
        Links__Attributes=[{"ell.link": "consumes"}],
    )
    yield invocation(33, "app.helper", HELPER)
    yield inference(33, "app.helper", HELPER, "gpt-4o", {"input_tokens": 1000})
    yield inference(33, "app.helper", HELPER, "home-made", {"input_tokens": 1000}, SpanId="f" * 16)
    yield invocation(34, "app.helper", HELPER, StatusCode="Error", StatusMessage="it broke")
    yield inference(34, "app.helper", HELPER, "gpt-4o", {"input_tokens": 1000})
    yield inference(34, "app.helper", HELPER, "gpt-4o", {}, SpanId="e" * 16, StatusCode="Error")
    # A model call outside any invocation that carries a program, and two of somebody else's.
    yield inference(
        41, "app.loose", hash_of("eeeeee"), "gpt-4o", {"input_tokens": 10}, attributes={"ell.invocation.id": ""}
    )
    yield span({"gen_ai.request.model": "gpt-4o", "gen_ai.operation.name": "chat"}, TraceId="f" * 32, SpanId="1" * 16)
    yield span(
        {"gen_ai.request.model": "gpt-4o", "gen_ai.operation.name": "invoke_agent"}, TraceId="f" * 32, SpanId="2" * 16
    )
    yield record({"event.name": "something else"})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    directory = str(tmp_path_factory.mktemp("queries") / ".ell")
    with open_store(resolve({}, dir=directory), purpose="test") as opened:
        migrate(opened)
        rows = rows_of(*_rows())
        write(opened, rows)
        write(opened, rows)  # everything twice: no answer may show it
        yield opened


def test_programs_come_with_their_figures_last_used_first(store: Store) -> None:
    found = {program.name: program for program in programs(store)}
    assert list(found) == ["app.greet", "app.loose", "app.helper", "long.story", "long.torn"]
    greet = found["app.greet"]
    assert (greet.versions, greet.invocations, greet.errors) == (2, 20, 1)
    assert (greet.input_tokens, greet.output_tokens) == (20_000, 2_000)
    assert greet.cost == pytest.approx(20 * (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    assert (greet.p50_ms, greet.p95_ms) == (pytest.approx(105), pytest.approx(190.5))
    story = found["long.story"]
    assert (story.invocations, story.input_tokens, story.cost, story.p50_ms) == (0, 0, None, None)


def test_a_total_leaves_unknown_costs_out_and_is_unknown_when_all_are(store: Store) -> None:
    found = {program.name: program for program in programs(store)}
    assert found["app.helper"].cost == pytest.approx(2 * 1000 * 2.5 / 1e6)
    costs = {each.id: each.cost for each in invocations(store, InvocationFilter(program="helper"))}
    assert costs[id_of(31)] is None, "no price"
    assert costs[id_of(32)] is None, "no model asked"
    assert costs[id_of(33)] is None, "one of two without a price"
    assert costs[id_of(34)] == pytest.approx(0.0025), "a failed call that reported nothing costs nothing"


def test_versions_are_numbered_by_first_sight(store: Store) -> None:
    first, second = versions(store, "greet")
    assert (first.number, first.version, second.number, second.version) == (1, V1, 2, V2)
    assert (first.invocations, first.errors, second.invocations, second.errors) == (12, 0, 8, 1)
    assert (first.score, second.score) == (0.75, None)
    assert (first.git_commit, first.git_branch, first.partial, second.partial) == ("abc", "main", False, True)
    assert first.first_seen == datetime.fromtimestamp((T0 - 10) // 1000 / 1e6, UTC)
    assert first.cost == pytest.approx(12 * 0.003)


@pytest.mark.parametrize(
    "reference",
    [V1, V1[:11], V1[3:12], "aaaaaa11", "app.greet@v1", "greet@1", "greet@aaaaaa1", "app.greet@c1:aaaaaa11"],
)
def test_a_version_is_found_by_any_unambiguous_reference(store: Store, reference: str) -> None:
    assert find_version(store, reference).version == V1


def test_a_program_name_means_its_newest_version(store: Store) -> None:
    detail = find_version(store, "greet")
    assert (detail.version, detail.number, detail.program) == (V2, 2, "app.greet")
    assert detail.uses == (("app.helper", HELPER),)
    assert detail.warnings == ("no source for helper",)
    assert (detail.partial, detail.git_dirty, detail.source, detail.proto) == (True, True, "# app.greet\n", "AAAA")


def test_a_source_sent_in_parts_is_put_together_or_said_to_be_incomplete(store: Store) -> None:
    whole = find_version(store, "story")
    assert (whole.source, whole.proto, whole.warnings) == ("first\nsecond\n", "AAAAAAAA", ())
    torn = find_version(store, "torn")
    assert (torn.source, torn.warnings) == ("", ("its source has not arrived whole: 1 of 3 parts have",))
    loose = find_version(store, "loose")
    assert (loose.source, loose.warnings) == ("", ("its source has not arrived: only spans of this version have",))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("aaaaaa", "could be app.greet@v1"),
        ("c1:ffffff", "no version begins with 'c1:ffffff'"),
        ("gret", "near it there are app.greet"),
        ("greet@v9", "it has v1 to v2; list them with `ell-otel log app.greet`"),
        ("greet@", "has no version ''"),
        ("greet@aaaaaa", "could be c1:aaaaaa11"),
        ("' OR 1 = 1 --", "no program is called"),
        ("", "no program is called ''"),
    ],
)
def test_a_reference_that_means_nothing_or_too_much_says_what_there_is(store: Store, reference: str, said: str) -> None:
    with pytest.raises(NotFoundError, match=said.replace("(", r"\(")):
        find_version(store, reference)


def test_pages_of_invocations_join_without_gap_or_repeat(store: Store) -> None:
    everything = [each.id for each in invocations(store)]
    assert len(everything) == len(set(everything)) == 25
    assert [each.started for each in invocations(store)] == sorted(
        (each.started for each in invocations(store)), reverse=True
    )
    paged: list[str] = []
    cursor = ""
    while page := invocations(store, limit=4, before=cursor):
        paged += [each.id for each in page]
        cursor = page[-1].cursor
    assert paged == everything
    with pytest.raises(StoreError, match="is no cursor"):
        invocations(store, before="x")


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (InvocationFilter(program="greet", status="error"), [20]),
        (InvocationFilter(status="error"), [34, 20]),
        (InvocationFilter(version="greet@v2"), range(20, 12, -1)),
        (InvocationFilter(version="greet@v1", min_ms=110), [12, 11]),
        (InvocationFilter(program="app.greet", since=datetime.fromtimestamp((T0 + 19 * MS) / 1e9, UTC)), [20, 19]),
        (InvocationFilter(model="home-made"), [33, 31]),
        (InvocationFilter(model="gpt-4o", program="greet", status="error"), [20]),
        (InvocationFilter(model="gpt-4o-2024-08-06", min_ms=200), [20]),
        (InvocationFilter(text="RESULT 17"), [17]),
        (InvocationFilter(text="OÙ EST LA GARE", program="helper"), [34, 33, 31]),
        (InvocationFilter(text='"number": 5'), [5]),
        (InvocationFilter(text="100% ' \\ {id:String} OR 1"), []),
    ],
)
def test_a_filter_keeps_what_meets_every_condition(store: Store, wanted: InvocationFilter, numbers: list[int]) -> None:
    assert [each.id for each in invocations(store, wanted)] == [id_of(n) for n in numbers]


def test_a_filter_that_names_nothing_known_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        invocations(store, InvocationFilter(program="nobody"))
    with pytest.raises(StoreError, match="status 'odd' is none: it is one of ok, error"):
        invocations(store, InvocationFilter(status="odd"))


def test_lists_do_not_read_contents(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    query = store.query
    monkeypatch.setattr(
        store,
        "query",
        lambda sql, parameters=None, settings=None: (asked.append(sql), query(sql, parameters or {}, settings or {}))[
            1
        ],
    )
    programs(store), versions(store, "greet"), invocations(store, InvocationFilter(program="greet", model="gpt-4o"))
    assert asked
    assert not any(name in sql for sql in asked for name in ("ell_invocation_contents", "SpanAttributes", "Source"))


def test_an_invocation_is_found_with_all_that_belongs_to_it(store: Store) -> None:
    detail = find_invocation(store, id_of(1)[:10].upper())
    assert (detail.arguments, detail.result) == ('{"number": 1}', '"result 1"')
    assert (detail.invocation.number, detail.invocation.models) == (1, ("gpt-4o-2024-08-06",))
    (asked,) = detail.inferences
    assert (asked.request_model, asked.response_model, asked.cost) == ("gpt-4o", "gpt-4o-2024-08-06", 0.003)
    assert (asked.input_tokens, asked.cached_input_tokens, asked.reasoning_output_tokens) == (1000, 400, 20)
    assert "la gare" in asked.input_messages
    assert asked.output_messages == ""
    (score,) = detail.evaluations
    assert (score.name, score.score) == ("exact", 1.0)
    assert detail.links == ()
    json.dumps(asdict(detail), default=str)


def test_a_link_leads_to_the_invocation_whose_output_was_used(store: Store) -> None:
    (link,) = find_invocation(store, id_of(32)).links
    assert (link.kind, link.invocation, link.program) == ("consumes", id_of(1), "app.greet")


def test_a_failed_invocation_says_why(store: Store) -> None:
    assert find_invocation(store, id_of(20)).invocation.error == "ValueError"
    assert find_invocation(store, id_of(34)).invocation.error == "it broke"
    assert [each.error for each in find_invocation(store, id_of(34)).inferences] == ["", ""]


@pytest.mark.parametrize(
    ("wanted", "said"), [("000000", "several invocations begin"), ("abcdef", "no invocation"), ("00", "6 digits")]
)
def test_an_invocation_that_is_not_there_or_not_alone_says_so(store: Store, wanted: str, said: str) -> None:
    with pytest.raises(NotFoundError, match=said):
        find_invocation(store, wanted)


def test_a_model_call_outside_any_invocation_is_its_own(store: Store) -> None:
    (loose,) = invocations(store, InvocationFilter(program="loose"))
    assert len(loose.id) == 32
    assert loose.input_tokens == 10
    detail = find_invocation(store, loose.id)
    assert len(detail.inferences) == 1
    assert detail.inferences[0].span_id == loose.span_id


def test_a_trace_holds_every_span_of_it_by_start(store: Store) -> None:
    spans = trace(store, f"{1:032x}")
    assert [(each.name, each.parent_span_id) for each in spans] == [
        ("invoke_workflow app.greet", ""),
        ("chat gpt-4o", f"{1:016x}"),
    ]
    with pytest.raises(NotFoundError, match="no trace has the id"):
        trace(store, "1234")


def test_models_without_a_price_are_listed_with_their_use(store: Store) -> None:
    (found,) = unpriced_models(store)
    assert (found.model, found.inferences, found.input_tokens, found.output_tokens) == ("home-made", 2, 1005, 6)


def test_everything_is_counted_once(store: Store) -> None:
    found = counts(store)
    assert (found.programs, found.versions, found.invocations, found.inferences, found.evaluations) == (5, 6, 25, 27, 2)


def test_a_price_counts_from_its_day_on(store: Store) -> None:
    june, version = int(datetime(2025, 6, 10, tzinfo=UTC).timestamp()) * 10**9, hash_of("abcabc")
    tokens = {"input_tokens": 1_000_000}
    times = {51: june - 1, 52: june, 53: int(datetime(2025, 4, 15, tzinfo=UTC).timestamp()) * 10**9}
    for number, at in times.items():
        write(store, invocation(number, "price.day", version, Timestamp=at))
        write(
            store,
            inference(number, "price.day", version, "o3-2025-04-16", tokens, Timestamp=at + 1 if number != 51 else at),
        )
    found = {each.id: each.cost for each in invocations(store, InvocationFilter(program="price.day"))}
    assert found == {id_of(51): 10.0, id_of(52): 2.0, id_of(53): None}


def test_many_programs_and_versions_stay_quick_to_list(store: Store) -> None:
    events = [
        program_event(f"many.program{p}", hash_of(f"{p:04x}{v:04x}"), Timestamp=T0 - 10**18 + v)
        for p, v in itertools.product(range(300), range(20))
    ]
    write(store, rows_of(*events))
    begun = datetime.now(UTC)
    assert len(programs(store)) >= 305
    assert [each.number for each in versions(store, "many.program7")] == list(range(1, 21))
    assert find_version(store, hash_of("01230013")).number == 20
    assert (datetime.now(UTC) - begun).total_seconds() < 5
