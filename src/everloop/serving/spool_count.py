"""What waits in the spool, for the metrics page, counted where nobody waits for it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from everloop.errors import EverloopError
from everloop.serving.rounds import Rounds
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
        self._rounds = Rounds(self._turn, name="everloop-spool-count", every_s=every_s, first_s=0.0, join_s=_STOP_S)
        self.pending: Pending | None = None

    def start(self) -> None:
        """Count from now on."""
        self._rounds.start()

    def stop(self) -> None:
        """Count no more; a count that goes on is waited for, but not for long."""
        self._rounds.stop()

    def _turn(self) -> float:
        began_s = time.monotonic()
        try:
            self.pending = self._count()
        except (EverloopError, OSError, sqlite3.Error):  # no reason to hide the rest
            self.pending = None
        return max(self._every_s, time.monotonic() - began_s)
