"""Threads that go on beside a block of code, and are told to stop when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

__all__ = ["going_on"]


@contextmanager
def going_on(acts: Sequence[Callable[[threading.Event], None]], *, name: str, goodbye_s: float) -> Iterator[None]:
    """Each act in a thread of its own within the block; it is given what is set once it is to return.

    goodbye_s: how long each is waited for then; one that hangs holds up nobody's end.
    """
    stop = threading.Event()
    threads = [threading.Thread(target=act, args=(stop,), name=name, daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=goodbye_s)
