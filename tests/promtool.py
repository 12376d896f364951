"""Prometheus's own tool, which says what is right."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["promtool"]


def promtool(*arguments: str, text: str | None = None, cwd: Path | None = None) -> str:
    """What it says of `text` or files; fails where it finds a fault. Skips where it is missing; fails so in CI."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is not installed here; CI needs it (apt-get install prometheus)")
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    ended = subprocess.run([program, *arguments], input=text, cwd=cwd, capture_output=True, text=True, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said
