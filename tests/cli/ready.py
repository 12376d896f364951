"""A process that has the libraries loaded, and makes one of itself for each command.

What a command does is as it ever was, but it begins in milliseconds. Each is a process with its own folder, variables
and streams.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

__all__ = ["run_ready"]

ROOT = Path(__file__).parents[2]
LOADED = (
    "everloop.cli",
    "everloop.control",
    "everloop.experiment",
    "everloop.production",
    "everloop.registry",
    "everloop.workflows.durable",
    "deltalake",
    "optuna",
    "polars",
    "sklearn.linear_model",
)
SERVE = "from tests.cli.ready import become_the_next; become_the_next({})"
_LONGEST_REQUEST = 1 << 20


def _plain() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    return kept | {"PYTHONWARNINGS": "error::UserWarning"}


class Ready:
    """The process, and the way to it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, "-c", SERVE.format(theirs.fileno())]
        self._process = subprocess.Popen(
            program, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=_plain()
        )
        theirs.close()
        self._one_at_a_time = threading.Lock()

    def run(
        self, words: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one command."""
        status, told = os.pipe()
        request = json.dumps({"words": list(words), "cwd": str(cwd), "env": dict(environment)}).encode()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with self._one_at_a_time:
                socket.send_fds(self._ours, [request], [out.fileno(), err.fileno(), told])
            os.close(told)
            pid = int.from_bytes(os.read(status, 8), "little")
            if not select.select([status], [], [], timeout_s)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), timeout_s)
            code = os.waitstatus_to_exitcode(int.from_bytes(os.read(status, 8), "little"))
            os.close(status)
            for file in (out, err):
                file.seek(0)
            return code, out.read().decode(), err.read().decode()


@cache
def _ready() -> Ready:
    return Ready()


def run_ready(
    words: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """Run `everloop WORDS` in `cwd` with these variables: exit code, stdout, stderr."""
    return _ready().run(words, cwd=cwd, environment=environment, timeout_s=timeout_s)


def become_the_next(channel: int) -> None:
    """Load, and return in a new process for each request; the one that waits for requests never does."""
    for name in LOADED:
        importlib.import_module(name)
    waiting = socket.socket(fileno=channel)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(waiting, _LONGEST_REQUEST, 3)
        if not request:  # whoever asked has gone
            os._exit(0)
        out, err, told = descriptors
        if os.fork() == 0:
            break
        for descriptor in (out, err, told):
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waiting.close()
    command = os.fork()
    if command:  # this one waits, and says how it ended
        with contextlib.suppress(BrokenPipeError):
            os.write(told, command.to_bytes(8, "little"))
            _, status = os.waitpid(command, 0)
            os.write(told, status.to_bytes(8, "little"))
        os._exit(0)
    os.close(told)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    said = json.loads(request)
    os.chdir(said["cwd"])
    os.environ.clear()
    os.environ.update(said["env"])
    sys.argv[1:] = said["words"]
    os._exit(_ended(importlib.import_module("everloop.cli").main))


def _ended(main: Callable[[], None]) -> int:
    """The exit code, with all done that an interpreter does at its end but taking apart what was loaded."""
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code
