"""Connections shared out among the processes that answer on one socket: a new one goes to who has the fewest.

The system wakes them all and the quickest takes it, so that ten connections of a caller, opened one after another, are
soon all of one process, which is busy while the others rest. So each says in memory that all of them see how many it
has, and one that has more than another lets that one go first. It does so for three milliseconds at most: whoever is
busy, or was killed, keeps nobody waiting for longer.

What waits is taken many at once. The loop's own server takes one connection in a turn, and with it the one request that
it brought: callers that keep none would be scored one by one.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import mmap
import select
import socket
import ssl
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Acceptor", "ConnectionCounts", "counts_file"]

_LOG = logging.getLogger("everloop.serving")
_ABSENT: Final = -1
_PATIENCE_S: Final = 0.003
_AWAKE_S: Final = 0.0003
_LOOK_S: Final = 0.001
_AT_ONCE: Final = 128
_HANDSHAKES_S: Final = 1.0
_FULL_PAUSE_S: Final = 1.0
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@contextmanager
def counts_file(processes: int) -> Iterator[int]:
    """The descriptor of what `ConnectionCounts` of so many processes share; it ends with the last of them."""
    with tempfile.TemporaryFile() as file:
        file.write(array("i", [_ABSENT] * processes))
        file.flush()
        yield file.fileno()


class ConnectionCounts:
    """How many connections each process has, in memory that all of them see; one that answers nobody has no number."""

    def __init__(self, handle: int, place: int) -> None:
        """handle: as `counts_file` gives it. place: this process's, from 0."""
        self._mapped = mmap.mmap(handle, 0)
        self._counts = memoryview(self._mapped).cast("i")
        self._place = place
        self.leave()  # what was said here before is of a process that has ended

    def tell(self, count: int) -> None:
        """Say that this process has so many now, and takes more."""
        self._counts[self._place] = count

    def leave(self) -> None:
        """Say that this process takes no more."""
        self._counts[self._place] = _ABSENT

    def least_of_others(self) -> int | None:
        """The fewest that another process has; None where no other takes any."""
        others = [one for place, one in enumerate(self._counts) if place != self._place and one != _ABSENT]
        return min(others, default=None)

    def close(self) -> None:
        """Let the memory go."""
        self.leave()
        self._counts.release()
        self._mapped.close()


class Acceptor:
    """Takes this process's share of the connections that come to a socket. Lives on the running event loop."""

    def __init__(
        self,
        listener: socket.socket,
        counts: ConnectionCounts | None,
        connect: Callable[[], asyncio.Protocol],
        *,
        open_now: Callable[[], int],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """listener: one that listens. counts: None where no other process takes any.

        connect: makes a connection's protocol. open_now: how many connections there are.
        """
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._counts = counts
        self._connect = connect
        self._open_now = open_now
        self._tls = tls
        self._opening: set[asyncio.Task[None]] = set()
        self._later: asyncio.Handle | None = None
        self._stopped = False

    def start(self) -> None:
        """Take connections from now on."""
        self._listener.setblocking(False)
        self.tell()
        self._watch()

    async def stop(self) -> None:
        """Take no more. Those that were taken are open then, or have had a second for their handshake."""
        self._stopped = True
        if self._counts is not None:
            self._counts.leave()
        self._loop.remove_reader(self._listener)
        if self._later is not None:
            self._later.cancel()
        if self._opening:
            _, late = await asyncio.wait(self._opening, timeout=_HANDSHAKES_S)
            for task in late:
                task.cancel()

    def tell(self) -> None:
        """Say to the others how many there are, as they come and go."""
        if self._counts is not None and not self._stopped:
            self._counts.tell(self._own)

    @property
    def _own(self) -> int:
        return self._open_now() + len(self._opening)

    @property
    def _share(self) -> int:
        """How many may be taken before another process goes first: an eighth more than it has, for it may be busy."""
        least = None if self._counts is None else self._counts.least_of_others()
        return _AT_ONCE if least is None else least + least // 8 + 1 - self._own

    def _watch(self) -> None:
        self._later = None
        self._loop.add_reader(self._listener, self._look)

    def _look(self) -> None:
        if (share := self._share) > 0:
            self._take(share)
            return
        self._loop.remove_reader(self._listener)
        self._wait(time.monotonic() + _PATIENCE_S)

    def _wait(self, until_s: float) -> None:
        """Let others go first. They may be awake already, and the next connection is this one's again; else they need
        a core, and this one gives way.
        """
        left_s = until_s - time.monotonic()
        if self._share <= 0 and left_s > 0 and _is_asked(self._listener):
            if left_s > _PATIENCE_S - _AWAKE_S:
                self._later = self._loop.call_soon(self._wait, until_s)
            else:
                self._later = self._loop.call_later(_LOOK_S, self._wait, until_s)
            return
        self._watch()
        self._take(max(self._share, 1 + self._own // 8))

    def _take(self, most: int) -> None:
        for _ in range(most):
            try:
                taken, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # else it has gone again
                if error.errno in _FULL:
                    self._rest(error)
                return
            task = self._loop.create_task(self._open(taken))
            self._opening.add(task)
            task.add_done_callback(self._opened)
            self.tell()

    def _rest(self, error: OSError) -> None:
        """No more for a second, where this process or the machine has no room for one."""
        _LOG.error("no further connection can be taken now: %s", error)
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(_FULL_PAUSE_S, self._watch)

    async def _open(self, taken: socket.socket) -> None:
        try:
            taken.setblocking(False)
            await self._loop.connect_accepted_socket(self._connect, taken, ssl=self._tls)
        except OSError as error:  # it has gone, or speaks no TLS
            _LOG.debug("a connection was not opened: %s", error)
            taken.close()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self.tell()


def _is_asked(listener: socket.socket) -> bool:
    """Whether a connection waits to be taken."""
    look = select.poll()
    look.register(listener, select.POLLIN)
    return bool(look.poll(0))
