"""What a reader may ask: judged on the engine's own tokens.

The engine does most of it. On a handle with ``readonly=1`` it refuses every statement that writes, every change of a
setting, and every table function that reaches outside the tables (``url``, ``s3``, ``remote``, and ``file``, also when
written as a quoted table name). What it lets through even then (chDB 26.9, each tried) is refused here:

* ``INTO OUTFILE``, which writes a file;
* the scalar function ``file``, which reads one; also as an argument, ``APPLY(file)`` or ``arrayMap(file, …)``,
  so the word is refused wherever it stands as a name;
* ``DESCRIBE url(…)``, which fetches in order to describe;
* ``KILL`` and ``CHECK``; several statements in one request.

No lexer of ours takes part: ClickHouse reads typographic quotes, here-documents and escapes in quoted names, and a
second lexer that disagrees with the first is a way in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_FIRST_WORDS: Final = frozenset({"select", "with", "from", "show", "describe", "desc", "exists", "explain"})
_TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "generateseries", "merge", "null", "numbers", "numbers_mt", "primes", "values", "view", "zeros"}
)
_SCALAR_TWINS: Final = frozenset(
    {"format"}
)  # names of harmless scalar functions too; the engine refuses the table function
_WORDS: Final = frozenset(
    {"file", "outfile", "infile", "catboostevaluate", "eval", "aiclassify", "aiembed", "aiextract", "aifilter"}
    | {"aigenerate", "airedact", "aisimilarity", "aitranslate"}
)
_BLANK: Final = frozenset({"Whitespace", "Comment"})
_NAMES: Final = frozenset({"BareWord", "QuotedIdentifier"})
_QUOTES: Final = '`"“”'


@dataclass(frozen=True, slots=True)
class Token:
    """One token as the engine's lexer cut it; ``end`` is the offset in bytes just behind it."""

    kind: str
    text: str
    end: int

    @property
    def word(self) -> str:
        """The token as an unquoted lower-case word; empty when it is none."""
        return self.text.lower() if self.kind == "BareWord" else ""

    @property
    def name(self) -> str:
        """The token as a lower-case name, quoted or not; empty when it is none."""
        return self.text.strip(_QUOTES).lower() if self.kind in _NAMES else ""


def meaningful(tokens: Sequence[Token]) -> list[Token]:
    """Without blanks, comments, and semicolons at the end."""
    kept = [token for token in tokens if token.kind not in _BLANK]
    while kept and kept[-1].kind in {"Semicolon", "EndOfStream"}:
        kept.pop()
    return kept


def output_format(tokens: Sequence[Token], default: str) -> str:
    """The format that the statement asks for by a FORMAT clause, else ``default``."""
    asked = [after.text for before, after in pairwise(tokens) if before.word == "format" and after.kind == "BareWord"]
    return asked[-1] if asked else default


def returns_rows(tokens: Sequence[Token]) -> bool:
    """Whether the statement has a result, be it of no rows."""
    return _first(tokens).word in _FIRST_WORDS | {"check", "kill"}


def plain_name(token: Token) -> str:
    """The name that the token is, as it is written, when it needs no escapes; else empty."""
    name = token.text[1:-1] if token.kind == "QuotedIdentifier" else token.text
    return name if token.kind in _NAMES and not set(name) & set(_QUOTES + "\\") else ""


def assignments(tokens: Sequence[Token]) -> tuple[dict[str, str], int]:
    """``name = literal, …`` at the beginning of the tokens, and how many tokens that takes; none when it is not so."""
    found: dict[str, str] = {}
    at = 0
    while at + 2 < len(tokens) and tokens[at].word and tokens[at + 1].kind == "Equals":
        value = tokens[at + 2]
        text = value.text[1:-1] if value.kind == "StringLiteral" else value.text
        if value.kind not in {"Number", "StringLiteral", "BareWord"} or "\\" in text or "'" in text:
            return {}, 0
        found[tokens[at].text] = text
        at += 3
        if at >= len(tokens) or tokens[at].kind != "Comma":
            return found, at
        at += 1
    return {}, 0


def set_settings(tokens: Sequence[Token]) -> dict[str, str] | None:
    """What ``SET name = literal, …`` sets; None when it is another statement."""
    if _first(tokens).word != "set":
        return None
    found, used = assignments(tokens[1:])
    return found if found and used == len(tokens) - 1 else None


def clause_settings(tokens: Sequence[Token]) -> dict[str, str] | None:
    """What the SETTINGS clauses of a query say, wherever they stand; None when one of them holds more than literals."""
    found: dict[str, str] = {}
    for at, (token, name, sign) in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
        if token.word == "settings" and name.kind in _NAMES and sign.kind == "Equals":
            here, used = assignments(tokens[at + 1 :])
            if not used:
                return None
            found |= here
    return found


def used_database(tokens: Sequence[Token]) -> str:
    """The database that ``USE name`` names; empty when it is another statement."""
    return plain_name(tokens[1]) if len(tokens) == 2 and tokens[0].word == "use" else ""


def refusal(tokens: Sequence[Token], table_functions: frozenset[str]) -> str:
    """Why a reader may not run this; empty when nothing speaks against it.

    ``table_functions`` are the lower-case names of all that the engine has, so that one it learns is refused until
    someone has looked at it.
    """
    return next(_objections(tokens, table_functions - _TABLE_FUNCTIONS - _SCALAR_TWINS), "")


def _objections(tokens: Sequence[Token], outside: frozenset[str]) -> Iterator[str]:
    first = _first(tokens)
    if first.word not in _FIRST_WORDS:
        yield f"a reader may SELECT, SHOW, DESCRIBE, EXISTS and EXPLAIN, not {first.text[:40] or 'nothing'}"
    for token in tokens:
        if token.kind == "Semicolon":
            yield "one statement at a time"
        if token.kind == "QuotedIdentifier" and "\\" in token.text:
            yield "a reader may not write escapes in quoted names"
        if token.name in _WORDS:
            yield f"the name {token.name} is closed to readers"
    for token, following in pairwise(tokens):
        if following.kind == "OpeningRoundBracket" and token.name in outside:
            yield f"the table function {token.name} is closed to readers"


def _first(tokens: Sequence[Token]) -> Token:
    return next((token for token in tokens if token.kind != "OpeningRoundBracket"), Token("EndOfStream", "", 0))
