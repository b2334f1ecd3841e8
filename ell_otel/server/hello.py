"""The first question of clickhouse-go, which Grafana and the Collector's exporter use.

It reads this one answer as a server of its own revision would write it: a Native block with a block info, and a byte
behind each type. From the revision in it, 0, it learns that all other blocks are without.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from ell_otel.server.statements import Token

_QUESTION: Final = "select displayname(),version(),revision(),timezone()"
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # no overflow; no bucket; end
_NO_CUSTOM_SERIALIZATION: Final = b"\x00"
_CUSTOM_SERIALIZATION_FROM: Final = 54454


def greeting(tokens: Sequence[Token], protocol: int, version: str, timezone: str) -> bytes | None:
    """The answer for a client of this protocol version; None when this is not that question."""
    if protocol < _CUSTOM_SERIALIZATION_FROM or "".join(map(_spaced, tokens)) != _QUESTION:
        return None
    columns = (
        ("displayName()", "String", _text("ell-otel")),
        ("version()", "String", _text(version)),
        ("revision()", "UInt32", struct.pack("<I", 0)),
        ("timezone()", "String", _text(timezone)),
    )
    written = (_text(name) + _text(kind) + _NO_CUSTOM_SERIALIZATION + value for name, kind, value in columns)
    return _BLOCK_INFO + bytes((len(columns), 1)) + b"".join(written)


def _spaced(token: Token) -> str:
    return f"{token.word} " if token.word == "select" else token.text.lower()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded
