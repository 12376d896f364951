"""Time, passed in: a system clock, a simulated one, and one that several processes share.

All times are UTC to the microsecond. `now` dates things; `monotonic_s` measures leases and timeouts and is
always the machine's own, also where the calendar is simulated.
"""

from __future__ import annotations

import mmap
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

__all__ = ["Clock", "SharedClock", "SimulatedClock", "SystemClock", "from_us", "open_clock", "to_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = struct.Struct("<q")


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """The time, UTC, to the microsecond."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""
        ...


def to_us(at: datetime) -> int:
    """Microseconds since 1970-01-01 UTC. `at` must be aware."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone; everloop's times are UTC")
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01 UTC."""
    return _EPOCH + timedelta(microseconds=us)


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class SimulatedClock:
    """A clock that stands until it is moved; with `path`, every `SharedClock` on that file follows it."""

    def __init__(self, start: datetime, path: Path | None = None) -> None:
        self._now_us = to_us(start)
        self._path = path
        if path is not None:
            path.write_bytes(_WORD.pack(self._now_us))
            with path.open("r+b") as handle:
                self._map: mmap.mmap | None = mmap.mmap(handle.fileno(), _WORD.size)
        else:
            self._map = None

    def now(self) -> datetime:
        """The simulated time, UTC."""
        return from_us(self._now_us)

    def monotonic_s(self) -> float:
        """Real seconds that never go back: leases and timeouts are not simulated."""
        return time.monotonic()

    def set(self, at: datetime) -> None:
        """Move to `at`, never back."""
        at_us = to_us(at)
        if at_us < self._now_us:
            raise ValueError(f"a clock does not go back: {at} is before {self.now()}")
        self._now_us = at_us
        if self._map is not None:
            self._map[:] = _WORD.pack(at_us)

    def advance(self, by: timedelta) -> None:
        """Move on by `by` ≥ 0."""
        self.set(self.now() + by)


class SharedClock:
    """Reads the time that a `SimulatedClock` in another process writes to a file of eight bytes."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as handle:
            self._map = mmap.mmap(handle.fileno(), _WORD.size, access=mmap.ACCESS_READ)

    def now(self) -> datetime:
        """The time the driver has set, UTC."""
        return from_us(_WORD.unpack(self._map[:])[0])

    def monotonic_s(self) -> float:
        """Real seconds that never go back."""
        return time.monotonic()


def open_clock(address: str | None) -> Clock:
    """The system clock, or for `shared:PATH` the clock another process drives."""
    if address is None:
        return SystemClock()
    kind, _, path = address.partition(":")
    if kind != "shared" or not path:
        raise ValueError(f"clock address {address!r} is not 'shared:PATH'")
    return SharedClock(Path(path))
