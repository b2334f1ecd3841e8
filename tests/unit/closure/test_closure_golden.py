"""The golden corpus: each program has the text and the version it always had, and its text behaves as it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "golden" / "closure"))
from golden import Case, cases

from ell_otel.closure import verify

# Formatting written by `ast.unparse` differs between releases; the version must not.
_WRITTEN_ANEW = {"renamed_in_many_forms"}


def test_the_corpus_is_large_enough() -> None:
    assert len(cases()) >= 80


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.path.stem)
def test_a_program_of_the_corpus(case: Case) -> None:
    now, expected, result = case.outcome()
    assert result == expected
    assert now["version"] == case.pinned["version"], "this change needs a new tag: c2:"
    assert verify(now["text"], now["version"])
    assert verify(case.pinned["text"], now["version"])
    assert now["warnings"] == case.pinned["warnings"]
    if case.path.stem not in _WRITTEN_ANEW:
        assert now["text"] == case.pinned["text"]
