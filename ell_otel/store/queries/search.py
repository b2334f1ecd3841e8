"""Finding words in what was said, without reading all of it.

An index over ``otel_traces`` knows for every few hundred spans which words are in them, so a rare word is read where it
is. A frequent one is found in the newest spans: so the search goes back in time in growing steps, until a page is full.
Contents are JSON, where a text may stand plain, with escapes, or with its non-ASCII letters escaped. In the last way, a
word right behind a non-ASCII letter (an opening “, say) is one word with it to the index, and is not found.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from ell_otel import semconv
from ell_otel.store.client import Store

# Without this the engine rewrites the map elements below, and no longer sees that it has an index for them.
SETTINGS: Final[Mapping[str, object]] = {"optimize_functions_to_subcolumns": 0}

# As in the index, letter for letter. A newline is an escape in JSON, whose letter would cling to the word after it.
SAID: Final = (
    "replaceAll(lowerUTF8(concat(SpanAttributes['ell.invocation.arguments'], ' ', "
    "SpanAttributes['ell.invocation.result'], ' ', SpanAttributes['gen_ai.system_instructions'], ' ', "
    "SpanAttributes['gen_ai.input.messages'], ' ', SpanAttributes['gen_ai.output.messages'])), '\\\\n', ' ')"
)
_WORD: Final = re.compile("[0-9a-z]+")
_FIRST_STEP: Final = timedelta(hours=1)
_GROWTH: Final = 8


def condition(text: str) -> tuple[str, dict[str, object]]:
    """What invocations must meet whose spans say ``text``, and its parameters. It asks for a ``from`` as well.

    GLOBAL is for a cluster: a shard's invocations are looked for among the spans of all. One server takes no notice.
    """
    ways: list[str] = []
    parameters: dict[str, object] = {}
    for number, form in enumerate(_forms(text)):
        parts = [f"position({SAID}, {{form{number}:String}}) > 0"]
        parameters[f"form{number}"] = form
        for place, word in enumerate(_WORD.findall(form) if form.isascii() else ()):
            parts.append(f"hasToken({SAID}, {{word{number}_{place}:String}})")
            parameters[f"word{number}_{place}"] = word
        ways.append(f"({' AND '.join(parts)})")
    return (
        f"""InvocationId GLOBAL IN (
    SELECT InvocationId FROM {semconv.TABLE_SPANS}
    WHERE Started >= {{from:DateTime64(9)}} AND Kind != 'duplicate' AND (TraceId, SpanId) GLOBAL IN (
        SELECT TraceId, SpanId FROM {semconv.TABLE_TRACES}
        WHERE Timestamp >= {{from:DateTime64(9)}} AND ({" OR ".join(ways)})
    )
)""",
        parameters,
    )


def spans_of_time(store: Store, since: datetime | None, before: datetime | None) -> Iterator[datetime]:
    """Times to search from, ever further back, ending with ``since`` or the beginning."""
    (row,) = store.query(f"SELECT min(Started) AS first, max(Started) AS last FROM {semconv.TABLE_SPANS}")
    first, last = cast("datetime", row["first"]), cast("datetime", row["last"])
    first, last = max(first, since or first), min(last, before or last)
    step = _FIRST_STEP
    while last - step > first:
        yield last - step
        step *= _GROWTH
    yield first.astimezone(UTC)


def _forms(text: str) -> list[str]:
    """The text as it may stand in JSON, in small letters; an escape hides the case of its letter, so in each case."""
    escaped = {json.dumps(form)[1:-1].lower() for form in (text, text.lower(), text.upper())}
    forms = {text.lower(), json.dumps(text, ensure_ascii=False)[1:-1].lower(), *escaped}
    return sorted(form.replace("\\n", " ") for form in forms)
