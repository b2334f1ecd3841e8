"""How much memory the engine may take: what a laptop can spare, or less where a container has less.

The engine looks at the machine's memory and not at the container's. A limit that it knows of makes it refuse the query
that is too large; one that it does not know of makes the kernel kill the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

MOST: Final = 2 << 30
"""Bytes that the engine may take where nothing else bounds it."""


def engine_limit(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes: ``MOST``, or three quarters of what this process's control group has, version 1 or 2.

    The engine counts the whole process as its own. The last quarter is for what it notices too late.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return MOST
    limits = [limit for line in lines for file in _files(cgroups, line) if (limit := _number(file)) is not None]
    return min([MOST, *(limit * 3 // 4 for limit in limits)])


def _files(cgroups: Path, line: str) -> Iterator[Path]:
    """Where a limit may stand: in the group itself and in every one around it, of which a container sees some."""
    _, controllers, group = line.split(":", 2)
    if controllers == "":
        root, name = cgroups, "memory.max"
    elif "memory" in controllers.split(","):
        root, name = cgroups / "memory", "memory.limit_in_bytes"
    else:
        return
    inner = Path(group.lstrip("/"))
    for folder in (inner, *inner.parents):
        yield root / folder / name


def _number(file: Path) -> int | None:
    """None where there is no such file, and for "max"."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
