"""How a process of ours is told to end: by a signal, or by the death of the one that started it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["held_back", "told_to_stop"]

_LOOK_EVERY_S = 0.25
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held_back() -> Iterator[None]:
    """SIGTERM and SIGINT wait: for this process to the end of the context, for one that is started within it until it
    hears them, so that it ends in order however early it is told to.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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

    before = {number: signal.signal(number, told) for number in _SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # which may have been `held_back`
    if parent is not None:
        threading.Thread(target=watch, name="everloop-parent", daemon=True).start()
    try:
        yield stop
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
