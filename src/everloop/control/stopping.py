"""How a process of ours is told to end: by a signal, or by the death of the one that started it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["told_to_stop"]

_LOOK_EVERY_S = 0.25


@contextmanager
def told_to_stop(*, parent: int | None = None) -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; for the main thread.

    parent: the process that started this one. Once it is gone, however it died, the event is set as well, so that
    nothing is left running that nobody watches.
    """
    stop, over = threading.Event(), threading.Event()

    def told(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_S):
            if os.getppid() != parent:
                stop.set()
                return

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    if parent is not None:
        threading.Thread(target=watch, name="everloop-parent", daemon=True).start()
    try:
        yield stop
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
