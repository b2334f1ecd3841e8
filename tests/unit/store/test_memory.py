"""The engine takes no more memory than its container can bear."""

from __future__ import annotations

from pathlib import Path

import pytest

from ell_otel.config import resolve
from ell_otel.store.client import open_store
from ell_otel.store.memory import MOST, engine_limit

GB = 1 << 30


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_three_quarters_of_the_groups_limit_in_version_2(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/pod/app\n")
    write(tmp_path / "pod" / "app" / "memory.max", f"{GB}\n")
    assert engine_limit(tmp_path, own) == GB * 3 // 4


def test_three_quarters_of_the_groups_limit_in_version_1(tmp_path: Path, own: Path) -> None:
    own.write_text("5:cpu,cpuacct:/pod/app\n4:memory:/pod/app\n0::/\n")
    write(tmp_path / "memory" / "pod" / "app" / "memory.limit_in_bytes", f"{GB}\n")
    assert engine_limit(tmp_path, own) == GB * 3 // 4


def test_the_narrowest_group_around_counts_also_where_a_container_sees_only_its_root(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/pod/app\n")
    write(tmp_path / "memory.max", f"{2 * GB}\n")
    assert engine_limit(tmp_path, own) == 2 * GB * 3 // 4
    write(tmp_path / "pod" / "memory.max", f"{GB}\n")
    write(tmp_path / "pod" / "app" / "memory.max", "max\n")
    assert engine_limit(tmp_path, own) == GB * 3 // 4


@pytest.mark.parametrize("text", ["max\n", f"{2**63 - 4096}\n"])
def test_without_a_limit_it_is_what_a_laptop_can_spare(tmp_path: Path, own: Path, text: str) -> None:
    assert engine_limit(tmp_path, own) == MOST  # no such file
    own.write_text("0::/\n4:memory:/\n")
    for file in (tmp_path / "memory.max", tmp_path / "memory" / "memory.limit_in_bytes"):
        write(file, text)
    assert engine_limit(tmp_path, own) == MOST


def test_the_engine_is_told(tmp_path: Path) -> None:
    sql = "SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'"
    with open_store(resolve({}, dir=str(tmp_path)), purpose="test") as store:
        assert [row["value"] for row in store.query(sql)] == [str(engine_limit())]
