"""Which program a process is."""

from __future__ import annotations

from contextlib import suppress

import psutil

from tests.serving.place import wait_until

__all__ = ["command_of"]


def command_of(process: psutil.Process) -> list[str]:
    """Its program and words; none of one that has ended.

    `Popen` returns a moment before the kernel has put them in place, and until then they are read as none at all.
    """
    with suppress(psutil.NoSuchProcess):
        wait_until(lambda: bool(process.cmdline()))
        return process.cmdline()
    return []
