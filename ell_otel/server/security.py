"""Who may read and insert: tokens, where they are kept, and how they are presented."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from ell_otel.config import Settings
from ell_otel.errors import ConfigError
from ell_otel.web.gate import same_secret

READER: Final = "reader"
INGEST: Final = "ingest"
TOKEN_NAME: Final = "token"  # noqa: S105 - the file's name
INGEST_TOKEN_NAME: Final = "ingest-token"  # noqa: S105 - the file's name
_TOKEN_BYTES: Final = 32


class Role(Enum):
    """What a user of the ClickHouse interface may do."""

    READER = "reader"  # SELECT and its like, within limits, nothing outside the tables
    INGEST = "ingest"  # the same, and INSERT of data into the tables that the Collector's exporter writes
    OWNER = "owner"  # every statement; made by tests, never by the command line


@dataclass(frozen=True, slots=True)
class User:
    """One user of the ClickHouse interface."""

    password: str
    role: Role


def read_token(settings: Settings, directory: Path) -> str:
    """The token for reading: the setting, else the one kept in the ``.ell`` folder, made there on first use.

    256 random bits in a file that only its owner can read. Raises ``ConfigError`` when it can be neither read nor made.
    """
    return settings.token or _token(directory / TOKEN_NAME, "ELL_OTEL_TOKEN")


def ingest_token(settings: Settings, directory: Path) -> str:
    """The same for inserting through the ClickHouse interface."""
    return settings.ingest_token or _token(directory / INGEST_TOKEN_NAME, "ELL_OTEL_INGEST_TOKEN")


def users(settings: Settings, directory: Path) -> dict[str, User]:
    """The users of the ClickHouse interface."""
    return {
        READER: User(read_token(settings, directory), Role.READER),
        INGEST: User(ingest_token(settings, directory), Role.INGEST),
    }


def _token(path: Path, variable: str) -> str:
    try:
        kept = _kept(path)
        return kept or _made(path, over_empty=kept is not None)
    except OSError as error:
        raise ConfigError(f"the token {path} cannot be used ({error.strerror}): give one with {variable}") from error


def authenticate(users: Mapping[str, User], name: str, password: str) -> User | None:
    """The user with this name and password. An unknown name takes as long as a wrong password."""
    user = users.get(name)
    right = same_secret(password, user.password if user else secrets.token_urlsafe(_TOKEN_BYTES))
    return user if user and right else None


def basic(authorization: str | None) -> tuple[str, str] | None:
    """User and password of an ``Authorization: Basic …`` header."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


def _kept(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _made(path: Path, *, over_empty: bool) -> str:
    """Write a token beside and link it into place, so that two first uses agree on one, and none is read half."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    beside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(token + "\n")
        if over_empty:
            os.replace(beside, path)
            return token
        os.link(beside, path)
    except FileExistsError:
        return _kept(path) or token
    finally:
        beside.unlink(missing_ok=True)
    return token
