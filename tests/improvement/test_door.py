"""The room's door: sorted, complete, and light, for a notebook opens it at every start."""

from __future__ import annotations

import subprocess
import sys

import everloop.improvement as door


def test_the_door_is_sorted_and_everything_is_behind_it() -> None:
    assert sorted(door.__all__, key=lambda name: (name[0].islower(), name)) == door.__all__
    assert all(getattr(door, name).__doc__ for name in door.__all__)


def test_no_training_or_drawing_library_loads_with_it() -> None:
    heavy = ["altair", "vl_convert", "sklearn", "xgboost", "lightgbm", "onnxruntime", "nbclient", "scipy"]
    code = f"import sys, everloop.improvement; print([name for name in {heavy!r} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
