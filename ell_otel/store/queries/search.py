"""Finding words in what was said, without reading all of it.

An index over ``otel_traces`` knows for every few hundred spans which words are in them, so a rare word is read where it
is. A frequent one is found in the newest spans: so the search goes back in time step by step, until a page is full.
Contents are JSON, where a text may stand plain, with escapes, or with its non-ASCII letters escaped. In the last way, a
word right behind a non-ASCII letter (an opening “, say) is one word with it to the index, and is not found.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package; what users give is always a bound parameter

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final, cast

from ell_otel import semconv
from ell_otel.store.client import Store

# Without this the engine reads each element of a map by itself, which reads the map again for each, and no longer sees
# that it has an index for those below.
SETTINGS: Final[Mapping[str, object]] = {"optimize_functions_to_subcolumns": 0}

# As in the index, letter for letter. A newline is an escape in JSON, whose letter would cling to the word after it.
SAID: Final = (
    "replaceAll(lowerUTF8(concat(SpanAttributes['ell.invocation.arguments'], ' ', "
    "SpanAttributes['ell.invocation.result'], ' ', SpanAttributes['gen_ai.system_instructions'], ' ', "
    "SpanAttributes['gen_ai.input.messages'], ' ', SpanAttributes['gen_ai.output.messages'])), '\\\\n', ' ')"
)
_WORD: Final = re.compile("[0-9a-z]+")

_AT: Final = "fromUnixTimestamp64Nano({{{}:Int64}}, 'UTC')"

# A stretch of time, and where what was said by an invocation that began in it can be.
WITHIN: Final = f"Started > {_AT.format('after')} AND Started <= {_AT.format('until')}"
_SAID_WITHIN: Final = f"Timestamp > {_AT.format('after')} AND Timestamp <= {_AT.format('said')}"
# As the view of invocations has it: looking the spans up there first takes as long as finding them.
_INVOCATION_ID: Final = (
    "multiIf(SpanAttributes['ell.invocation.id'] != '', SpanAttributes['ell.invocation.id'], "
    "SpanAttributes['ell.program.name'] != '', concat(left(TraceId, 16), SpanId), '')"
)
LAST_NS: Final = 2**63 - 1  # what a DateTime64(9) can say
AT_ONCE: Final = 10_000  # spans to look through first
_GROWTH: Final = 8
_MORE: Final = 1.25  # so that it is not missed by a little
_MARGIN_NS: Final = 3_600 * 10**9


def condition(text: str) -> tuple[str, dict[str, object]]:
    """What invocations must meet whose spans say ``text``, and its parameters; a span of time has the others.

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
    SELECT {_INVOCATION_ID} FROM {semconv.TABLE_TRACES}
    WHERE {_SAID_WITHIN} AND SpanAttributes['ell.duplicate'] = '' AND ({" OR ".join(ways)})
)""",
        parameters,
    )


def spans_of_time(
    store: Store,
    filled: Callable[[], float],
    since: datetime | None = None,
    until_ns: int = LAST_NS,
    *,
    said: bool = False,
) -> Iterator[dict[str, int]]:
    """Stretches of time from the newest back to ``since`` or the beginning.

    They are parameters of ``WITHIN``, in nanoseconds, and with ``said`` of ``condition`` as well: what an invocation
    said was said before it ended, or hardly later, so the longest one of all tells how far to look. The first
    stretch is about as long as a page of answers takes, going by how many spans there are in all of time; a further one
    as long as the rest of the page takes, going by what part of it is ``filled`` by then, but not many times as long as
    the one before.
    """
    (row,) = store.query(
        f"SELECT toUnixTimestamp64Nano(min(Started)) AS first, toUnixTimestamp64Nano(max(Started)) AS last, "
        f"count() AS spans FROM {semconv.TABLE_SPANS}"
    )
    first, last, spans = (cast("int", row[name]) for name in ("first", "last", "spans"))
    step = (last - first) * AT_ONCE // max(spans, 1) + 1
    first = max(first, int(since.timestamp()) * 10**9 if since else first) - 1
    last = newest = min(last, until_ns)
    longest = _MARGIN_NS + (_longest(store) if said else 0)
    while until_ns > first:
        after = max(last - step, first)
        yield {"after": after, "until": until_ns, "said": min(until_ns + longest, LAST_NS)}
        last = until_ns = after
        step *= _GROWTH
        if found := filled():
            step = min(step, int((newest - after) * (1 - found) / found * _MORE) + 1)


def _longest(store: Store) -> int:
    (row,) = store.query(f"SELECT max(Duration) AS longest FROM {semconv.TABLE_SPANS}")
    return cast("int", row["longest"])


def _forms(text: str) -> list[str]:
    """The text as it may stand in JSON, in small letters; an escape hides the case of its letter, so in each case."""
    escaped = {json.dumps(form)[1:-1].lower() for form in (text, text.lower(), text.upper())}
    forms = {text.lower(), json.dumps(text, ensure_ascii=False)[1:-1].lower(), *escaped}
    return sorted(form.replace("\\n", " ") for form in forms)
