"""More requests than a server can answer, from one core: `python -m bench.flood`, a process of its own.

Requests are sent when they are due, whatever the server does, each on a connection that waits for no answer. Who is
turned away comes again at once, without regard to `Retry-After`: the worst that callers do. A request that is due while
no connection is free is one that nobody sends, as `held` counts: the server holds those back whom it does not read.
"""

from __future__ import annotations

import gc
import resource
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from bench.load import asked, asked_apart, pinned, quantiles_ms, request_bytes

__all__ = ["Flood", "flood"]

_WHOLE_WITHIN_S: Final = 30.0
_OTHER_FILES: Final = 100
_AGAIN: Final = b"retry-after:"
_HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What came of it.

    due, sent, held: requests. accepted: answered with 200; turned_away: with 503 and `Retry-After`; other: with
    anything else. broken: connections that ended, or heard nothing for half a minute. p50_ms, p99_ms: of the accepted,
    from when a request was sent to when its answer was whole; longest_ms: the longest of these; away_p99_ms: the same
    of those turned away.
    """

    seconds: float
    due: int
    sent: int
    held: int
    accepted: int
    turned_away: int
    other: int
    broken: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    away_p99_ms: float


def flood(url: str, bodies: Path, *, rate: float, connections: int, seconds: float, core: int | None) -> Flood:
    """Ask `url` at `rate` requests a second with the bodies, one a line, in turn. Raises RuntimeError if it cannot."""
    program = pinned([sys.executable, "-m", "bench.flood"], core)
    return Flood(**asked_apart(program, url, bodies, rate=rate, connections=connections, seconds=seconds))


class _Flood:
    """The connections, and what came back on them."""

    def __init__(self, address: tuple[str, int], connections: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._free: deque[int] = deque()
        self._sent_s: dict[int, float] = {}
        self._poll = select.epoll()
        for _ in range(connections):
            one = socket.create_connection(address, timeout=_WHOLE_WITHIN_S)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[one.fileno()] = one
            self._free.append(one.fileno())
            self._poll.register(one.fileno(), select.EPOLLIN)
            # one after the other: what finds the listener's queue full is a matter of the system's
            one.sendall(_HEALTH)
            told = b""
            while not told.endswith(b"}"):  # head and body may come apart
                if not (more := one.recv(1 << 16)):
                    raise RuntimeError(f"the server does not answer: {told!r}")
                told += more
        self.sent = self.held = self.other = self.broken = 0
        self.accepted_s, self.away_s = array("d"), array("d")

    @property
    def waiting(self) -> int:
        return len(self._sent_s)

    def send(self, request: bytes) -> None:
        """Send one on a free connection, if there is any."""
        if not self._free:
            self.held += 1
            return
        number = self._free.popleft()
        self._sent_s[number] = time.perf_counter()
        try:
            self._sockets[number].sendall(request)
        except OSError:
            self._end(number)
            return
        self.sent += 1

    def read(self, wait_s: float) -> None:
        """Take what has come."""
        for number, _ in self._poll.poll(wait_s, maxevents=512):
            try:
                reply = self._sockets[number].recv(1 << 16)
            except OSError:
                reply = b""
            if not reply or number not in self._sent_s:
                self._end(number)
                continue
            self._take(number, reply)

    def _take(self, number: int, reply: bytes) -> None:
        # an answer is small, and comes in one piece; of one that does not, `other` would tell
        took_s = time.perf_counter() - self._sent_s.pop(number)
        self._free.append(number)
        if reply.startswith(b"HTTP/1.1 200"):
            self.accepted_s.append(took_s)
        elif reply.startswith(b"HTTP/1.1 503") and _AGAIN in reply:
            self.away_s.append(took_s)
        else:
            self.other += 1

    def _end(self, number: int) -> None:
        self.broken += 1
        if self._sent_s.pop(number, None) is None:
            self._free.remove(number)
        self._poll.unregister(number)
        self._sockets.pop(number).close()


def _flooded(url: str, bodies: Sequence[bytes], *, rate: float, connections: int, seconds: float) -> Flood:
    at = urlsplit(url)
    assert at.hostname is not None
    assert at.port is not None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (connections + _OTHER_FILES, hard))
    requests = [request_bytes(url, body) for body in bodies]
    out = _Flood((at.hostname, at.port), connections)
    gc.disable()  # a pause of the collector's would be one of the server's, to the numbers
    began_s, due = time.perf_counter(), 0
    while (now_s := time.perf_counter() - began_s) < seconds:
        for number in range(due, int(now_s * rate)):
            out.send(requests[number % len(requests)])
            due = number + 1
        out.read(max(0.0, (due + 1) / rate - now_s))
    while out.waiting and time.perf_counter() - began_s < seconds + _WHOLE_WITHIN_S:
        out.read(0.1)
    p50, p99 = quantiles_ms(np.array(out.accepted_s))
    return Flood(
        seconds=seconds,
        due=due,
        sent=out.sent,
        held=out.held,
        accepted=len(out.accepted_s),
        turned_away=len(out.away_s),
        other=out.other,
        broken=out.broken + out.waiting,
        p50_ms=p50,
        p99_ms=p99,
        longest_ms=max(out.accepted_s) * 1e3,
        away_p99_ms=quantiles_ms(np.array(out.away_s))[1] if out.away_s else 0.0,
    )


if __name__ == "__main__":
    sys.exit(asked(__doc__, _flooded, connections=4_000, seconds=10.0))
