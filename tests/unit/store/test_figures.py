"""What invocations add up to, by version, model and hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from store_rows import MS, T0, evaluation, hash_of, id_of, inference, invocation, record, rows_of

from ell_otel.errors import NotFoundError, StoreError
from ell_otel.store import queries
from ell_otel.store.client import Store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write

Open = Callable[..., Store]
V1, V2 = hash_of("aaaaaa11"), hash_of("aaaaaa22")
HOUR = 3_600 * 10**9
START = datetime.fromtimestamp(T0 // 10**9, UTC)


@pytest.fixture
def store(opened: Open) -> Store:
    """Ten runs of v1 at 100 ms and, an hour later, ten of v2 at 200 ms, one of which failed; each sent twice."""
    store = opened()
    migrate(store)
    million = {"input_tokens": 1_000_000, "output_tokens": 0}
    for n in range(20):
        version, at = (V1, T0 + n * MS) if n < 10 else (V2, T0 + HOUR + n * MS)
        model = "gpt-4o" if n % 2 else "home-made"
        status = "Error" if n == 19 else "Unset"
        duration = (100 if n < 10 else 200) * MS
        rows = rows_of(
            invocation(n, "a.b", version, Timestamp=at, Duration=duration, StatusCode=status),
            inference(n, "a.b", version, model, million, Timestamp=at + 1),
            evaluation(n, "a.b", version, "1" if n < 10 else "0.5", Timestamp=at + 2),
        )
        write(store, rows)
        write(store, rows)
    return store


def test_usage_adds_up_by_what_is_asked_for(store: Store) -> None:
    (whole,) = queries.usage(store, ())
    assert (whole.inferences, whole.input_tokens, whole.cost, whole.unpriced) == (20, 20_000_000, 25.0, 10)
    assert (whole.hour, whole.program, whole.version, whole.model) == (None, None, None, None)
    by_model = {each.model: each for each in queries.usage(store, ("model",))}
    assert (by_model["gpt-4o"].cost, by_model["home-made"].cost) == (25.0, None)
    hourly = queries.usage(store, ("version", "hour"), program="b")
    assert [(each.version, each.cost) for each in hourly] == [(V1, 12.5), (V2, 12.5)]
    assert hourly[1].hour == (START + timedelta(hours=1)).replace(minute=0, second=0)
    later = queries.usage(store, ("version",), since=START + timedelta(minutes=30))
    assert [each.version for each in later] == [V2]
    assert queries.usage(store, ("version",), until=START) == []


def test_usage_by_what_there_is_not_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="usage by 'colour' is none: it is by hour, program, version, model"):
        queries.usage(store, ("hour", "colour"))
    with pytest.raises(NotFoundError):
        queries.usage(store, program="nobody")


def test_two_versions_stand_side_by_side(store: Store) -> None:
    change = queries.compare(store, "b@v1", "b@v2")
    assert (change.before.version, change.after.version) == (V1, V2)
    before, after = change.figures_before, change.figures_after
    assert (before.invocations, before.errors, before.p50_ms, before.p99_ms) == (10, 0, 100.0, 100.0)
    assert (after.invocations, after.errors, after.p95_ms, after.cost) == (10, 1, 200.0, 12.5)
    assert (before.score, after.score) == (1.0, 0.5)
    (score,) = change.scores
    assert (score.name, score.before, score.after, score.count_before, score.count_after) == ("exact", 1.0, 0.5, 10, 10)
    nothing = queries.figures(store, "b@v1", since=START + timedelta(days=1))
    assert (nothing.invocations, nothing.p50_ms, nothing.cost, nothing.score) == (0, None, None, None)


def test_scores_are_listed_newest_first(store: Store) -> None:
    found = queries.evaluations(store, program="b", name="exact", limit=3)
    assert [each.invocation for each in found] == [id_of(n) for n in (19, 18, 17)]
    assert {(each.version, each.score) for each in found} == {(V2, 0.5)}
    assert queries.evaluations(store, name="other") == []


def test_labels_in_force_leave_out_what_was_taken_back(store: Store) -> None:
    for at, name, version in ((1, "production", V1), (2, "production", V2), (3, "beta", V1), (4, "beta", "")):
        label = {"event.name": "ell.label", "ell.program.name": "a.b", "ell.label.name": name}
        write(store, record({**label, "ell.program.version": version}, Timestamp=T0 + at))
    (label,) = queries.labels(store, "b")
    assert (label.program, label.name, label.version) == ("a.b", "production", V2)


def test_a_run_is_what_its_invocations_say_they_belong_to(store: Store) -> None:
    for n in (31, 32, 33):
        case = {"test.suite.run.id": "run-1", "test.case.id": f"case-{n % 2}"}
        write(store, invocation(n, "a.b", V2, attributes=case))
    (run,) = store.query("SELECT RunId, ProgramVersion, Invocations, Cases, Errors FROM ell_runs")
    assert run == {"RunId": "run-1", "ProgramVersion": V2, "Invocations": 3, "Cases": 2, "Errors": 0}
