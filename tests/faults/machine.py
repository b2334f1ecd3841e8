"""What the machine lends to a fault: small and failing disks, a network of its own, a limit, another clock.

All of it takes root on Linux. Where it cannot be had, the test says so and is skipped, which CI takes for a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

CGROUPS = Path("/sys/fs/cgroup")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


def need_root(what: str) -> None:
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip(f"{what} takes root on Linux")


def need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: `make test` installs it (apt-get install {package})")


def run(*command: str | Path) -> None:
    subprocess.run([str(each) for each in command], check=True, capture_output=True, timeout=60)


@contextmanager
def tmpfs(mount: Path, options: str) -> Iterator[Path]:
    """A file system in memory at ``mount``."""
    need_root("mounting a small file system")
    mount.mkdir()
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", mount)
    try:
        yield mount
    finally:
        run("umount", "--lazy", mount)


class Disk:
    """An ext4 file system in a file, mounted at ``mount``. ``fail`` makes it read-only as the kernel does after an
    error, also under those who are writing; ``mend`` checks and mounts it anew, when nobody has a file of it open."""

    def __init__(self, image: Path, mount: Path) -> None:
        self.mount = mount
        self._image = image

    def attach(self) -> None:
        run("mount", "-o", "loop,errors=remount-ro", self._image, self.mount)

    def fail(self) -> None:
        device = next(line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if self._here(line))
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("injected")

    def mend(self) -> None:
        run("umount", self.mount)
        checked = subprocess.run(["e2fsck", "-p", str(self._image)], capture_output=True, check=False, timeout=60)
        assert checked.returncode in {0, 1}, checked.stdout  # 1: it was mended
        self.attach()

    def _here(self, line: str) -> bool:
        return line.split()[1] == str(self.mount)


@contextmanager
def ext4(folder: Path, megabytes: int, *options: str) -> Iterator[Disk]:
    """A disk of its own; ``options`` are those of ``mkfs.ext4``."""
    need_root("mounting a disk")
    need("mkfs.ext4", "e2fsprogs")
    image, mount = folder / "image", folder / "disk"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", "-F", *options, image)
    disk = Disk(image, mount)
    disk.attach()
    try:
        yield disk
    finally:
        run("umount", "--lazy", mount)


def own_network(*setup: str) -> list[str]:
    """The head of a command that has a network of its own: a loopback device that is up, and what ``setup`` does."""
    need_root("a network of its own")
    need("ip", "iproute2")
    script = " && ".join(("ip link set lo up", *setup, 'exec "$@"'))
    return ["unshare", "--net", "sh", "-c", script, "sh"]


@contextmanager
def cgroup(controller: str, limit: str, value: int) -> Iterator[list[str]]:
    """The head of a command that runs under a limit of control groups (version 1)."""
    need_root("a control group")
    if not (CGROUPS / controller / "cgroup.procs").exists():
        pytest.skip(f"there is no {controller} controller of control groups, version 1")
    group = CGROUPS / controller / f"ell-otel-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(str(value))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        until = time.monotonic() + 20
        while group.exists() and time.monotonic() < until:  # what dies is in it until it is dead
            with suppress(OSError):
                for line in (group / "cgroup.procs").read_text().split():
                    os.kill(int(line), 9)
                group.rmdir()
            time.sleep(0.02)


# With the monotonic clock left alone, libfaketime 0.9.10 fails Python's sleep, which is until a time of that clock.
_SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"


class Clock:
    """A clock that is off by ``+1d`` or ``-1h`` for processes with these ``variables``. ``set``, and it jumps."""

    def __init__(self, folder: Path, offset: str) -> None:
        if not FAKETIME.exists():
            pytest.skip("libfaketime is not installed: `make test` installs it (apt-get install faketime)")
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_SLEEP)
        self.file = folder / "offset"
        self.variables = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
        }
        self.set(offset)

    def set(self, offset: str) -> None:
        self.file.write_text(offset)
