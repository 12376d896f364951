"""Memory that was freed, and that the C library would keep for what comes next."""

from __future__ import annotations

import ctypes

__all__ = ["give_back"]


def give_back() -> None:
    """Let the system have what was freed, so that the next large thing is no more on top of the last."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(0)
