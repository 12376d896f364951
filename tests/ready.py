"""Processes that have the libraries loaded, and make one of themselves for each command, or each fit's process.

What those do is as it ever was, but they begin in milliseconds. Each is a process with its own folder, variables and
streams.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["ready_fits", "run_ready"]

ROOT = Path(__file__).parents[1]
COMMANDS = (
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
FITS = ("everloop.models.child", "lightgbm", "onnxmltools", "sklearn.linear_model", "skl2onnx", "xgboost")
SERVE = "from tests.ready import become_the_next; become_the_next({}, {!r}, {})"
_LONGEST_REQUEST = 1 << 20


def _plain() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    return kept | {"PYTHONWARNINGS": "error::UserWarning"}


class Ready:
    """The way to such a process."""

    def __init__(self, way: socket.socket) -> None:
        self._way = way
        self._one_at_a_time = threading.Lock()

    @classmethod
    def loading(cls, loaded: Sequence[str], *, fits: Ready | None = None) -> Ready:
        """A new one. fits: where what it becomes begins its fits."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        beside = None if fits is None else fits._way.fileno()
        subprocess.Popen(
            [sys.executable, "-c", SERVE.format(theirs.fileno(), tuple(loaded), beside)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), *(() if beside is None else (beside,))],
            env=_plain(),
        )
        theirs.close()
        return cls(ours)

    def run(
        self, module: str, words: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one command."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            began = self.begin(module, words, cwd=cwd, environment=environment, streams=[out, err])
            try:
                code = began.wait(timeout_s)
            except subprocess.TimeoutExpired:
                began.kill()
                raise
            for file in (out, err):
                file.seek(0)
            return code, out.read().decode(), err.read().decode()

    def begin(
        self, module: str, words: Sequence[str], *, cwd: Path, environment: Mapping[str, str], streams: Sequence[Any]
    ) -> Begun:
        """The `main` of a module in a process of its own. streams: its stdout, its stderr, and its stdin or none."""
        status, told = os.pipe()
        request = json.dumps({"module": module, "words": list(words), "cwd": str(cwd), "env": dict(environment)})
        with self._one_at_a_time:
            socket.send_fds(self._way, [request.encode()], [told, *(stream.fileno() for stream in streams)])
        os.close(told)
        return Begun(status, words)


class Begun:
    """A process that was begun, with the part of `Popen` that is asked of it."""

    def __init__(self, status: int, words: Sequence[str]) -> None:
        self._status, self._words = status, words
        self.stdin: Any = None
        self.pid = int.from_bytes(os.read(status, 8), "little")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self._words), timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(os.read(self._status, 8), "little"))
            os.close(self._status)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


@cache
def _commands() -> Ready:
    return Ready.loading(COMMANDS, fits=_fits())


@cache
def _fits() -> Ready:
    return Ready.loading(FITS)


def run_ready(
    words: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    module: str = "everloop.cli",
) -> tuple[int, str, str]:
    """Run `everloop WORDS`, or another module's `main`, in `cwd` with these variables: exit code, stdout, stderr."""
    return _commands().run(module, words, cwd=cwd, environment=environment, timeout_s=timeout_s)


@contextlib.contextmanager
def ready_fits(ready: Callable[[], Ready] = _fits) -> Iterator[None]:
    """Within it the process of a fit begins as one that has its libraries loaded."""
    from everloop import child_process

    def begun(program: Sequence[str], *, stdin: int, stdout: Any, stderr: Any) -> Begun | subprocess.Popen[bytes]:
        if list(program[1:]) != ["-P", "-m", "everloop.child_process", "everloop.models.child"]:
            return subprocess.Popen(program, stdin=stdin, stdout=stdout, stderr=stderr)
        read, write = os.pipe()
        with os.fdopen(read, "rb") as theirs:
            found = ready().begin(
                program[-1], [], cwd=Path.cwd(), environment=os.environ, streams=[stdout, stderr, theirs]
            )
        found.stdin = os.fdopen(write, "wb")
        return found

    real = child_process.subprocess
    names = {"PIPE": subprocess.PIPE, "TimeoutExpired": subprocess.TimeoutExpired, "Popen": begun}
    child_process.subprocess = SimpleNamespace(**names)  # type: ignore[assignment]
    try:
        yield
    finally:
        child_process.subprocess = real


def become_the_next(channel: int, loaded: Sequence[str], fits: int | None) -> None:
    """Load, and become a new process for each request; the one that waits for requests never ends by itself.

    fits: the way to what begins its fits.
    """
    for name in loaded:
        importlib.import_module(name)
    waiting = socket.socket(fileno=channel)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(waiting, _LONGEST_REQUEST, 4)
        if not request:  # whoever asked has gone
            os._exit(0)
        told, *streams = descriptors
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waiting.close()
    command = os.fork()
    if command:  # this one waits, and says how it ended
        for descriptor in streams:
            os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):
            os.write(told, command.to_bytes(8, "little"))
            _, status = os.waitpid(command, 0)
            os.write(told, status.to_bytes(8, "little"))
        os._exit(0)
    os.close(told)
    for place, descriptor in zip((1, 2, 0), streams, strict=False):
        os.dup2(descriptor, place)
        os.close(descriptor)
    said = json.loads(request)
    os.chdir(said["cwd"])
    os.environ.clear()
    os.environ.update(said["env"])
    sys.argv[1:] = said["words"]
    main = importlib.import_module(said["module"]).main
    if fits is None:
        os._exit(_ended(main))
    way = Ready(socket.socket(fileno=fits))
    with ready_fits(lambda: way):
        os._exit(_ended(main))


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
