"""What went wrong in the store, said so that a person can act on it.

ClickHouse's numbered errors, clickhouse-connect's exceptions and the operating system's all become a ``StoreError``
that says what happened, to which store, and what to type next. No message holds a password.
"""

from __future__ import annotations

import errno
import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from ell_otel.errors import EllOtelError, StoreError

_MIGRATE: Final = "make its tables with `ell-otel migrate`"

# ClickHouse error code -> (what it means for us, the remedy). The engine's own words follow.
_REMEDIES: Final = {
    60: ("it has no such table", _MIGRATE),
    81: ("it has no such database", "create the database, or name another at the end of the DSN"),
    164: ("it is read-only for this user", "use a user who may write, or run the command without a server"),
    192: ("it does not know this user", "check the user in --store or ELL_OTEL_STORE"),
    193: ("the password is wrong", "check the password in --store or ELL_OTEL_STORE"),
    194: ("the password is missing", "write user:password@ into --store or ELL_OTEL_STORE"),
    241: ("it has run out of memory", "ask for less at once, or allow it more"),
    243: ("its disk is full", "make room there"),
    497: ("this user may not do that", "use a user with the right to do it"),
    516: ("user or password is wrong", "check both in --store or ELL_OTEL_STORE"),
}
_DISK: Final = {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOTDIR: "a file stands where a folder should be",
}
_DISK_REMEDY: Final = "make room or give write permission there, or name another folder with ELL_OTEL_DIR"


class UnreachableError(StoreError):
    """Nothing answers at the address of the store. It may, later."""

    retryable = True


def explain(error: Exception, name: str) -> EllOtelError:
    """The error to raise in place of ``error``, which the store called ``name`` gave."""
    if isinstance(error, EllOtelError):
        return error
    if isinstance(error, OSError) and error.errno in _DISK:
        return StoreError(f"cannot use the store {name}: {_DISK[error.errno]}; {_DISK_REMEDY}")
    text = re.sub(r"\s+", " ", str(error)).strip()
    if code := _code(error, text):
        said, remedy = _REMEDIES.get(code, ("", ""))
        if said:
            return StoreError(f"the store {name} refused: {said}; {remedy}. It said: {_short(text)}")
    if "No space left on device" in text:
        return StoreError(f"cannot write to the store {name}: the disk is full; {_DISK_REMEDY}")
    if "Permission denied" in text or "Read-only file system" in text:
        return StoreError(f"cannot write to the store {name}: no permission; {_DISK_REMEDY}")
    if not code and type(error).__name__ in {"OperationalError", "ConnectionError", "MaxRetryError"}:
        root = re.search(r"\[Errno -?\d+\] ([^\"')]+)", text)  # within what each library on the way has put around it
        reason = root[1] if root else _short(text)
        return UnreachableError(f"nothing answers at {name} ({reason}): start it, or correct --store or ELL_OTEL_STORE")
    return StoreError(f"the store {name} failed: {_short(text) or type(error).__name__}")


def hide_password(dsn: str) -> str:
    """The DSN without password and query, fit for a message."""
    parts = urlsplit(dsn)
    address = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit((parts.scheme, user + address, parts.path, "", ""))


def _code(error: Exception, text: str) -> int:
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return code
    found = re.search(r"\bCode: (\d+)", text)
    return int(found[1]) if found else 0


def _short(text: str) -> str:
    text = re.sub(r"://[^/@\s]*@", "://", text)
    return text if len(text) <= 400 else f"{text[:397]}…"
