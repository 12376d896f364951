"""The real endpoint, in a process of its own, on the replay's calendar."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from everloop.errors import EverloopError
from everloop.project import Project

__all__ = ["EndpointProcess"]

_STOP_S: Final = 40.0


class EndpointProcess:
    """`python -m everloop.serving` on a free port, until it is stopped; a context manager."""

    def __init__(self, project: Project, *, clock_path: Path) -> None:
        """clock_path: the file of the `SimulatedClock` it follows. Raises EverloopError where it does not start."""
        self.log_path = project.paths.logs / "endpoint.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "everloop.serving", "--project", str(project.root), "--port", "0"]
        command += ["--parent", str(os.getpid())]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "EVERLOOP_CLOCK": f"shared:{clock_path}"},
                text=True,
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self._process.wait()
            raise EverloopError(f"the endpoint did not start; {self.log_path} says why")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Ask it to end, once every accepted request is answered; the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
