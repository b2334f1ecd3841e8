"""The specification's worked examples are what the code computes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ell_otel.closure.canonical import forms_of, notation, version_of
from ell_otel.closure.references import CHANGING_METHODS

SPECIFICATION = (Path(__file__).parents[3] / "docs" / "closure.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"<!-- example -->\n```python\n(.*?)```\n```\n(.*?)```\n.*?```\n(c1:\w+)\n```", SPECIFICATION, re.DOTALL
)


@pytest.mark.parametrize(("text", "notes", "version"), EXAMPLES)
def test_a_worked_example(text: str, notes: str, version: str) -> None:
    assert [notation(node) for node in ast.parse(text).body] == notes.splitlines()
    assert version_of(forms_of(text)) == version


def test_there_are_two_examples_and_the_list_of_changing_methods_is_complete() -> None:
    assert len(EXAMPLES) == 2
    listed = re.search(r"one of `([\w\s]+)`", SPECIFICATION)
    assert listed is not None
    assert set(listed[1].split()) == CHANGING_METHODS
