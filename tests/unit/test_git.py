"""What git says: commit, branch and whether files changed, without credentials and without failing."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ell_otel import git


def run(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.invalid"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_a_work_tree_is_described_without_the_credentials_in_its_origin(tmp_path: Path) -> None:
    run(tmp_path, "init", "-b", "trunk")
    run(tmp_path, "remote", "add", "origin", "https://user:hunter2@git.example.invalid/app.git")
    (tmp_path / "app.py").write_text("x = 1\n")
    run(tmp_path, "add", ".")
    run(tmp_path, "commit", "-m", "first")
    clean = git.describe(tmp_path)
    assert (len(clean.commit), clean.branch, clean.dirty) == (40, "trunk", False)
    assert clean.remote == "https://git.example.invalid/app.git"
    (tmp_path / "app.py").write_text("x = 2\n")
    git.describe.cache_clear()
    assert git.describe(tmp_path).dirty


def test_outside_a_work_tree_everything_is_empty(tmp_path: Path) -> None:
    assert git.describe(tmp_path / "not there") == git.Git()
