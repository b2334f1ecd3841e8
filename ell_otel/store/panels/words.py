"""The search of the Invocations dashboard: the condition of ``queries.search``, made by SQL out of what was typed.

There the words are picked out in Python and bound; here Grafana puts what was typed into the SQL, percent-encoded, and
constant expressions make of it what an index can be asked for: the engine works them out before it chooses granules.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is decoded, see ``chosen``

from __future__ import annotations

from typing import Final

from ell_otel import semconv
from ell_otel.store.panels.parts import chosen
from ell_otel.store.queries.search import SAID, SETTINGS

_TYPED: Final = chosen("search")


def _json(text: str) -> str:
    """``text`` as it stands in JSON between its quotes; only our engine escapes slashes there."""
    return f"replaceAll(substring(toJSONString({text}), 2, -1), '\\\\/', '/')"


def _ascii(text: str) -> str:
    """JSON's way to write ``text`` in ASCII."""
    escaped = "replaceRegexpAll(lower(hex(convertCharset(letter, 'utf-8', 'utf-16be'))), '(....)', '\\\\\\\\u\\\\1')"
    letters = f"extractAll({_json(text)}, '(?s).')"
    return f"arrayStringConcat(arrayMap(letter -> if(length(letter) = 1, letter, {escaped}), {letters}))"


# As typed, as JSON, and as JSON in ASCII, where an escape hides the case of its letter.
_FORMS: Final = (
    _TYPED,
    _json(_TYPED),
    _ascii(_TYPED),
    _ascii(f"lowerUTF8({_TYPED})"),
    _ascii(f"upperUTF8({_TYPED})"),
)
_LOWERED: Final = ",\n                ".join(f"replaceAll(lowerUTF8({form}), '\\\\n', ' ')" for form in _FORMS)
# All words of a form are whole where it stands if those at its ends are. The longest is the rarest, as a rule.
_ENDS: Final = "[words[1], words[-1], arraySort(word -> -length(word), words)[1]]"


def _whole(number: int) -> str:
    return " AND ".join(f"hasTokenOrNull(said, tokens[{number}][{place}])" for place in (1, 2, 3))


# What is not ASCII is a word in one form and an escape in the other: then the text itself is looked for, and no words.
SEARCHED: Final = f"""({_TYPED} = '' OR InvocationId GLOBAL IN (
        SELECT InvocationId FROM {semconv.TABLE_SPANS}
        WHERE Started >= $__fromTime AND Kind != 'duplicate' AND (TraceId, SpanId) GLOBAL IN (
            WITH {SAID} AS said,
            (SELECT [{_LOWERED}]) AS forms,
            (SELECT arrayMap(words -> {_ENDS}, arrayMap(form -> extractAll(form, '[0-9a-z]+'), forms))) AS tokens
            SELECT TraceId, SpanId FROM {semconv.TABLE_TRACES}
            WHERE {_TYPED} != '' AND Timestamp >= $__fromTime AND multiSearchAny(said, forms)
              AND (length(forms[1]) > lengthUTF8(forms[1]) OR tokens[1][1] = '' OR {_whole(1)} OR {_whole(2)}))))"""
"""That a span of an invocation says what was typed, or that nothing was."""

USING_THE_INDEX: Final = f"SETTINGS {', '.join(f'{name} = {value}' for name, value in SETTINGS.items())}"
"""The end of a query with ``SEARCHED``."""
