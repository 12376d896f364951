"""`import everloop as ev` is quick, and what it opens is found when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import everloop as ev
from everloop import notebook

HEAVY = ("numpy", "polars", "pandas", "sklearn", "altair", "pydantic", "sqlalchemy", "onnxruntime", "typer", "dbos")


def test_the_door_is_sorted_whole_and_documented() -> None:
    assert sorted(ev.__all__) == ev.__all__ == ["Verdict", "check", "features", "open"]
    for name in ev.__all__:
        assert getattr(ev, name).__doc__
        assert name in dir(ev)
    for name in notebook.__all__:
        assert getattr(notebook, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'everloop' has no attribute 'opn'"):
        ev.opn  # noqa: B018


def test_importing_it_loads_no_library_and_is_quick() -> None:
    code = "import sys, time; began = time.perf_counter(); import everloop; took = time.perf_counter() - began; "
    code += f"print(took, [name for name in {HEAVY} if name in sys.modules])"
    took = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, loaded = done.stdout.strip().split(" ", 1)
        assert loaded == "[]"
        took.append(float(seconds))
    assert min(took) <= 0.15
