"""Several processes that answer on one socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from everloop.errors import EverloopError

__all__ = ["supervise"]

_AGAIN_S = 2.0  # between two starts of one worker
_STARTS = 3  # of one that is killed before it answers


def supervise(
    root: Path, listener: socket.socket, *, workers: int, arguments: Sequence[str], announce: Callable[[], None]
) -> None:
    """Run `workers` processes on `listener`, start those again that die, end them all on SIGTERM or SIGINT.

    arguments: of each, as `entrance_of` has them. announce: called once, when the first workers all answer.
    Raises EverloopError where one of these cannot start, or is killed each time that it does. One that is started again
    later and cannot, since the ledger is away for instance, is tried again and again: the others answer meanwhile.
    """
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    running: list[subprocess.Popen[bytes]] = []
    try:
        running = [_worker(root, listener, arguments) for _ in range(workers)]
        for place in range(workers):
            running[place] = _answering(running[place], again=lambda: _worker(root, listener, arguments))
        announce()
        again_s = [0.0] * workers
        while not stopping.wait(0.1):
            for place, worker in enumerate(running):
                if worker.poll() is not None and time.monotonic() >= again_s[place]:
                    again_s[place] = time.monotonic() + _AGAIN_S
                    _close(worker)
                    running[place] = _worker(root, listener, arguments)
    finally:
        for worker in running:
            if worker.poll() is None:
                worker.terminate()
        for worker in running:
            worker.wait()
            _close(worker)
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker(root: Path, listener: socket.socket, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "everloop.serving", "--project", str(root), "--parent", str(os.getpid())]
    command += arguments
    return subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=subprocess.PIPE)


def _close(worker: subprocess.Popen[bytes]) -> None:
    if worker.stdout is not None:
        worker.stdout.close()


def _answering(
    worker: subprocess.Popen[bytes], *, again: Callable[[], subprocess.Popen[bytes]]
) -> subprocess.Popen[bytes]:
    """Wait until it says that it answers; one that is killed before, which is no fault of its own, is started again.

    Raises EverloopError where it ended otherwise, or was killed each time.
    """
    starts = 1
    while worker.stdout is not None and not worker.stdout.readline():
        code = worker.wait()
        _close(worker)
        if code >= 0 or starts == _STARTS:
            raise EverloopError(f"a worker of the endpoint ended with {code} before it answered; its words are above")
        worker = again()
        starts += 1
    return worker
