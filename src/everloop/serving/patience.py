"""How long a question to the ledger has gone unanswered: whoever asked cannot say so, for it waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["SILENT_S", "Patience"]

SILENT_S = 2.0
"""A ledger that takes longer than this is told to be silent; its answers mostly take a millisecond."""
_GIVE_UP_S = 5.0


class Patience:
    """Of one thread that asks. `check` is called by another one, which the ledger cannot keep waiting."""

    def __init__(
        self,
        give_up: Callable[[], None],
        *,
        give_up_s: float = _GIVE_UP_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """give_up: makes the question fail where it can; called once for each `give_up_s` that it was waited."""
        self._give_up = give_up
        self._give_up_s = give_up_s
        self._now_s = now_s
        self._asked_s: float | None = None
        self._given_up_s = 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around one question."""
        self._asked_s = self._given_up_s = self._now_s()
        try:
            yield
        finally:
            self._asked_s = None

    @property
    def waited_s(self) -> float:
        """Since when a question is unanswered; 0 where none is asked."""
        asked_s = self._asked_s
        return 0.0 if asked_s is None else self._now_s() - asked_s

    def check(self) -> None:
        """Give up a question that was waited for too long."""
        if self.waited_s > 0.0 and self._now_s() - self._given_up_s >= self._give_up_s:
            self._given_up_s = self._now_s()
            self._give_up()
