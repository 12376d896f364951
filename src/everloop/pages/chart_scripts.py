"""The scripts that draw the charts of every page: made once for a version of vl-convert, and kept for this user."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

from everloop.errors import EverloopError
from everloop.pages.whole_file import write_whole

__all__ = ["chart_scripts", "prepare_scripts"]

_MAKE: Final = """\
import os, sys
if hasattr(os, "nice"):
    os.nice(19)
import vl_convert
sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())
"""


def prepare_scripts() -> None:
    """Begin to make the scripts where none are kept, beside the work that comes before the page."""
    if _kept() is None:
        _making()


@cache
def chart_scripts() -> str:
    """The text of a page's script element. Raises EverloopError where the scripts can be neither found nor made."""
    kept = _kept()
    if kept is not None:
        return kept
    bundle, _ = _making().communicate()
    if _making().returncode:
        _making.cache_clear()
        raise EverloopError("the charts' scripts could not be made; reinstall vl-convert-python, or leave the page out")
    text = bundle.decode().replace("</script>", "<\\/script>")
    place = _place()
    if place is not None:
        with suppress(OSError):  # they are made anew the next time
            write_whole(place, f"{_sum(text)}\n{text}")
    return text


@cache
def _making() -> subprocess.Popen[bytes]:
    # in a process of its own: it takes a second of a core, and would hold the interpreter's lock for all of it; it
    # takes what the work beside it leaves
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _MAKE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )


@cache
def _kept() -> str | None:
    """The scripts that are kept, if they are what was written."""
    place = _place()
    if place is None:
        return None
    try:
        digest, _, text = place.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if digest == _sum(text) else None


def _place() -> Path | None:
    """In this user's cache; None for one without a home."""
    try:
        return Path.home() / ".cache" / "everloop" / f"charts-{version('vl-convert-python')}.js"
    except RuntimeError:
        return None


def _sum(text: str) -> str:
    return sha256(text.encode()).hexdigest()
