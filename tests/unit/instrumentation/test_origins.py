"""Which invocation a value came from: by identity, for a while, without keeping values alive."""

from __future__ import annotations

import gc
import weakref

from opentelemetry import trace

from ell_otel.instrumentation import origins
from ell_otel.telemetry.invocation import Invocation


def invocation(number: int) -> Invocation:
    context = trace.SpanContext(number, number, is_remote=False)
    return Invocation(f"{number:032x}", "app.p", "c1:1", trace.NonRecordingSpan(context))


class Answer:
    """Something that can be weakly referenced."""


def test_the_object_itself_is_known_and_an_equal_one_is_not() -> None:
    first, equal = "".join(["a long ", "answer"]), "".join(["a long ", "answer"])
    origins.remember(first, invocation(1))
    found = origins.of(first)
    assert found is not None
    assert found.invocation_id == f"{1:032x}"
    assert origins.of(equal) is None


def test_a_result_is_not_kept_alive() -> None:
    answer = Answer()
    gone = weakref.ref(answer)
    origins.remember(answer, invocation(2))
    assert origins.of(answer) is not None
    del answer
    gc.collect()
    assert gone() is None


def test_only_so_many_texts_are_held() -> None:
    texts = [f"text number {number}" for number in range(origins.KEPT + 10)]
    for number, text in enumerate(texts):
        origins.remember(text, invocation(number + 1))
    assert origins.of(texts[0]) is None
    assert origins.of(texts[-1]) is not None


def test_numbers_and_short_texts_make_no_links() -> None:
    for value in (None, True, 42, 1.5, "yes"):
        origins.remember(value, invocation(3))
    assert origins.among((None, True, 42, 1.5, "yes"), {}) == []


def test_a_result_inside_a_list_or_dict_is_found_once() -> None:
    answer = "".join(["an answer ", "of some length"])
    origins.remember(answer, invocation(4))
    assert len(origins.among(([answer], answer), {"more": {"key": answer}})) == 1
