"""Words are found in what was said, and looked for only where they can be."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
from store_rows import T0, hash_of, id_of, inference, invocation, rows_of

from ell_otel.store.client import Store
from ell_otel.store.migrate import migrate
from ell_otel.store.queries import InvocationFilter, invocations, search
from ell_otel.store.writer import write

Open = Callable[..., Store]
HOUR = 3_600 * 10**9


def _say(store: Store, number: int, text: str, at: int = T0) -> None:
    messages = {"gen_ai.input.messages": text}
    write(
        store,
        rows_of(
            invocation(number, "a.b", hash_of("1"), Timestamp=at),
            inference(number, "a.b", hash_of("1"), "m", {}, attributes=messages, Timestamp=at + 1),
        ),
    )


def _found(store: Store, text: str, **more: int) -> list[str]:
    return [each.id for each in invocations(store, InvocationFilter(text=text), **more)]


def test_whole_words_are_found_whatever_their_case_and_however_json_wrote_them(opened: Open) -> None:
    store = opened()
    migrate(store)
    content = [{"role": "user", "parts": [{"content": "first line\nQuokka Où 你好 end"}]}]
    _say(store, 1, json.dumps(content))
    _say(store, 2, json.dumps(content, ensure_ascii=False))
    for text in ("quokka", "QUOKKA", "line\nquokka", "où", "OÙ", "你好", "First Line"):
        assert sorted(_found(store, text)) == [id_of(1), id_of(2)], text
    assert _found(store, "uokk") == _found(store, "quokka first") == []


def test_a_search_goes_back_in_time_until_the_page_is_full(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "AT_ONCE", 1)
    store = opened()
    migrate(store)
    for number, hours in enumerate((0, 30, 900, 901), 1):
        _say(store, number, '"a rare word"', T0 + hours * HOUR)
    assert _found(store, "rare word") == [id_of(n) for n in (4, 3, 2, 1)]
    assert _found(store, "rare word", limit=2) == [id_of(4), id_of(3)]
    (second,) = invocations(store, InvocationFilter(text="rare"), limit=2)[1:]
    after = invocations(store, InvocationFilter(text="rare"), limit=9, before=second.cursor)
    assert [each.id for each in after] == [id_of(2), id_of(1)]
    steps = list(search.spans_of_time(store, lambda: 0.0))
    assert len(steps) > 1
    assert all(newer["after"] == older["until"] for newer, older in itertools.pairwise(steps))
    assert steps[0]["until"] == search.LAST_NS
    assert steps[-1]["after"] < T0


def test_a_page_that_is_half_full_is_filled_from_as_much_time_again_and_a_little(opened: Open) -> None:
    store = opened()
    migrate(store)
    write(store, rows_of(*(invocation(n, "a.b", hash_of("1"), Timestamp=T0 + n * HOUR) for n in range(900))))
    store.command(
        f"INSERT INTO ell_spans (Started, SpanId) SELECT fromUnixTimestamp64Nano({T0 + 450 * HOUR}), toString(number) "
        "FROM numbers(500000)"
    )
    lengths = {}
    for filled in (0.0, 0.5, 0.9):
        first, second, *_ = search.spans_of_time(store, lambda filled=filled: filled)
        lengths[filled] = (first["after"] - second["after"]) / (T0 + 899 * HOUR - first["after"])
    assert lengths == pytest.approx({0.0: 8, 0.5: 1.25, 0.9: 1.25 / 9}, rel=0.01)


def test_what_an_invocation_said_days_after_it_began_is_found(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "AT_ONCE", 1)
    store = opened()
    migrate(store)
    messages = {"gen_ai.input.messages": '"late word"'}
    write(store, rows_of(invocation(1, "a.b", hash_of("1"), Duration=200 * HOUR)))
    write(store, rows_of(inference(1, "a.b", hash_of("1"), "m", {}, attributes=messages, Timestamp=T0 + 190 * HOUR)))
    _say(store, 2, '"late word"', T0 + 2_000 * HOUR)
    assert _found(store, "late word") == [id_of(2), id_of(1)]


def test_the_span_of_a_second_instrumentation_is_not_searched(opened: Open) -> None:
    store = opened()
    migrate(store)
    said = {"gen_ai.input.messages": '"twice told"', "ell.duplicate": "true"}
    write(store, rows_of(invocation(1, "a.b", hash_of("1"))))
    write(store, rows_of(inference(1, "a.b", hash_of("1"), "m", {}, attributes=said)))
    assert _found(store, "twice told") == []


def test_the_index_of_words_is_asked(opened: Open) -> None:
    store = opened()
    migrate(store)
    _say(store, 1, '"a rare word"')
    for word, granules in (("rare", "1/1"), ("absent", "0/1")):
        spans = f"EXPLAIN indexes = 1 SELECT TraceId FROM otel_traces WHERE hasToken({search.SAID}, {{word:String}})"
        plan = [str(row["explain"]).strip() for row in store.query(spans, {"word": word}, search.SETTINGS)]
        place = plan.index("Name: idx_text")
        assert f"Granules: {granules}" in plan[place : place + 5]
