"""Merging is the engine's housekeeping: nobody waits for it, and under a load it would take half of a laptop.

The engine has a setting for that, ``os_threads_nice_value_merge_mutate``, which it obeys only where a process may also
raise a priority again, as root may (chDB 26.9). Lowering one's own is anybody's right.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_TASKS: Final = Path("/proc/self/task")
_NAME: Final = "MergeMutate"
_NICER: Final = 10  # where others have work, it gets a tenth of what each of them does
_NICEST: Final = 19


def let_others_go_first() -> None:
    """Lower the priority of the engine's threads that merge, in this process. They are there once a table is.

    Only on Linux has each thread a priority of its own; elsewhere this does nothing.
    """
    for task in _TASKS.glob("*"):
        with suppress(OSError):  # it has ended meanwhile
            if (task / "comm").read_text().strip() == _NAME:
                nice = os.getpriority(os.PRIO_PROCESS, int(task.name))
                os.setpriority(os.PRIO_PROCESS, int(task.name), min(nice + _NICER, _NICEST))
