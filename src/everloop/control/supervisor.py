"""`everloop up`: one process that keeps the project's others running, and ends them in order."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.control.extras import require_extra
from everloop.control.stopping import held_back, told_to_stop
from everloop.errors import AlreadyRunning, EverloopError, UsageError
from everloop.ledger import Ledger
from everloop.project import Project, ProjectLock

if TYPE_CHECKING:
    from everloop.serving.entrance import Entrance

__all__ = ["Running", "up"]

_POLL_S = 0.1
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY_S = 30.0
_STARTS = 3  # of an endpoint that is killed before it answers
_GRACE_S = 40.0
_PORT_PATIENCE_S = 1.5
_QUEUE = 2048
_STDERR = 2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What is up: the endpoint's address and the processes by name."""

    url: str
    pid: int
    processes: dict[str, int]

    def to_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {"url": self.url, "pid": self.pid, "processes": self.processes}


def up(
    project: Project,
    *,
    say: Say,
    announce: Callable[[Running], None],
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> None:
    """Run endpoint, mover and worker until SIGTERM or SIGINT, and start again what dies. For the main thread.

    announce: called once, when requests are answered. host, port, workers: as everloop.yaml says unless given.
    The port stays open while an endpoint process is started again, so a request waits and is not refused.
    Raises AlreadyRunning where the project is up already or the port is in use, LedgerUnreadable where the ledger
    cannot be opened, Refused where callers must show a key and there is none, ProjectError where the files of TLS
    cannot be used, EverloopError where the endpoint does not start or a library of it is not installed; nothing is left
    running then.
    """
    require_extra("serve")
    from everloop.serving import entrance_of

    endpoint = project.settings.endpoint
    assert project.state.is_dir()
    host = endpoint.host if host is None else host
    port = endpoint.port if port is None else port
    count = endpoint.workers if workers is None else workers
    with ProjectLock(project.paths.lock), told_to_stop() as stop, _listening(host, port) as listener:
        Ledger.open(project, clock=project.clock()).close()  # said once here, not by each process
        with entrance_of(project, listener, workers=count) as ready:
            _Supervisor(project.root, ready, say=say).run(stop, announce)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens; after a crash of `up` its endpoint needs a moment to notice and to leave the port."""
    limit_s = time.monotonic() + _PORT_PATIENCE_S
    pause = threading.Event()
    while True:
        try:
            return _bound(host, port)
        except AlreadyRunning:
            if time.monotonic() >= limit_s:
                raise
            pause.wait(_POLL_S)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_QUEUE)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise UsageError(f"cannot listen on {host}:{port}: {error}; take another with --host or --port") from error
        raise AlreadyRunning(
            f"port {port} of {host} is in use; stop what holds it, or take another with --port (0 takes a free one)"
        ) from error
    return listener


@dataclass(slots=True)
class _Child:
    """A process that is to run: how it is started, and how it has fared.

    ends_in_order: what it is to do at its end it does also where it is told to end as it starts.
    """

    name: str
    command: Sequence[str]
    pass_fds: tuple[int, ...] = ()
    says_when_ready: bool = False
    ends_in_order: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    deaths: int = 0
    again_s: float | None = field(default=None)

    def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C reaches the supervisor alone, which ends all in order.

        What it prints goes where its talk goes, also what a project's own code prints: a pipe that nobody reads fills
        up and then holds whoever writes.
        """
        self.started_s, self.again_s = time.monotonic(), None
        with held_back() if self.ends_in_order else nullcontext():
            self.process = subprocess.Popen(
                self.command,
                pass_fds=self.pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.says_when_ready else _STDERR,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def was_killed(self) -> bool:
        return self.process is not None and (self.process.poll() or 0) < 0

    def tell_to_end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, limit_s: float) -> None:
        """Wait for its end; one that does not come to it in time is killed."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout=max(0.0, limit_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class _Supervisor:
    """The processes of one `up`."""

    def __init__(self, root: Path, ready: Entrance, *, say: Say) -> None:
        self._url = ready.url
        self._say = say
        self._stop_within_s = _GRACE_S
        common = ["--project", str(root), "--parent", str(os.getpid())]
        endpoint = [sys.executable, "-m", "everloop.serving", *common]
        names = ["endpoint"] if ready.workers == 1 else [f"endpoint {place + 1}" for place in range(ready.workers)]
        self._endpoints = [
            _Child(name, [*endpoint, *ready.arguments(place)], ready.descriptors, says_when_ready=True)
            for place, name in enumerate(names)
        ]
        self._mover = _Child(
            "mover", [sys.executable, "-m", "everloop.control.mover_process", *common], ends_in_order=True
        )
        self._worker = _Child("worker", [sys.executable, "-m", "everloop.control.worker", *common])

    @property
    def _children(self) -> list[_Child]:
        return [*self._endpoints, self._mover, self._worker]

    def run(self, stop: threading.Event, announce: Callable[[Running], None]) -> None:
        try:
            for child in self._children:
                child.start()
            for endpoint in self._endpoints:
                self._await_answering(endpoint, stop)
            if not stop.is_set():
                announce(self._running())
            while not stop.wait(_POLL_S):
                for child in self._children:
                    self._keep(child)
        finally:
            self._end()

    def _running(self) -> Running:
        processes = {child.name: child.process.pid for child in self._children if child.process is not None}
        return Running(url=self._url, pid=os.getpid(), processes=processes)

    def _await_answering(self, endpoint: _Child, stop: threading.Event) -> None:
        """Wait until it answers, or all is to stop; one that is killed before, by no fault of its own, starts anew.

        Raises EverloopError where it ended otherwise, or was killed each time.
        """
        starts = 1
        while not stop.is_set():
            assert endpoint.process is not None
            assert endpoint.process.stdout is not None
            ready, _, _ = select.select([endpoint.process.stdout], [], [], _POLL_S)
            if not ready:
                continue
            if endpoint.process.stdout.readline():
                return
            code = endpoint.process.wait()
            endpoint.process.stdout.close()
            if code >= 0 or starts == _STARTS:
                raise EverloopError(f"the {endpoint.name} ended with {code} before it answered; its words are above")
            self._say(f"the {endpoint.name} {_ended(endpoint)}; it is started again")
            endpoint.start()
            starts += 1

    def _keep(self, child: _Child) -> None:
        """Start it again where it died; ever later where it keeps dying."""
        now_s = time.monotonic()
        if child.alive:
            if child.deaths and now_s - child.started_s >= _STEADY_S:
                child.deaths = 0
            return
        if child.again_s is None:
            pause_s = _PAUSES_S[min(child.deaths, len(_PAUSES_S) - 1)]
            child.deaths += 1
            child.again_s = now_s + pause_s
            wait = f" in {pause_s:g} s" if pause_s else ""
            self._say(f"the {child.name} {_ended(child)}; it is started again{wait}")
        if now_s >= child.again_s:
            if child.process is not None and child.process.stdout is not None:
                child.process.stdout.close()
            child.start()

    def _end(self) -> None:
        """No more requests are taken, the last answers are given; then the mover takes them to the log."""
        limit_s = time.monotonic() + self._stop_within_s
        for child in (*self._endpoints, self._worker):
            child.tell_to_end()
        for child in self._endpoints:
            child.wait(limit_s)
        if self._mover.was_killed:
            self._mover.start()
        self._mover.tell_to_end()
        for child in (self._mover, self._worker):
            child.wait(limit_s)


def _ended(child: _Child) -> str:
    assert child.process is not None
    code = child.process.returncode
    if code < 0:
        try:
            return f"was killed ({signal.Signals(-code).name})"
        except ValueError:
            return f"was killed (signal {-code})"
    return f"ended with {code}"
