"""Instants as people write them: ISO 8601, or how long ago."""

from __future__ import annotations

from datetime import UTC, datetime

from everloop.project.durations import parse_duration

__all__ = ["parse_moment"]


def parse_moment(text: str, *, now: datetime) -> datetime:
    """The instant of `2026-05-04`, `2026-05-04T12:00+02:00` or `7d` (so long before `now`), in UTC.

    A time without a zone is UTC. Raises ValueError with a sentence for anything else.
    """
    said = text.strip()
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        return _ago(said, now)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _ago(text: str, now: datetime) -> datetime:
    try:
        return now.astimezone(UTC) - parse_duration(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time (ISO 8601 such as 2026-05-04T12:00, UTC where no zone stands, or how long ago: 7d)"
        ) from None
