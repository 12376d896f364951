"""Naive times, read in a zone, or refused where the zone's clocks were turned."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["check_timezone", "localise"]


def check_timezone(value: object) -> str:
    """The name, if the machine's time zone database has it. Raises ValueError."""
    try:
        ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone (a name such as UTC or Europe/Amsterdam)") from None
    return str(value)


def localise(at: datetime, timezone: str) -> datetime:
    """`at` in UTC; a naive one is read in `timezone`.

    Raises ValueError for a local time that the zone has twice or never.
    """
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    zone = ZoneInfo(timezone)
    first, second = at.replace(tzinfo=zone, fold=0), at.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        there = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == at
        how = "is there twice" if there else "does not exist"
        raise ValueError(
            f"{at.isoformat()} {how} in {timezone}, where clocks were turned; write its offset, as in +01:00"
        )
    return first.astimezone(UTC)
