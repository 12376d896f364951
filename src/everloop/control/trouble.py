"""What went wrong that nobody foresaw, in a sentence; its trace is kept for whoever mends it."""

from __future__ import annotations

import traceback
from pathlib import Path

from everloop.errors import EverloopError

__all__ = ["told"]


def told(error: Exception, *, logs: Path, name: str) -> str:
    """The error's own sentence; of one that is not of the tree its type, and where the trace is.

    logs: the folder of `NAME.error.txt`; a later trace of the same name replaces it. A trace that cannot be kept is
    left out.
    """
    if isinstance(error, EverloopError):
        return str(error)
    said = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
    trace = logs / f"{name}.error.txt"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return said
    return f"{said}; the trace is in {trace}"
