"""Servers of a serving bench: the endpoint as `everloop up` runs it, with its mover, and its peers.

Each is a process on one core, or on all, that ends with its context. What an endpoint answered is counted, and looked
for in the traffic log as its context ends: every answer is there, once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import psutil
from bench.load import ROOT, Busiest, Steady, busiest, pinned, steady
from bench.peers.environment import BENTOML, MLFLOW, peer_python
from bench.served import Served

from everloop.clock import SystemClock
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.rollout import Rollout, Stage, load_routing, start
from everloop.traffic import TrafficLog, pending_rows

__all__ = ["CONNECTIONS", "Server", "bentoml", "echo", "endpoint", "mlflow", "post", "started"]

CONNECTIONS: Final = 64
_SERVER_CORE, _LOAD_CORE = 0, 1
_PEERS: Final = Path(__file__).parent / "peers"
_WITHIN_S: Final = 180.0
_PATH: Final = "/v1/models/fraud/predict"


@dataclass(kw_only=True)
class Server:
    """A server that answers at `url`, where `bodies` are posted.

    spread: on all cores, as its load is. resting: the mover's process, where it rests while there is load. folder: the
    project's, of an endpoint. answers: what it gave. unsure: requests that were on their way as their load ended, which
    it may have answered to nobody. core_s: seconds of a core per second, one for each load.
    """

    url: str
    bodies: Path
    process: subprocess.Popen[str]
    spread: bool = False
    resting: subprocess.Popen[str] | None = None
    folder: Path | None = None
    answers: int = 0
    unsure: int = 0
    runs: int = 0
    core_s: list[float] = field(default_factory=list)

    def busiest(self, *, seconds: int, connections: int = CONNECTIONS, ids: bool = False, keep: bool = True) -> Busiest:
        """As much as it answers; then all of it is taken to the log, so that nothing is left for the next load."""
        prefix = f"load-{os.getpid()}-{self.runs}-" if ids else None
        before = self._used_s()
        with self._mover_at_rest():
            found = busiest(
                self.url,
                self.bodies,
                connections=connections,
                seconds=seconds,
                core=self._load_core,
                ids=prefix,
                keep=keep,
            )
        self._took(found.answers, connections, (self._used_s() - before) / seconds)
        return found

    def steady(self, *, rate: float, seconds: float) -> Steady:
        """So many requests a second; then as `busiest` does."""
        before = self._used_s()
        found = steady(self.url, self.bodies, rate=rate, connections=CONNECTIONS, seconds=seconds, core=self._load_core)
        self._took(found.answers, 0, (self._used_s() - before) / seconds)
        return found

    @contextmanager
    def _mover_at_rest(self) -> Iterator[None]:
        if self.resting is not None:
            self.resting.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if self.resting is not None:
                self.resting.send_signal(signal.SIGCONT)

    def answer(self, body: bytes) -> Any:
        """What it answers to one request."""
        told = post(self.url, body)
        self.answers += 1
        return json.loads(told)

    def is_caught_up(self) -> bool:
        """Whether everything is in the log."""
        return self.folder is None or pending_rows(Project.open(self.folder).paths.spool) == 0

    def refuse_lost(self) -> None:
        """Raise RuntimeError where an answer is not in the log, or twice."""
        if self.folder is None:
            return
        log = TrafficLog(Project.open(self.folder).paths.traffic, "fraud")
        rows = log.count()[0]
        ids = log.predictions().select(pl.col("prediction_id").n_unique()).collect().item()
        if not (ids == rows and self.answers <= rows <= self.answers + self.unsure):
            raise RuntimeError(
                f"{self.answers} requests were answered, and up to {self.unsure} more as their load ended; "
                f"the log has {rows} rows with {ids} ids"
            )

    @property
    def _load_core(self) -> int | None:
        return None if self.spread else _LOAD_CORE

    def _took(self, answers: int, unsure: int, core_s: float) -> None:
        self.answers += answers
        self.unsure += unsure
        self.runs += 1
        self.core_s.append(round(core_s, 3))
        _wait_until(self.is_caught_up, self.process)

    def _used_s(self) -> float:
        root = psutil.Process(self.process.pid)
        return sum(sum(one.cpu_times()[:2]) for one in [root, *root.children(recursive=True)])


@contextmanager
def endpoint(
    served: Served,
    folder: Path,
    *,
    workers: int | None = None,
    shadow: bool = False,
    durability: str = "process",
    moving: bool = True,
) -> Iterator[Server]:
    """A copy of the project in the new `folder`, served, with its mover on the load's core.

    workers: processes, on all cores; None is one on a core of its own. shadow: the second version is tried beside the
    first, which answers alone. moving: whether the mover goes on while there is load.
    """
    shutil.copytree(served.folder, folder)
    (folder / "everloop.yaml").write_text(f"endpoint: {{durability: {durability}}}\n")
    if shadow:
        _try_second(Project.open(folder))
    spread = workers is not None
    mover = [sys.executable, "-m", "everloop.control.mover_process", "--project", str(folder)]
    with (
        started(folder, workers=workers) as (process, url),
        _process(pinned(mover, None if spread else _LOAD_CORE), folder / "mover.log") as carrier,
    ):
        server = Server(
            url=url + _PATH,
            bodies=served.everloop,
            process=process,
            spread=spread,
            resting=None if moving else carrier,
            folder=folder,
        )
        yield server
        _wait_until(server.is_caught_up, process)
    server.refuse_lost()


@contextmanager
def started(folder: Path, *, workers: int | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The endpoint alone, and its address, once it says that it is ready."""
    command = [sys.executable, "-m", "everloop.serving", "--project", str(folder), "--port", "0"]
    command += [] if workers is None else ["--workers", str(workers)]
    core, log = _SERVER_CORE if workers is None else None, folder / "endpoint.log"
    with _process(pinned(command, core), log, tells_url=True) as process:
        url = _first_line(process, log)
        _wait_until(lambda: _is_up(f"{url}/readyz"), process)
        yield process, url


def _try_second(project: Project) -> None:
    with Ledger.open(project, clock=SystemClock()) as ledger:
        champion, now = load_routing(ledger, "fraud").champion, datetime.now(UTC)
        assert champion is not None
        plan = (Stage(mode="shadow", share=0.0, duration=timedelta(days=1)),)
        rollout = Rollout(
            id="fraud/v2", model="fraud", challenger=2, champion=champion, salt="bench",
            plan=plan, started_at=now, entered_at=now,
        )  # fmt: skip
        start(ledger, rollout, actor="bench")


@contextmanager
def echo(served: Served, folder: Path, *, size: int) -> Iterator[Server]:
    """The least that an answer of `size` bytes costs, by the endpoint's own server."""
    folder.mkdir()
    command = [sys.executable, "-m", "bench.peers.serve_echo", "--bytes", str(size)]
    with _process(pinned(command, _SERVER_CORE), folder / "log", tells_url=True) as process:
        url = _first_line(process, folder / "log")
        yield Server(url=f"{url}{_PATH}", bodies=served.everloop, process=process)


@contextmanager
def mlflow(served: Served, folder: Path, *, cache: Path, signature: bool) -> Iterator[Server]:
    """`mlflow models serve` with the champion. signature: it names its features, and requests are frames that do."""
    folder.mkdir()
    if signature:
        (folder / "columns.json").write_text(json.dumps(served.features))
    with _peer("serve_mlflow", MLFLOW, served, folder, cache=cache, ready="/ping") as (process, url):
        bodies = served.frames if signature else served.inputs
        yield Server(url=f"{url}/invocations", bodies=bodies, process=process)


@contextmanager
def bentoml(served: Served, folder: Path, *, cache: Path) -> Iterator[Server]:
    """BentoML with the champion, in batches."""
    folder.mkdir()
    with _peer("serve_bentoml", BENTOML, served, folder, cache=cache, ready="/readyz") as (process, url):
        yield Server(url=f"{url}/predict", bodies=served.rows, process=process)


@contextmanager
def _peer(
    script: str, packages: tuple[str, ...], served: Served, folder: Path, *, cache: Path, ready: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    shutil.copy(served.model, folder / "model.json")
    port = _free_port()
    command = [str(peer_python(packages, cache)), str(_PEERS / f"{script}.py"), str(folder), str(port)]
    with _process(pinned(command, _SERVER_CORE), folder / "log") as process:
        url = f"http://127.0.0.1:{port}"
        _wait_until(lambda: _is_up(url + ready), process)
        yield process, url


def post(url: str, body: bytes) -> bytes:
    """The answer's body. Raises urllib.error.HTTPError for one that refuses."""
    asked = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as told:
        return bytes(told.read())


@contextmanager
def _process(command: Sequence[str], log: Path, *, tells_url: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process that ends, with those that it started, with the context. tells_url: on its first line."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE if tells_url else errors,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _first_line(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"a server ended with {process.wait()} before it answered: {log.read_text()[-2000:]}")
    return line


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as told:
            return bool(told.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Raises RuntimeError where the process ends first, or it takes too long."""
    began_s, pause = time.monotonic(), threading.Event()
    while not condition():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        if time.monotonic() - began_s > _WITHIN_S:
            raise RuntimeError(f"{process.args}: not within {_WITHIN_S:g} s")
        pause.wait(0.02)
