"""Which code made this output, what changed, and did it get better: versions and traces of language-model programs.

::

    import ell_otel as ell

    @ell.simple(model="gpt-4o-mini")
    def greet(name: str):
        "You are a friendly assistant."
        return f"Say hello to {name}."

    greet("Ada")        # the answer; `ell-otel log` shows the version that made it

Importing this package imports nothing heavy: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ell_otel.closure import Closure as Closure
    from ell_otel.closure import capture as capture
    from ell_otel.errors import EllOtelError as EllOtelError
    from ell_otel.instrumentation.automatic import instrument as instrument
    from ell_otel.instrumentation.automatic import uninstrument as uninstrument
    from ell_otel.instrumentation.callsite import see_through as see_through
    from ell_otel.instrumentation.conversation import Message as Message
    from ell_otel.instrumentation.conversation import assistant as assistant
    from ell_otel.instrumentation.conversation import system as system
    from ell_otel.instrumentation.conversation import tool as tool
    from ell_otel.instrumentation.conversation import user as user
    from ell_otel.instrumentation.decorator import program as program
    from ell_otel.instrumentation.prompting import complex as complex
    from ell_otel.instrumentation.prompting import simple as simple
    from ell_otel.instrumentation.scoring import score as score
    from ell_otel.instrumentation.setup import flush as flush
    from ell_otel.instrumentation.setup import init as init
    from ell_otel.instrumentation.threads import copy_context_to as copy_context_to

__version__ = "0.1.0"

_HOMES: Final = {
    "Closure": "closure",
    "capture": "closure",
    "EllOtelError": "errors",
    "instrument": "instrumentation.automatic",
    "uninstrument": "instrumentation.automatic",
    "see_through": "instrumentation.callsite",
    "Message": "instrumentation.conversation",
    "assistant": "instrumentation.conversation",
    "system": "instrumentation.conversation",
    "tool": "instrumentation.conversation",
    "user": "instrumentation.conversation",
    "program": "instrumentation.decorator",
    "complex": "instrumentation.prompting",
    "simple": "instrumentation.prompting",
    "score": "instrumentation.scoring",
    "flush": "instrumentation.setup",
    "init": "instrumentation.setup",
    "copy_context_to": "instrumentation.threads",
}

__all__ = [  # noqa: PLE0604 - the names are loaded by __getattr__ below
    *_HOMES,
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
