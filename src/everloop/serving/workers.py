"""Several processes that answer on one socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from everloop.errors import EverloopError
from everloop.serving.entrance import Entrance

__all__ = ["supervise"]

_AGAIN_S = 2.0  # between two starts of one worker
_STARTS = 3  # of one that is killed before it answers


def supervise(root: Path, entrance: Entrance, *, announce: Callable[[], None]) -> None:
    """Run the processes of an entrance, start those again that die, end them all on SIGTERM or SIGINT.

    announce: called once, when the first workers all answer.
    Raises EverloopError where one of these cannot start, or is killed each time that it does. One that is started again
    later and cannot, since the ledger is away for instance, is tried again and again: the others answer meanwhile.
    """
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    running: list[subprocess.Popen[bytes]] = []
    try:
        running = [_worker(root, entrance, place) for place in range(entrance.workers)]
        for place, worker in enumerate(running):
            running[place] = _answering(worker, again=partial(_worker, root, entrance, place))
        announce()
        again_s = [0.0] * entrance.workers
        while not stopping.wait(0.1):
            for place, worker in enumerate(running):
                if worker.poll() is not None and time.monotonic() >= again_s[place]:
                    again_s[place] = time.monotonic() + _AGAIN_S
                    _close(worker)
                    running[place] = _worker(root, entrance, place)
    finally:
        for worker in running:
            if worker.poll() is None:
                worker.terminate()
        for worker in running:
            worker.wait()
            _close(worker)
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker(root: Path, entrance: Entrance, place: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "everloop.serving", "--project", str(root), "--parent", str(os.getpid())]
    command += entrance.arguments(place)
    return subprocess.Popen(command, pass_fds=entrance.descriptors, stdout=subprocess.PIPE)


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
