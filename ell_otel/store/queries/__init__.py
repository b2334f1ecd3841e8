"""Every SELECT of the product, one function each, with bound parameters and typed results.

Duplicates (a span or event that was sent twice) count once everywhere: by FINAL, by aggregation, or by LIMIT 1 BY.
Lists never read content columns.
"""

from ell_otel.store.queries.cost import unpriced_models
from ell_otel.store.queries.detail import find_invocation, trace
from ell_otel.store.queries.figures import compare, evaluations, figures, labels, usage
from ell_otel.store.queries.invocations import InvocationFilter, invocations
from ell_otel.store.queries.programs import attribution, counts, find_version, losses, programs, versions
from ell_otel.store.queries.references import VersionKey, resolve_program, resolve_version
from ell_otel.store.queries.results import (
    Attribution,
    Comparison,
    Counts,
    Evaluation,
    Figures,
    Inference,
    Invocation,
    InvocationDetail,
    Label,
    Link,
    Program,
    Score,
    ScoreChange,
    TraceSpan,
    UnpricedModel,
    Usage,
    Version,
    VersionDetail,
)

__all__ = [
    "Attribution",
    "Comparison",
    "Counts",
    "Evaluation",
    "Figures",
    "Inference",
    "Invocation",
    "InvocationDetail",
    "InvocationFilter",
    "Label",
    "Link",
    "Program",
    "Score",
    "ScoreChange",
    "TraceSpan",
    "UnpricedModel",
    "Usage",
    "Version",
    "VersionDetail",
    "VersionKey",
    "attribution",
    "compare",
    "counts",
    "evaluations",
    "figures",
    "find_invocation",
    "find_version",
    "invocations",
    "labels",
    "losses",
    "programs",
    "resolve_program",
    "resolve_version",
    "trace",
    "unpriced_models",
    "usage",
    "versions",
]
