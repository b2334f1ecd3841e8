"""What models cost: the list of this release, and the user's own."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, date, datetime
from importlib import resources
from itertools import product
from pathlib import Path

import pytest
from store_rows import hash_of, inference, invocation, rows_of

from ell_otel.config import resolve
from ell_otel.errors import ConfigError
from ell_otel.store import queries
from ell_otel.store.client import Store
from ell_otel.store.migrate import migrate
from ell_otel.store.writer import write

Open = Callable[..., Store]


def test_every_price_names_its_source_and_its_days() -> None:
    text = (resources.files("ell_otel.store") / "prices.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    assert len({(row["model"], row["valid_from"]) for row in rows}) == len(rows) > 40
    for row in rows:
        assert row["source"].startswith("https://")
        assert float(row["input"]) > 0
        assert date.fromisoformat(row["valid_from"]) <= date.fromisoformat(row["checked_on"]), row
        if row["cached_input"]:
            assert float(row["cached_input"]) < float(row["input"])


def test_a_corrected_price_replaces_the_one_that_was_loaded(opened: Open) -> None:
    store = opened()
    migrate(store)
    store.command(
        "INSERT INTO ell_prices VALUES ('gpt-4o', '2024-08-06', 99, 99, 99, 1, 'old', '2024-08-07', 'release')"
    )
    migrate(store)
    write(store, inference(1, "a.b", hash_of("1"), "gpt-4o", {"input_tokens": 1_000_000, "output_tokens": 0}))
    write(store, invocation(1, "a.b", hash_of("1")))
    assert queries.invocations(store)[0].cost == 2.5


OWN = """
# mine
model,valid_from,input,output,batch_factor
gpt-4o,2020-01-01,100,100,
home-made,2020-01-01,1,2,0.25
"""


def test_prices_of_the_users_own_stand_before_ours_until_they_are_taken_back(opened: Open, tmp_path: Path) -> None:
    store, version, million = opened(), hash_of("1"), {"input_tokens": 1_000_000, "output_tokens": 0}
    own = tmp_path / "prices.csv"
    own.write_text(OWN)
    migrate(store, resolve({}, prices=str(own)))
    batch = {"openai.response.service_tier": "batch"}
    write(store, rows_of(*(invocation(n, "a.b", version) for n in (1, 2, 3, 4))))
    write(
        store,
        rows_of(
            inference(1, "a.b", version, "gpt-4o", million),
            inference(2, "a.b", version, "home-made", million, attributes=batch),
            inference(3, "a.b", version, "gpt-4o", million, attributes=batch),
            inference(4, "a.b", version, "home-made", million, attributes={"openai.response.service_tier": "priority"}),
        ),
    )
    assert [found.cost for found in queries.invocations(store)] == [None, None, 0.25, 100.0]
    assert {found.model: found.inferences for found in queries.unpriced_models(store)} == {"gpt-4o": 1, "home-made": 1}
    own.write_text("model,valid_from,input,output\n")
    migrate(store, resolve({}, prices=str(own)))
    assert [found.cost for found in queries.invocations(store)] == [None, 1.25, None, 2.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,price\nx,1\n", "lacks the column model"),
        ("model,valid_from,input\ngpt,2024-01-01,1\ngpt,2024-02-01,cheap\n", "line 3 of the price list .*cheap"),
        ("model,valid_from,input\ngpt,soon,1\n", "line 2 of the price list"),
        (None, "cannot be read: .*No such file.*ELL_OTEL_PRICES"),
    ],
)
def test_a_price_list_that_cannot_be_read_is_named_with_its_line(
    opened: Open, tmp_path: Path, text: str | None, said: str
) -> None:
    own = tmp_path / "prices.csv"
    if text is not None:
        own.write_text(text)
    with pytest.raises(ConfigError, match=said):
        migrate(opened(), resolve({}, prices=str(own)))


def test_what_is_priced_in_python_costs_the_same_as_in_the_engine(opened: Open, tmp_path: Path) -> None:
    own = tmp_path / "prices.csv"
    own.write_text(
        "model,valid_from,input,output,batch_factor\nhome-made,2020-01-01,1,2,0.25\ngpt-4o-mini,2025-06-01,9,,\n"
    )
    store = opened()
    migrate(store, resolve({}, prices=str(own)))
    models = (
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("o3-2025-04-16", "o3"),
        ("", "claude-3-7-sonnet-20250219"),
        ("odd-20250101", "gpt-4o"),
        ("gpt-4o-mini\n", "gpt-4o-mini"),
        ("odd-2025-01-01\n", "home-made-20250101"),
        ("", "text-embedding-3-small"),
        ("odd", "odder"),
    )
    used: list[dict[str, int]] = [
        {},
        {"input_tokens": 1000},
        {"output_tokens": 70},
        {"input_tokens": 1000, "output_tokens": 70, "cache_read.input_tokens": 400},
        {"input_tokens": 10, "output_tokens": 0, "cache_read.input_tokens": 400},
    ]
    tiers = ("", "auto", "batch", "flex", "priority")
    days = (datetime(2025, 5, 31, 23, 59, tzinfo=UTC), datetime(2025, 6, 10, tzinfo=UTC))
    rows = []
    for number, ((response, request), tokens, tier, day) in enumerate(product(models, used, tiers, days)):
        version, at = hash_of(f"{number:06x}"), int(day.timestamp()) * 10**9
        attributes = {"gen_ai.response.model": response, "openai.response.service_tier": tier}
        rows.append(invocation(number, "a.b", version, Timestamp=at))
        rows.append(inference(number, "a.b", version, request, tokens, Timestamp=at + 1, attributes=attributes))
    write(store, rows_of(*rows))
    engine = {each.version: each.cost for each in queries.usage(store, ("version",), program="a.b")}
    assert len(engine) == len(rows) / 2 > sum(cost is None for cost in engine.values()) > len(engine) / 5
    for found in (queries.versions(store, "a.b"), queries.invocations(store, limit=len(rows))):
        assert {each.version: each.cost for each in found} == pytest.approx(engine, nan_ok=True)
