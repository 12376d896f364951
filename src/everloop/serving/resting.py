"""Connections that were told to come again: each is read again when there is room for what it sends, or after a second.

To turn a request away costs a third of what it costs to answer it. Callers that send the next one at once, without
regard to `Retry-After`, would take all of a core by being turned away, and nobody would be answered any more. So what
such a connection sends next stays where it is, in the system's buffers, which then hold its sender back.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

__all__ = ["BUSY", "REST_S", "Rested", "Resting"]

BUSY: Final = "everloop.busy"
"""A key of an ASGI scope: its request was turned away since too many wait."""
REST_S: Final = 1.0


class Rested(Protocol):
    """A connection."""

    def resume(self) -> None:
        """Read it again."""
        ...


class Resting:
    """The connections of one worker that are not read for a while, in the order of their coming. For its event loop."""

    def __init__(self, *, rest_s: float = REST_S) -> None:
        """rest_s: the longest that a connection rests; as long as `Retry-After` says."""
        self._rest_s = rest_s
        self._resting: dict[Rested, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._resting)

    def add(self, connection: Rested) -> None:
        """Have it resumed, soon."""
        if connection not in self._resting:
            wake = asyncio.get_running_loop().call_later(self._rest_s, self._wake, connection)
            self._resting[connection] = wake

    def forget(self, connection: Rested) -> None:
        """It is closed."""
        timer = self._resting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def wake(self, room: int) -> None:
        """There is room for so many requests: resume as many connections, those that have rested longest."""
        while room > 0 and self._resting:
            connection = next(iter(self._resting))
            self.forget(connection)
            connection.resume()
            room -= 1

    def _wake(self, connection: Rested) -> None:
        self.forget(connection)
        connection.resume()
