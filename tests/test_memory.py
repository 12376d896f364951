"""What was freed goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from everloop.memory import give_back
kept = [bytes([at % 256]) * 100_000 for at in range(2_000)]
last = bytes(1_000)  # what stays keeps all that lies below it in the heap
before = psutil.Process().memory_info().rss
del kept
give_back()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library keeps what it will")
def test_it_is_the_systems_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150_000_000
