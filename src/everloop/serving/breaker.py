"""Whether a server that keeps failing is asked: not for a moment, then once, then as before."""

from __future__ import annotations

from typing import Final

__all__ = ["Breaker"]

FAILURES: Final = 5
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0


class Breaker:
    """After `FAILURES` failures in a row nothing is sent for a pause, which doubles each time the one trial fails too.

    Times are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._again_s = 0.0
        self._trying = False

    @property
    def broken(self) -> bool:
        """Whether it has failed too often in a row."""
        return self._failures >= FAILURES

    def allows(self, now_s: float) -> bool:
        """Whether to ask now; of a server that failed too often one request at a time is let through, after a pause."""
        if not self.broken:
            return True
        if self._trying or now_s < self._again_s:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """An answer came."""
        self._failures, self._pause_s, self._trying = 0, FIRST_PAUSE_S, False

    def failed(self, now_s: float) -> None:
        """None came."""
        was_trying, self._trying = self._trying, False
        self._failures += 1
        if not self.broken:
            return
        if was_trying:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._again_s = now_s + self._pause_s

    def let_go(self) -> None:
        """What was asked is waited for no more, and says nothing of the server."""
        self._trying = False
