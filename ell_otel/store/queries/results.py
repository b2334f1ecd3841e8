"""What the queries return: frozen dataclasses of str, int, float, bool, None, aware datetimes and tuples of these.

Times are UTC, durations milliseconds, cost US dollars. ``None`` says unknown, where 0 would be a claim: a cost without
a price, a percentile of nothing, a token count that was not reported. A total leaves unknown costs out and is None only
when every part of it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ell_otel.store.queries.references import VersionKey


@dataclass(frozen=True, slots=True)
class Program:
    """A program over all its versions."""

    name: str
    versions: int
    invocations: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    p50_ms: float | None
    p95_ms: float | None
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a program. ``number`` counts from 1 by order of first sight; ``score`` is the mean evaluation."""

    program: str
    number: int
    version: str
    first_seen: datetime
    last_seen: datetime
    invocations: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    p50_ms: float | None
    p95_ms: float | None
    score: float | None
    git_commit: str
    git_branch: str
    partial: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What invocations add up to. ``score`` is the mean of all their evaluations."""

    invocations: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    input_tokens: int
    output_tokens: int
    cost: float | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions side by side: ``before`` and ``after`` are their keys, with what each adds up to."""

    before: VersionKey
    after: VersionKey
    figures_before: Figures
    figures_after: Figures
    scores: tuple[ScoreChange, ...]


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """One evaluation of two versions: the mean score of each (None: not given) and how many there are."""

    name: str
    before: float | None
    after: float | None
    count_before: int
    count_after: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of the inferences that have the same keys; a key that was not asked for is None.

    ``cost`` leaves unknown costs out; ``unpriced`` says of how many inferences.
    """

    hour: datetime | None
    program: str | None
    version: str | None
    model: str | None
    inferences: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    unpriced: int


@dataclass(frozen=True, slots=True)
class Score:
    """A score in a list of them, with the invocation it was given to."""

    name: str
    score: float | None
    label: str
    explanation: str
    at: datetime
    program: str
    version: str
    invocation: str


@dataclass(frozen=True, slots=True)
class Label:
    """``program@name`` and the version it points to since ``at``."""

    program: str
    name: str
    version: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VersionDetail:
    """One version with its source. ``proto`` is as sent, in ``proto_encoding``; ``uses`` holds (name, version) pairs.

    ``source`` is "" when it has not arrived, or not all of it; ``warnings`` then says so.
    """

    program: str
    number: int
    version: str
    first_seen: datetime
    last_seen: datetime
    git_commit: str
    git_branch: str
    git_dirty: bool
    partial: bool
    source: str
    proto: str
    proto_encoding: str
    uses: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a program. Tokens and cost are those of the model calls directly inside it.

    ``status`` is "ok" or "error"; ``error`` the type, or else the message, of what went wrong. ``number`` is 0 for a
    version that is not known. ``cursor`` is where the next page of a list begins.
    """

    id: str
    trace_id: str
    span_id: str
    program: str
    version: str
    number: int
    started: datetime
    duration_ms: float
    status: str
    error: str
    input_tokens: int
    output_tokens: int
    cost: float | None
    models: tuple[str, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Inference:
    """One request to a model. ``system`` and the messages are JSON as recorded, "" when content was not recorded."""

    span_id: str
    operation: str
    provider: str
    request_model: str
    response_model: str
    started: datetime
    duration_ms: float
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    reasoning_output_tokens: int | None
    cost: float | None
    error: str
    system: str
    input_messages: str
    output_messages: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A score given to an invocation. ``score`` is None when only a label was given."""

    name: str
    score: float | None
    label: str
    explanation: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """A span link of an invocation. ``kind`` is "consumes" when that span's output was used here.

    ``invocation`` and ``program`` are "" when the linked span is no invocation known here.
    """

    kind: str
    trace_id: str
    span_id: str
    invocation: str
    program: str


@dataclass(frozen=True, slots=True)
class InvocationDetail:
    """One invocation with all that was recorded of it. ``arguments`` and ``result`` are JSON, "" when not recorded.

    ``message`` is what the error said.
    """

    invocation: Invocation
    message: str
    arguments: str
    result: str
    inferences: tuple[Inference, ...]
    evaluations: tuple[Evaluation, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """One span of a trace, of ours or not."""

    span_id: str
    parent_span_id: str
    name: str
    kind: str
    service: str
    started: datetime
    duration_ms: float
    status: str
    error: str
    invocation: str
    program: str
    version: str
    model: str


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """A model that was used and has no price for that time."""

    model: str
    inferences: int
    input_tokens: int
    output_tokens: int
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is. ``spans`` and ``records`` count stored rows, duplicates that are still to merge included."""

    spans: int
    records: int
    programs: int
    versions: int
    invocations: int
    inferences: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class Attribution:
    """Of ``inferences``, how many name no program; ``duplicates`` holds (instrumentation, spans) pairs."""

    inferences: int
    without_program: int
    duplicates: tuple[tuple[str, int], ...]
