from __future__ import annotations

import subprocess
import sys

import everloop.stats


def test_the_door_is_sorted_and_whole() -> None:
    assert sorted(everloop.stats.__all__) == everloop.stats.__all__
    assert all(
        getattr(everloop.stats, name).__doc__
        for name in everloop.stats.__all__
        if name not in {"Json", "Outcome", "Standing"}
    )


def test_scipy_is_not_loaded_before_it_is_used() -> None:
    code = "import sys, everloop.stats; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
