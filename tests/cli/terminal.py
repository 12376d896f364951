"""The command line as a person runs it: a process, its two streams and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """Run `everloop WORDS` in `cwd`, in a terminal of 80 columns. No traceback may reach anyone."""
    program = [sys.executable, "-c", "from everloop.cli import main; main()", *words]
    done = subprocess.run(
        program,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment() | more,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)
