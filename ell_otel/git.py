"""What git says about the folder a program lies in: metadata of a version, never part of it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 1.0
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Git:
    """State of a work tree. All empty where there is none, or git is missing or slow."""

    commit: str = ""
    branch: str = ""
    dirty: bool = False
    remote: str = ""


@lru_cache(maxsize=64)
def describe(folder: Path) -> Git:
    """Commit, branch, whether tracked files are changed, and the origin's URL without credentials.

    Asked once per folder and process; takes at most about two seconds, some milliseconds usually. Never raises.
    """
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return Git()
    headers = dict(line[2:].split(" ", 1) for line in status.splitlines() if line.startswith("# ") and " " in line[2:])
    commit = headers.get("branch.oid", "")
    return Git(
        commit="" if commit == "(initial)" else commit,
        branch=headers.get("branch.head", ""),
        dirty=any(line and not line.startswith("#") for line in status.splitlines()),
        remote=_CREDENTIALS.sub("", (_git(folder, "config", "--get", "remote.origin.url") or "").strip()),
    )


def _git(folder: Path, *arguments: str) -> str | None:
    # --no-optional-locks: a status in the background must not hold index.lock while the user commits.
    # The settings: a folder's own configuration can name programs for git to run, and we only want to look.
    quiet = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    command = ["git", "--no-optional-locks", *quiet, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
