"""Lexical closures: `capture` a program's source with all it rests on, `verify` a version against stored text."""

from ell_otel.closure.canonical import verify
from ell_otel.closure.lexical import Closure, Use, capture
from ell_otel.closure.parts import Part

__all__ = ["Closure", "Part", "Use", "capture", "verify"]
