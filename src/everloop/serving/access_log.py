"""The access log: a JSON object a line for each request, written where no request waits for it.

It says who asked for what and how it went, and never what was asked: no bodies, no ids of people, no query, no header
but the two that exist to be logged. A field that a caller chooses is checked or cut, and JSON escapes it, so that a
line is always one line.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec

if TYPE_CHECKING:
    from everloop.serving.exchange import Exchange

__all__ = ["AccessLine", "AccessLog"]

_EVERY_S: Final = 0.25
_MOST_LINES: Final = 20_000
_STDERR: Final = 2
_METHOD_LENGTH: Final = 16
_CLIENT_LENGTH: Final = 64


class AccessLine(NamedTuple):
    """One request that was answered; what it says is put together where nobody waits for it.

    at_s: when, seconds since 1970. model: one of the project's, else None. problem: the kind it was answered with.
    rows: how many it held, as far as they were read. reply_bytes: of the body. took_s: from its head to its answer.
    """

    at_s: float
    exchange: Exchange
    model: str | None
    status: int
    problem: str | None
    rows: int | None
    reply_bytes: int
    took_s: float


class AccessLog:
    """Takes lines from the event loop and writes them from a thread of its own, at most a quarter of a second later.

    What does not fit into the buffer is lost, and counted: a disk that hangs holds up nobody's answer.
    lost: lines lost so far.
    """

    def __init__(
        self, write: Callable[[bytes], None], *, most_lines: int = _MOST_LINES, every_s: float = _EVERY_S
    ) -> None:
        """write: gets whole lines; an OSError of it loses them. most_lines: how many may wait."""
        self._write = write
        self._most_lines = most_lines
        self._every_s = every_s
        self._waiting: deque[AccessLine] = deque()  # taken from one end, added at the other: no lock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everloop-access-log", daemon=True)
        self._dropped = 0
        self._unwritten = 0

    @classmethod
    def to(cls, place: Path | None) -> Self:
        """A log to a file, or (None) to stderr."""
        return cls(_to_stderr if place is None else _File(place))

    @property
    def lost(self) -> int:
        """Lines that were lost so far: the buffer was full, or they could not be written."""
        return self._dropped + self._unwritten

    def add(self, line: AccessLine) -> None:
        """Take a line; from the event loop alone."""
        if len(self._waiting) < self._most_lines:
            self._waiting.append(line)
        else:
            self._dropped += 1

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._every_s)
            self._flush()

    def _flush(self) -> None:
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return
        try:
            self._write(b"".join(_encoded(line) for line in taken))
        except OSError:  # a full disk, or nobody who reads: that costs lines and no answers
            self._unwritten += len(taken)


class _File:
    """A file that is appended to, and opened again where it was moved away, as logrotate does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = self._open()
        self._torn = False

    def __call__(self, lines: bytes) -> None:
        if not self._is_in_place():
            opened, before = self._open(), self._handle
            self._handle, self._torn = opened, False
            os.close(before)
        # after a disk was full, half a line may stand there
        rest, self._torn = (b"\n" + lines if self._torn else lines), True
        _whole(self._handle, rest)
        self._torn = False

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _is_in_place(self) -> bool:
        try:
            found, held = os.stat(self._path), os.fstat(self._handle)
        except FileNotFoundError:
            return False
        return (found.st_ino, found.st_dev) == (held.st_ino, held.st_dev)


def _to_stderr(lines: bytes) -> None:
    _whole(_STDERR, lines)


def _whole(handle: int, lines: bytes) -> None:
    """Mostly one write, so that the lines of several workers do not mix."""
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _encoded(line: AccessLine) -> bytes:
    exchange, trace = line.exchange, line.exchange.trace
    told = {
        "at": datetime.fromtimestamp(line.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": exchange.request_id.decode(),
        "trace_id": trace.trace_id,
        "span_id": trace.span_id,
        "parent_id": trace.parent_id,
        "method": exchange.method[:_METHOD_LENGTH],
        "route": exchange.route,
        "model": line.model,
        "status": line.status,
        "problem": line.problem,
        "rows": line.rows,
        "request_bytes": exchange.request_bytes,
        "reply_bytes": line.reply_bytes,
        "duration_ms": round(line.took_s * 1000.0, 3),
        "client": None if exchange.client is None else exchange.client[0][:_CLIENT_LENGTH],
        "caller": exchange.caller,
    }
    return msgspec.json.encode(told) + b"\n"


def now_s() -> float:
    """Seconds since 1970 by the machine's clock: a log is read beside others, whatever time a project has."""
    return time.time()
