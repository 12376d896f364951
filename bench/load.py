"""Load on an HTTP server of this machine, from one core: `busiest`, as much as it answers, and `steady`, at a rate.

`busiest` is wrk, which sends the next request of a connection when the last one is answered. `steady` sends when it is
time, whether the server has answered or not, and counts each answer from the moment its request was due, so that a
server that pauses is not asked less for it. It is a process of its own: `python -m bench.load`.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import shutil
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

__all__ = [
    "ROOT",
    "Busiest",
    "Steady",
    "asked",
    "asked_apart",
    "busiest",
    "parsed",
    "pinned",
    "quantiles_ms",
    "request_bytes",
    "steady",
]

ROOT: Final = Path(__file__).resolve().parents[1]
_SCRIPT: Final = Path(__file__).with_name("load.lua")
_TOLD: Final = "told "
_SILENT_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Busiest:
    """What wrk saw: answers with a status below 400, those a second, and of their times median and 99th percentile."""

    answers: int
    per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What `steady` saw.

    rate: requests a second. p50_ms, p99_ms: from when a request was due to when its answer was whole. late_p99_ms: how
    late requests went out though they were due and had a connection, which is the generator's own doing.
    """

    answers: int
    rate: float
    p50_ms: float
    p99_ms: float
    late_p99_ms: float


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    """The command on one core; on all where None."""
    return [*command] if core is None else ["taskset", "--cpu-list", str(core), *command]


def _ahead(command: Sequence[str], core: int | None) -> list[str]:
    """The load on its core, at once when it has something to do, where this user may say so.

    It stands for other machines: what the mover does on its core would else be pauses of the server, to the numbers.
    Where all share all cores it has no such advantage.
    """
    first = ["chrt", "--fifo", "1"]
    return pinned(command, core) if core is None or not _may(*first) else [*first, *pinned(command, core)]


@cache
def _may(*scheduled: str) -> bool:
    """Whether this user may run something so."""
    return (
        shutil.which(scheduled[0]) is not None
        and subprocess.run([*scheduled, "true"], capture_output=True, check=False).returncode == 0
    )


def busiest(
    url: str,
    bodies: Path,
    *,
    connections: int,
    seconds: int,
    core: int | None,
    ids: str | None = None,
    keep: bool = True,
) -> Busiest:
    """Ask `url` with the bodies, one a line, in turn. ids: each request carries an id of its own that begins so.

    keep: whether a connection is used again; else each request comes on a new one.
    Raises RuntimeError where wrk fails, a request is refused, or a connection breaks.
    """
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += [] if keep else ["--header", "connection: close"]
    command += ["--script", str(_SCRIPT), url, "--", str(bodies)] + ([] if ids is None else [ids])
    done = subprocess.run(_ahead(command, core), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
    return parsed(done.stdout)


def parsed(printed: str) -> Busiest:
    """What wrk printed with our script. Raises RuntimeError where it saw anything but answers."""
    lines = [line for line in printed.splitlines() if line.startswith(_TOLD)]
    if len(lines) != 1:
        raise RuntimeError(f"wrk printed {len(lines)} lines that begin with {_TOLD!r} and not 1: {printed[-2000:]}")
    told = json.loads(lines[0].removeprefix(_TOLD))
    if told["refused"] or told["broken"] or not told["answers"]:
        raise RuntimeError(f"of {told['answers']} answers {told['refused']} refuse, {told['broken']} requests broke")
    return Busiest(
        answers=told["answers"],
        per_s=told["answers"] / told["duration_us"] * 1e6,
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
    )


def steady(url: str, bodies: Path, *, rate: float, connections: int, seconds: float, core: int | None) -> Steady:
    """Ask `url` at `rate` requests a second, in a process of its own; the others as `busiest` has them.

    Raises RuntimeError where an answer is none or refuses.
    """
    program = _ahead([sys.executable, "-m", "bench.load"], core)
    return Steady(**asked_apart(program, url, bodies, rate=rate, connections=connections, seconds=seconds))


def asked_apart(
    program: Sequence[str], url: str, bodies: Path, *, rate: float, connections: int, seconds: float
) -> dict[str, Any]:
    """What a process prints that asks as `asked` has it. Raises RuntimeError where it fails."""
    command = [*program, url, str(bodies), "--rate", str(rate)]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(program)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def quantiles_ms(seconds: np.ndarray) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds, of shape (n,)."""
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    return float(p50), float(p99)


def request_bytes(url: str, body: bytes) -> bytes:
    """As wrk would send it."""
    at = urlsplit(url)
    head = f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\ncontent-type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    """One request after the other. number: of the request that is on its way. free_s: since when there is none."""

    __slots__ = ("_read", "free_s", "number", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=_SILENT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = -1
        self.free_s = 0.0
        self._read = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, number: int, request: bytes) -> None:
        self.number = number
        self.socket.sendall(request)

    def is_answered(self) -> bool:
        """Read what is there; whether that makes the answer whole. Raises RuntimeError where it is no 200."""
        more = self.socket.recv(1 << 16)
        self._read += more
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not more or (found and not head.startswith(b"HTTP/1.1 200")):
            raise RuntimeError(f"no answer: {self._read[:500]!r}")
        if not found or len(body) < _length(head):
            return False
        self._read = b""
        return True


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    if not found:
        raise RuntimeError(f"an answer without a length: {head!r}")
    return int(rest.split(b"\r\n", 1)[0])


def _steady(url: str, bodies: Sequence[bytes], *, rate: float, connections: int, seconds: float) -> Steady:
    at = urlsplit(url)
    assert at.hostname is not None
    assert at.port is not None
    free = deque(_Connection((at.hostname, at.port)) for _ in range(connections))
    due = np.arange(int(rate * seconds)) / rate
    late, answered = _exchanged([request_bytes(url, body) for body in bodies], due.tolist(), free)
    p50, p99 = quantiles_ms(answered - due)
    return Steady(answers=len(due), rate=rate, p50_ms=p50, p99_ms=p99, late_p99_ms=quantiles_ms(late)[1])


def _exchanged(
    requests: Sequence[bytes], due: Sequence[float], free: deque[_Connection]
) -> tuple[np.ndarray, np.ndarray]:
    """How late each request went out though it had a connection, and when it was answered: seconds, shape (n,)."""
    count = len(due)
    late, answered = [0.0] * count, [0.0] * count
    busy: dict[int, _Connection] = {}
    following = whole = 0
    # A pause of the collector's would be one of the server's, to the numbers.
    gc.disable()
    began = time.perf_counter()
    while whole < count:
        now = time.perf_counter() - began
        while following < count and free and due[following] <= now:
            connection = free.popleft()
            connection.send(following, requests[following % len(requests)])
            busy[connection.fileno()] = connection
            late[following] = now - max(due[following], connection.free_s)
            following += 1
        # `select` waits in microseconds where `poll` and event loops do in milliseconds
        pause = max(0.0, due[following] - now) if following < count and free else _SILENT_S
        readable, _, _ = select.select(list(busy), [], [], pause)
        if not readable and pause == _SILENT_S:
            raise RuntimeError(f"no answer within {_SILENT_S:g} s")
        for descriptor in readable:
            connection = busy[descriptor]
            if connection.is_answered():
                answered[connection.number] = connection.free_s = time.perf_counter() - began
                free.append(busy.pop(descriptor))
                whole += 1
    return np.array(late), np.array(answered)


def asked(about: str | None, ask: Callable[..., Any], *, connections: int, seconds: float) -> int:
    """Ask as the command line says, print one JSON document. connections, seconds: where it says nothing of them."""
    prog = f"python -m bench.{Path(sys.argv[0]).stem}"
    parser = argparse.ArgumentParser(prog=prog, description=(about or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="one a line")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--connections", type=int, default=connections)
    parser.add_argument("--seconds", type=float, default=seconds)
    given: Any = parser.parse_args()
    bodies = given.bodies.read_bytes().splitlines()
    found = ask(given.url, bodies, rate=given.rate, connections=given.connections, seconds=given.seconds)
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(asked(__doc__, _steady, connections=64, seconds=5.0))
