"""Spans of traffic that are judged as one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["Window", "windows"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Window:
    """The half-open span [start, end) of event time, UTC."""

    start: datetime
    end: datetime

    def matured(self, *, as_of: datetime, delay: timedelta) -> bool:
        """Whether every outcome of the window is due."""
        return self.end + delay <= as_of


def windows(start: datetime, end: datetime, every: timedelta) -> list[Window]:
    """The whole windows of [start, end), laid out from midnight UTC on; parts at either end are left out.

    A divisor of a day (1 h, 6 h, 1 d) begins at midnights; a longer window begins at a multiple of its length since
    Monday 1970-01-05, so that weeks begin on Mondays wherever one starts to look.
    """
    if every <= timedelta(0):
        raise ValueError(f"a window of {every} has no length")
    anchor = _EPOCH + timedelta(days=4)
    first = -((anchor - start) // every)
    found = []
    at = anchor + first * every
    while at + every <= end:
        found.append(Window(start=at, end=at + every))
        at += every
    return found
