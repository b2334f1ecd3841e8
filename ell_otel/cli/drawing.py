"""How results look to a person: tables, a version, an invocation, a difference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.syntax import Syntax
from rich.text import Text

from ell_otel.cli.output import cell, milliseconds, money, safe, short, table
from ell_otel.differences import Change
from ell_otel.store import queries

if TYPE_CHECKING:
    from rich.console import Console

USAGE: Final = ("invocations", "errors", "in", "out", "cost", "p50", "p95")
MAX_COLOURED: Final = 100_000
"""Characters of source beyond which colouring it would take longer than reading it."""
MAX_DEPTH: Final = 40


def programs(console: Console, found: Sequence[queries.Program]) -> None:
    """One line a program."""
    columns = ("program", "versions", *USAGE, "last seen")
    lines = [
        (
            each.name,
            each.versions,
            *_usage(each),
            each.last_seen,
        )
        for each in found
    ]
    if lines:
        console.print(table(columns, lines))


def versions(console: Console, found: Sequence[queries.Version]) -> None:
    """One line a version."""
    columns = ("version", "hash", "first seen", *USAGE, "score", "git")
    lines = [
        (
            f"v{each.number}{' (partial)' if each.partial else ''}",
            short(each.version),
            each.first_seen,
            *_usage(each),
            None if each.score is None else f"{each.score:.2f}",
            f"{each.git_branch} {each.git_commit[:7]}".strip() or None,
        )
        for each in found
    ]
    console.print(Text(f"{cell(found[0].program)}\n") if found else "")
    console.print(table(columns, lines))


def invocations(console: Console, found: Sequence[queries.Invocation]) -> None:
    """One line an invocation."""
    columns = ("invocation", "started", "program", "version", "took", "in", "out", "cost", "models", "status")
    lines = [
        (
            each.id[:12],
            each.started,
            each.program,
            f"v{each.number}" if each.number else short(each.version),
            milliseconds(each.duration_ms),
            each.input_tokens,
            each.output_tokens,
            _cost(each),
            ", ".join(each.models),
            each.error or each.status,
        )
        for each in found
    ]
    if lines:
        console.print(table(columns, lines))


def version(console: Console, found: queries.VersionDetail) -> None:
    """What is known of a version, and its closure."""
    _facts(
        console,
        ("program", f"{found.program} v{found.number}"),
        ("version", found.version),
        ("seen", f"{cell(found.first_seen)} to {cell(found.last_seen)}"),
        ("git", f"{found.git_branch} {found.git_commit[:12]}{' (changed)' if found.git_dirty else ''}".strip()),
        ("uses", ", ".join(f"{name} {short(used)}" for name, used in found.uses)),
        ("partial", "yes: see the warnings" if found.partial else ""),
    )
    console.print()
    source = safe(found.source)
    if len(source) > MAX_COLOURED:
        console.print(Text(source))
        return
    console.print(Syntax(source, "python", background_color="default", word_wrap=False))


def invocation(console: Console, found: queries.InvocationDetail, spans: Sequence[queries.TraceSpan]) -> None:
    """All that was recorded of an invocation, and what ran inside it."""
    head = found.invocation
    _facts(
        console,
        ("invocation", head.id),
        ("program", f"{head.program} v{head.number} {short(head.version)}"),
        ("started", f"{cell(head.started)}, took {milliseconds(head.duration_ms)}"),
        ("status", f"{head.status} {found.message or head.error}".strip()),
        ("tokens", f"{head.input_tokens} in, {head.output_tokens} out, {_cost(head)}" if found.inferences else ""),
        ("trace", head.trace_id),
        ("arguments", found.arguments),
        ("result", found.result),
        *(("consumes", f"{link.program} {link.invocation[:12]}") for link in found.links if link.kind == "consumes"),
        *((f"score {each.name}", _score(each)) for each in found.evaluations),
    )
    below = list(_below(head.span_id, spans, 1))
    if below:
        console.print(Text("\ninside it", "bold"))
        for depth, span in below:
            failed = f"  {safe(span.error or span.status)}" if span.status == "error" else ""
            console.print(Text(f"{'  ' * depth}{safe(span.name)}, {milliseconds(span.duration_ms)}{failed}"))
    for inference in found.inferences:
        console.print()
        _inference(console, inference)


def changes(console: Console, heading: str, found: Sequence[Change]) -> None:
    """Each statement that differs: what went red and struck, what came green; [-so-] and {+so+} without colour."""
    console.print(Text(safe(heading)))
    if not found:
        console.print("no difference")
    coloured = console.color_system is not None and not console.no_color
    for change in found:
        console.print(Text(f"{change.kind} {safe(change.part)}", style="bold"))
        body = Text()
        for operation, text in change.words:
            body.append_text(_word(operation, safe(text), coloured=coloured))
        console.print(body, end="\n\n")


def rows(console: Console, columns: Sequence[str], found: Sequence[Sequence[Any]]) -> None:
    """The result of a free query."""
    console.print(table(columns, found))


def _below(span_id: str, spans: Sequence[queries.TraceSpan], depth: int) -> Iterator[tuple[int, queries.TraceSpan]]:
    """The spans under one of them, each with its depth, in order of start. Deeper than ``MAX_DEPTH`` is not shown."""
    if depth > MAX_DEPTH:
        return
    for span in spans:
        if span.parent_span_id == span_id and span.span_id != span_id:
            yield depth, span
            yield from _below(span.span_id, spans, depth + 1)


def _word(operation: str, text: str, *, coloured: bool) -> Text:
    if operation == "same":
        return Text(text)
    if coloured:
        return Text(text, style="red strike" if operation == "removed" else "green")
    opening, closing = ("[-", "-]") if operation == "removed" else ("{+", "+}")
    # The marks go round the words, not round the line break after them.
    words = text.rstrip("\n")
    return Text(f"{opening}{words}{closing}{text[len(words) :]}")


def _inference(console: Console, each: queries.Inference) -> None:
    model = each.response_model or each.request_model
    usage = f"{cell(each.input_tokens)} in, {cell(each.output_tokens)} out, {money(each.cost)}"
    console.print(
        Text(safe(f"{each.operation} {model} ({each.provider}), {milliseconds(each.duration_ms)}, {usage}"), "bold")
    )
    if each.error:
        console.print(Text(f"  error: {safe(each.error)}", "red"))
    for messages in (each.system, each.input_messages, each.output_messages):
        for role, text in _spoken(messages):
            console.print(Text(f"  {safe(role)}: ", "cyan").append(safe(text), "default"))


def _spoken(messages: str) -> list[tuple[str, str]]:
    """(role, text) of each message in the conventions' JSON; what cannot be read is shown as it is."""
    try:
        return [_read(message) for message in json.loads(messages or "[]")]
    except (ValueError, TypeError, AttributeError, KeyError):
        return [("?", messages)]


def _read(message: dict[str, Any]) -> tuple[str, str]:
    parts = message.get("parts", [message])
    return str(message.get("role", "system")), " ".join(_part(part) for part in parts)


def _part(part: dict[str, Any]) -> str:
    if part.get("type") == "text":
        return str(part.get("content", ""))
    return json.dumps({name: value for name, value in part.items() if value is not None}, ensure_ascii=False)


def _facts(console: Console, *facts: tuple[str, str]) -> None:
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        if value:
            console.print(Text(f"{safe(name):<{width}}  ", "bold").append(safe(value), "not bold"))


def _score(each: queries.Evaluation) -> str:
    value = " ".join(str(part) for part in (each.score, each.label) if part not in (None, ""))
    return f"{value} ({each.explanation})" if each.explanation else value


def _usage(each: queries.Program | queries.Version) -> tuple[object, ...]:
    """The columns of ``USAGE``."""
    tokens = (each.input_tokens, each.output_tokens)
    return each.invocations, each.errors, *tokens, _cost(each), milliseconds(each.p50_ms), milliseconds(each.p95_ms)


def _cost(each: queries.Program | queries.Version | queries.Invocation) -> str | None:
    return money(each.cost) if each.input_tokens or each.output_tokens or each.cost is not None else None
