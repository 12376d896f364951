"""Something that is done again and again beside the answers, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Rounds"]


class Rounds:
    """Takes turns until it is stopped; a turn's own mistakes are the turn's to handle."""

    def __init__(
        self,
        turn: Callable[[], float | None],
        *,
        name: str,
        every_s: float,
        first_s: float | None = None,
        join_s: float | None = None,
    ) -> None:
        """turn: gives the pause before the next in seconds, or None for `every_s`. first_s: before the first one.

        join_s: how long `stop` waits at most for a turn that goes on; None for as long as it takes.
        """
        self._turn = turn
        self._every_s = every_s
        self._first_s = every_s if first_s is None else first_s
        self._join_s = join_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take no further turn."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._join_s)

    def _run(self) -> None:
        pause_s = self._first_s
        while not self._stop.wait(pause_s):
            said_s = self._turn()
            pause_s = self._every_s if said_s is None else said_s
