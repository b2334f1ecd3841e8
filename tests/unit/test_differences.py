"""What changed between two closures."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ell_otel.differences import compare, words


@dataclass
class Part:
    module: str
    names: tuple[str, ...]
    text: str


def test_statements_are_added_removed_changed_or_not_mentioned() -> None:
    before = [Part("app", ("A",), "A = 1"), Part("app", ("B",), "B = 2"), Part("app", ("C",), "C = 3")]
    after = [Part("app", ("A",), "A = 1"), Part("app", ("C",), "C = 4"), Part("app", ("D",), "D = 5")]
    assert [(change.part, change.kind) for change in compare(before, after)] == [
        ("app.C", "changed"),
        ("app.D", "added"),
        ("app.B", "removed"),
    ]


def test_a_replaced_phrase_is_one_change() -> None:
    before, after = 'return "at length, with care"\n', 'return "in two short sentences"\n'
    assert list(words(before, after)) == [
        ("same", 'return "'),
        ("removed", "at length, with care"),
        ("added", "in two short sentences"),
        ("same", '"\n'),
    ]


def test_two_statements_of_one_name_are_compared_together() -> None:
    before = [Part("app", ("L",), "L = []"), Part("app", ("L",), "L.append(1)")]
    after = [Part("app", ("L",), "L = []"), Part("app", ("L",), "L.append(2)")]
    (change,) = compare(before, after)
    assert change.before == "L = []\nL.append(1)"


lines = st.lists(st.sampled_from(["a b", "a c", "x  y", "", "(z)"]), max_size=6).map("\n".join)


@given(before=lines, after=lines)
def test_the_words_make_up_both_texts(before: str, after: str) -> None:
    parts = list(words(before, after))
    assert "".join(text for operation, text in parts if operation != "added") == before
    assert "".join(text for operation, text in parts if operation != "removed") == after
