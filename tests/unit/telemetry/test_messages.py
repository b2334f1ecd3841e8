"""Arguments and results as JSON: always valid, always bounded, never by running foreign code."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import sys
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from canaries import CANARIES
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ell_otel import redact
from ell_otel.telemetry import messages
from ell_otel.telemetry.messages import Items, clean, to_json

PLENTY = 1 << 20


class Colour(enum.Enum):
    RED = "red"


class Model(pydantic.BaseModel):
    name: str


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Opaque:
    """Neither its repr nor its str may be asked for."""

    def __repr__(self) -> str:
        raise AssertionError


class Liar(dict[str, Any]):
    """A mapping whose own methods must not be asked."""

    def items(self) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (None, None),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (Colour.RED, "red"),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Model(name="m"), {"name": "m"}),
        (datetime.date(2026, 11, 21), "2026-11-21"),
        (decimal.Decimal("1.10"), "1.10"),
        (b"abc", {"$bytes": 3}),
        (float("inf"), "inf"),
        (2**70, 2**70),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        (Opaque(), {"$type": f"{__name__}.Opaque"}),
        (Liar(a=1), {"a": 1}),
        (ValueError("one", 2), ["one", 2]),
        (len, {"$name": "builtins.len"}),
        (ValueError("why"), "why"),
    ],
)
def test_each_kind_of_value_has_a_plain_form(value: object, expected: object) -> None:
    assert json.loads(to_json(value, PLENTY)) == expected


class Meddler:
    """Even asking for its class runs its code."""

    @property
    def __class__(self) -> Any:
        raise KeyboardInterrupt


def test_values_that_fight_back_are_named_by_their_type_or_size() -> None:
    assert json.loads(to_json(Meddler(), PLENTY)) == {"$type": f"{__name__}.Meddler"}
    assert json.loads(to_json(10**5000, PLENTY)) == "an integer of 16610 bits"


def test_long_text_is_cut_and_the_json_stays_valid() -> None:
    rendered = to_json({"prompt": "x" * 10_000, "more": ["y" * 10_000] * 10}, 1000)
    assert len(rendered) < 1500
    assert json.loads(rendered)["prompt"].endswith("…[cut]")


@pytest.mark.parametrize(
    "value",
    [[Opaque() for _ in range(1000)] * 1000, [[]] * 10**6, [b"x"] * 10**6, [10**990] * 26_000, [{}] * 10**6],
    ids=["objects", "lists", "bytes", "integers", "dicts"],
)
def test_the_budget_bounds_whatever_there_is_a_million_of(value: list[object]) -> None:
    """Work is counted in calls, not seconds: ten times as many items are read no further."""
    tenth, calls_of_tenth = counting_calls(lambda: to_json(value[: len(value) // 10], 256 << 10))
    whole, calls_of_whole = counting_calls(lambda: to_json(value, 256 << 10))
    assert whole == tenth
    assert len(whole) < 600_000
    assert calls_of_whole < 1.1 * calls_of_tenth


def counting_calls(action: Callable[[], str]) -> tuple[str, int]:
    """What ``action`` returns, and how many calls, of Python's functions and of C's, it took."""
    calls = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        return action(), calls
    finally:
        sys.setprofile(before)


def test_items_of_a_generator_are_one_text_or_a_list_and_bounded() -> None:
    words, mixed, many = Items(1000), Items(1000), Items(1000)
    for word in ("a ", "b"):
        words.add(word)
    for item in ("a", 1, {"k": "b"}):
        mixed.add(item)
    for _ in range(100_000):
        many.add("word ")
    assert json.loads(words.json()) == "a b"
    assert json.loads(mixed.json()) == ["a", 1, {"k": "b"}]
    assert json.loads(Items(10).json()) == []
    assert len(many.json()) < 1100


def test_deep_nesting_ends() -> None:
    value: Any = "bottom"
    for _ in range(10_000):
        value = [value]
    assert "cut" in to_json(value, PLENTY)


def test_secrets_are_replaced_by_shape_and_by_name() -> None:
    rendered = to_json(
        {"api_key": "a8Kd02mfKw93kdLs02mA", "text": "my key is sk-proj-abcdefghijklmnopqrstuvwx123456"}, PLENTY
    )
    assert "a8Kd02mfKw93kdLs02mA" not in rendered
    assert "abcdefghijklmnopqrstuvwx123456" not in rendered


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(), st.lists))
def test_whatever_it_is_the_result_is_json_that_utf8_can_carry(value: object) -> None:
    rendered = to_json(value, 10_000)
    assert json.loads(rendered.encode("utf-8")) == json.loads(rendered)
    assert len(rendered) < 21_000


@given(st.text(st.characters(categories=None)))
def test_clean_text_can_be_encoded_and_is_unchanged_when_it_could_be(text: str) -> None:
    clean(text).encode("utf-8")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return
    assert clean(text) == text


_PIECES = st.sampled_from(
    [
        *CANARIES.values(),
        *(
            "password",
            "token",
            "api_key",
            "x-api-key",
            "authorization",
            "aws_secret",
            "Bearer",
            "curl",
            "-u",
            "machine",
        ),
        *("login", "host", "user", "postgres://a", "?token=", "pwd=", "auth-token", "-----BEGIN PRIVATE KEY-----"),
        *("-----END PRIVATE KEY-----", "Private-Lines: 3", "Set-Cookie: a", "test", "xxxx", "none", "hunter2hunter2"),
        *("a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0", "- " * 30),
        *(" ", "  ", ": ", "=", "@", ";", '"', "'", "\\", "\n", "\\n", "/", ",", "{", "}", "é", "\ud800", "."),
    ]
)
_TEXTS = st.lists(_PIECES, max_size=6).map("".join)
_VALUES = st.recursive(
    _TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=1000, deadline=None)
@example(["-----BEGIN PRIVATE KEY-----abc", "- " * 30])
@example({"quoted": ["-----BEGIN PRIVATE KEY-----abc"], "keys": "- " * 30})
@given(_VALUES)
def test_one_look_at_all_texts_finds_what_a_look_at_each_of_them_finds(value: Any) -> None:
    plain = messages._Rendering(PLENTY).plain(value, 0)
    assert json.loads(to_json(value, PLENTY)) == redact.redact_data(plain)
