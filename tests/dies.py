"""For processes of tests that are to die at a named point."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable


def dies_at(point: str, arrival: int) -> Callable[[str], None]:
    """What kills its process when `point` is reached for the `arrival`th time, or later."""
    left = itertools.count(arrival, -1)

    def crash(reached: str) -> None:
        if reached == point and next(left) <= 1:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash
