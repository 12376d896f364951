"""What a program that loads much does before it loads anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from everloop.cores import usable_cores

PROGRAM = """
import gc, os, sys
from everloop.quick_start import quick_start
assert "numpy" not in sys.modules
quick_start()
import numpy
from threadpoolctl import threadpool_info
print(gc.isenabled(), gc.get_threshold()[0], *(pool["num_threads"] for pool in threadpool_info()))
"""


@pytest.mark.parametrize(("said", "threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, min(2, usable_cores()))])
def test_blas_has_one_thread_unless_told_and_garbage_is_seldom_searched(said: dict[str, str], threads: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={"PATH": "", **said}
    )
    assert done.stdout.split() == ["True", "100000", str(threads)]
