"""Which program a process is."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

__all__ = ["command_of"]


def command_of(process: psutil.Process) -> list[str]:
    """Its program and words; none of one that has ended.

    `Popen` returns a moment before the kernel has put them in place, and until then they are read as none at all.
    """
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            if words := process.cmdline():
                return words
            time.sleep(0.001)
    return []
