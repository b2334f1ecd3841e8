"""A trace is whole, however far its spans lie apart, and found in a little time where they do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from store_rows import MS, T0, hash_of, invocation, span

from ell_otel.store.client import Store
from ell_otel.store.migrate import migrate
from ell_otel.store.queries import trace
from ell_otel.store.writer import Rows, write

HOUR = 3600 * 10**9


def far_off(name: str, started_ns: int, parent: str = "", duration_ns: int = MS) -> Rows:
    """A span of somebody else's in the trace of invocation 1."""
    columns = {"SpanId": name.encode().hex().rjust(16, "0"), "ParentSpanId": parent, "Timestamp": started_ns}
    return span({}, TraceId=f"{1:032x}", SpanName=name, Duration=duration_ns, **columns)


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ([far_off("job", T0 - 5 * HOUR)], ["job", "ours"]),
        ([far_off("job", T0 - MS, duration_ns=5 * HOUR), far_off("late", T0 + 4 * HOUR)], ["job", "ours", "late"]),
        ([], ["ours"]),
    ],
    ids=["a parent that began long before", "spans long after, in a root that lasts", "a parent that is nowhere"],
)
def test_a_trace_is_looked_for_further_off_where_something_is_missing(
    opened: Callable[..., Store], others: list[Rows], names: list[str]
) -> None:
    store = opened()
    migrate(store)
    parent = b"job".hex().rjust(16, "0")
    write(store, invocation(1, "a.b", hash_of("1"), SpanName="ours", Timestamp=T0, ParentSpanId=parent))
    for other in others:
        write(store, other)
    assert [each.name for each in trace(store, f"{1:032x}")] == names
