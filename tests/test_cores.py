"""The cores that a process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from everloop import cores

SAYS = "from everloop.cores import usable_cores; print(usable_cores())"


def test_a_process_that_is_kept_to_one_core_uses_one() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system keeps no process to some cores")
    (core, *_) = os.sched_getaffinity(0)
    program = f"import os; os.sched_setaffinity(0, {{{core}}}); {SAYS}"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [("150000 100000", 2), ("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("-1 100000", None)],
)
def test_a_containers_share_is_rounded_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, expected: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(said)
    monkeypatch.setattr(cores, "_CGROUP_2", tmp_path / "cpu.max")
    assert cores._quota() == expected
