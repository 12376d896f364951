"""How many cores this process may use: a container's share of a machine, not the machine."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

__all__ = ["usable_cores"]

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


@cache
def usable_cores() -> int:
    """The cores that the system lets this process run on, at least 1: by affinity and by a container's quota."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed))


def _quota() -> int | None:
    """A container's cores, rounded up; None where nothing bounds them."""
    try:
        if _CGROUP_2.exists():
            quota, period = _CGROUP_2.read_text().split()
        else:
            quota, period = (path.read_text().strip() for path in _CGROUP_1)
        given = int(quota)
        return None if given <= 0 else -(-given // int(period))
    except (OSError, ValueError):  # "max", or no such file
        return None
