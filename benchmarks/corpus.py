"""A store with many invocations, made inside ClickHouse so that making them does not take a day.

Rows are selected out of ``numbers()`` into ``otel_traces`` and lifted by the product's own view, so the tables are what
a collector would have filled in inserts of 20,000 spans; only the way over the wire is left out. Everything follows
from the invocation's number by hashing, so two runs make the same rows.

An invocation is two spans, as from ``@ell.simple``: the program with its arguments and result, and the model call
inside it with its messages, about 4 kB of contents in all. Texts are words of a made-up vocabulary of 20,000, drawn so
that the n-th word comes with a frequency of about 1/n, as in languages; the system prompt belongs to the version, and
the message repeats the argument, as happens. Programs, versions and models are skewed likewise; the times go over 30
days.
"""

from __future__ import annotations

from typing import Final

from ell_otel.store.client import Store

VOCABULARY: Final = 20_000
PROGRAMS: Final = 40
MODELS: Final = ("gpt-4o-mini", "gpt-4o", "gpt-5-mini", "gpt-5", "claude-sonnet-4-5", "claude-haiku-4-5")
PER_INSERT: Final = 10_000  # invocations; two spans each
DAYS: Final = 30
RARE: Final = "zyzzyva"  # a word said by one invocation in 10,000

_SYLLABLES: Final = [a + b for a, b in zip("bcdfghjklmnprstvwxyz", "aeiouaeiouaeiouaeiou", strict=True)]

# The vocabulary, the most frequent word first; frequent words are short.
_WORDS: Final = f"""
CREATE TABLE IF NOT EXISTS words ENGINE = MergeTree ORDER BY tuple() AS
SELECT groupArray(word) AS list FROM (
    WITH {_SYLLABLES} AS s
    SELECT concat(s[1 + cityHash64(number, 1) % 20], if(number > 30, s[1 + cityHash64(number, 2) % 20], ''),
        if(number > 400, s[1 + cityHash64(number, 3) % 20], ''),
        if(number > 4000, s[1 + cityHash64(number, 4) % 20], '')) AS word
    FROM numbers({VOCABULARY}) ORDER BY number
)
"""


def _text(words: str, seed: str) -> str:
    """So many words, drawn by ``exp(u * log(vocabulary))``: the n-th has about the frequency 1/n."""
    rank = f"toUInt32(exp(cityHash64(i, {seed}) / {_MAX} * {_LOG}))"
    return f"arrayStringConcat(arrayMap(i -> vocabulary[1 + {rank}], range({words})), ' ')"


_LOG: Final = "9.9"  # log of the vocabulary, and a little less
_MAX: Final = "18446744073709551616."  # of a hash, and one

_ROWS: Final = f"""
INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ResourceAttributes,
    ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode)
SELECT
    at + toIntervalMillisecond(part), trace, if(part = 0, root, leaf), if(part = 0, '', root),
    if(part = 0, concat('invoke_workflow ', program), concat('chat ', model)), if(part = 0, 'Internal', 'Client'),
    concat('service-', toString(cityHash64(program, 3) % 5)),
    map('service.name', 'shop', 'telemetry.sdk.language', 'python', 'telemetry.sdk.name', 'opentelemetry',
        'telemetry.sdk.version', '1.45.2'),
    if(part = 0, 'ell_otel', 'opentelemetry.instrumentation.genai.openai'), '1.3b0',
    mapConcat(
        map('ell.program.name', program, 'ell.program.version', version, 'ell.invocation.id', trace,
            'gen_ai.operation.name', if(part = 0, 'invoke_workflow', 'chat')),
        if(part = 0,
           map('ell.invocation.arguments', concat('{{"mail": "', mail, '"}}'),
               'ell.invocation.result', concat('"', answer, '"'),
               'code.function.name', program, 'code.file.path', '/srv/app/programs.py', 'code.line.number', '120'),
           map('gen_ai.provider.name', if(startsWith(model, 'gpt'), 'openai', 'anthropic'), 'gen_ai.request.model',
               model, 'gen_ai.response.model', model, 'gen_ai.response.id', concat('chatcmpl-', leaf, root),
               'gen_ai.response.finish_reasons', '["stop"]', 'server.address', 'api.openai.com',
               'gen_ai.usage.input_tokens', toString(300 + length(mail) DIV 4),
               'gen_ai.usage.output_tokens', toString(length(answer) DIV 4),
               'gen_ai.usage.cache_read.input_tokens', toString(if(hash % 3 = 0, 256, 0)),
               'gen_ai.system_instructions', concat('[{{"type": "text", "content": "', prompt, '"}}]'),
               'gen_ai.input.messages', concat('[{{"role": "user", "parts": [{{"type": "text", "content": ',
                   '"Answer this mail: ', mail, '"}}]}}]'),
               'gen_ai.output.messages', concat('[{{"role": "assistant", "parts": [{{"type": "text", "content": "',
                   answer, '"}}], "finish_reason": "stop"}}]'))),
        if(failed, map('error.type', 'TimeoutError'), map())),
    toUInt64(if(part = 0, 1.05, 1) * 2e8 * exp(3 * hash / {_MAX})), if(failed, 'Error', 'Unset')
FROM (
    SELECT *, prompts[1 + cityHash64(version) % 400] AS prompt,
        {_text("130 + hash % 130", "number, 'mail'")} || if(hash % 10000 = 7, ' {RARE}', '') AS mail,
        {_text("60 + hash % 90", "number, 'answer'")} AS answer
    FROM (
        WITH (SELECT list FROM words) AS vocabulary,
            (SELECT groupArray(text) FROM (
                SELECT {_text("100", "number, 'prompt'")} AS text FROM numbers(400))) AS prompts,
            {list(MODELS)} AS models
        SELECT number, vocabulary, prompts, cityHash64(number) AS hash, part,
            toString(toUInt32(exp(cityHash64(number, 5) / {_MAX} * log({PROGRAMS})))) AS rank,
            concat('app.mail.program_', rank) AS program,
            (number / {{total:UInt64}} * 0.7 + 0.3 * cityHash64(number, 6) / {_MAX}) AS age,
            toString(toUInt32(age * (2 + cityHash64(program) % 30))) AS generation,
            concat('c1:', lower(hex(SHA256(concat(program, generation))))) AS version,
            models[toUInt32(exp(cityHash64(number, 7) / {_MAX} * log({len(MODELS) + 1})))] AS model,
            lower(hex(MD5(toString(number)))) AS trace,
            substring(trace, 1, 16) AS root, substring(trace, 17, 16) AS leaf,
            fromUnixTimestamp64Nano(toInt64({{begin:Int64}} + number * {{step:UInt64}}), 'UTC') AS at,
            hash % 50 = 0 AS failed
        FROM numbers({{first:UInt64}}, {{count:UInt64}}) ARRAY JOIN [0, 1] AS part
    )
)
SETTINGS max_insert_block_size = 65536, max_partitions_per_insert_block = 0
"""


def load(store: Store, first: int, count: int, total: int, begin_ns: int) -> None:
    """Insert invocations ``first`` to ``first + count`` of ``total``, which go over 30 days from ``begin_ns`` on."""
    store.command(_WORDS)
    step = DAYS * 86_400 * 10**9 // total
    for start in range(first, first + count, PER_INSERT):
        rows = min(PER_INSERT, first + count - start)
        numbers = {"first": start, "count": rows, "total": total, "begin": begin_ns, "step": step}
        store.command(_ROWS, numbers)
