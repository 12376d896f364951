"""What waits in the spool, for the metrics page, counted where nobody waits for it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

from everloop.errors import EverloopError
from everloop.traffic import Pending

__all__ = ["SpoolCount"]

_STOP_S = 5.0


class SpoolCount:
    """Counts in a thread of its own: where no mover runs, a spool grows until a count takes longer than a rollback may.

    pending: as last counted; None before the first count, and where the spool cannot be read.
    """

    def __init__(self, count: Callable[[], Pending], *, every_s: float = 1.0) -> None:
        """every_s: the pause between two counts; it is never shorter than a count took."""
        self._count = count
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everloop-spool-count", daemon=True)
        self.pending: Pending | None = None

    def start(self) -> None:
        """Count from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Count no more; a count that goes on is waited for, but not for long."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            began_s = time.monotonic()
            try:
                self.pending = self._count()
            except (EverloopError, OSError, sqlite3.Error):  # no reason to hide the rest
                self.pending = None
            pause_s = max(self._every_s, time.monotonic() - began_s)
