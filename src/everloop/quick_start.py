"""How a program that loads much, and then does one thing, begins and ends sooner."""

from __future__ import annotations

import atexit
import gc
import os
from typing import Final

__all__ = ["quick_start"]

_OBJECTS: Final = 100_000
"""How many more there are before they are searched for garbage, where Python says 700."""


def quick_start() -> None:
    """For this process, before NumPy is loaded in it.

    What is loaded stays: to search it for garbage time and again takes a tenth of the loading, and once more at the end
    a fifth of a second. BLAS has one thread, as it adds up in another order with more; they would also spin at first.
    """
    gc.set_threshold(_OBJECTS)
    atexit.register(gc.freeze)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
