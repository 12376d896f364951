"""The command line as a person runs it: a process, its two streams and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ready import run_ready

__all__ = ["Ended", "environment", "everloop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command left: its exit code, data on stdout, talk on stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """This process's variables without any that set up everloop, at 80 columns."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    return kept | {"COLUMNS": "80", "PYTHONWARNINGS": "error::UserWarning"}


def everloop(*words: str, cwd: Path, **more: str) -> Ended:
    """Run `everloop WORDS` in `cwd`, in a terminal of 80 columns. No traceback may reach anyone.

    Where nothing is said to Python itself, it is a process that has its libraries loaded.
    """
    begun_anew = sys.platform != "linux" or any(name.startswith("PYTHON") for name in more)
    run = _anew if begun_anew else run_ready
    code, out, err = run(words, cwd=cwd, environment=environment() | more, timeout_s=300)
    assert "Traceback" not in err, err
    return Ended(code=code, out=out, err=err)


def _anew(words: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout_s: float) -> tuple[int, str, str]:
    program = [sys.executable, "-c", "from everloop.cli import main; main()", *words]
    done = subprocess.run(
        program, cwd=cwd, capture_output=True, text=True, check=False, timeout=timeout_s, env=dict(environment)
    )
    return done.returncode, done.stdout, done.stderr
