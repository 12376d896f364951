"""A process of our own for one task: it can be ended at any moment, and ends when this one does, however that ends.

`python -m everloop.child_process MODULE WORDS` is how it begins: as `python -m MODULE WORDS`, but with a `quick_start`.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from everloop.quick_start import quick_start

__all__ = ["ChildProcess"]

_POLL_S: Final = 0.1
_LAST_CHARACTERS: Final = 300
_LAST_BYTES: Final = 4 * _LAST_CHARACTERS


class ChildProcess:
    """`python -m MODULE WORDS`: its stdin is a pipe from here, whose end it waits for; what it says is kept."""

    def __init__(self, module: str, words: Sequence[str] = ()) -> None:
        self._talk = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, module, *words],
            stdin=subprocess.PIPE,
            stdout=self._talk,
            stderr=self._talk,
        )
        self._ending = _ending_of(self._process.pid)

    def say(self, line: str) -> None:
        """Send it a line; one that has ended does not hear it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(os.fsencode(line) + b"\n")
            self._process.stdin.flush()

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

    def ends_soon(self) -> bool:
        """Whether it ends within a tenth of a second, which is waited for at most."""
        if self._ending is not None:
            look = select.poll()
            look.register(self._ending, select.POLLIN)
            look.poll(1000 * _POLL_S)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_POLL_S)
        return self.has_ended

    @property
    def code(self) -> int:
        """How it ended: its exit code, or a signal's number below 0."""
        return self._process.wait()

    def last_words(self) -> list[str]:
        """The last line of what it said; none where it said nothing."""
        said = os.pread(self._talk.fileno(), _LAST_BYTES, max(0, os.fstat(self._talk.fileno()).st_size - _LAST_BYTES))
        return said.decode("utf-8", errors="replace").strip()[-_LAST_CHARACTERS:].splitlines()[-1:]

    def close(self) -> None:
        """End it, whatever it does; what it said is forgotten."""
        self._process.kill()
        self._process.wait()
        self._talk.close()
        if self._ending is not None:
            os.close(self._ending)
            self._ending = None
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def _ending_of(pid: int) -> int | None:
    """What can be read as soon as the process has ended; None on a system without it, where Python looks at times."""
    with contextlib.suppress(AttributeError, OSError):
        return os.pidfd_open(pid)
    return None


if __name__ == "__main__":
    quick_start()
    _, module, *words = sys.argv
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
