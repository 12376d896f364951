"""When a training is due: cron, `daily`, `every 6h`, EventBridge's forms, or `external`.

Cron fields are wall-clock time in the model's zone. Where its clocks are turned, a time that is not there is due at
the moment they are put forward, and one that is there twice the first time alone; an hour field of `*` means every hour
that passes, be there 23 or 25. Spans are absolute time: they count from Monday, 5 January 1970, 00:00 UTC, so that
`every 6h` is 00:00, 06:00, 12:00 and 18:00 UTC, whenever one looked and whatever was started again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from everloop.project.durations import parse_duration
from everloop.project.eventbridge import is_eventbridge, plain_cron, rate_span
from everloop.project.metrics import did_you_mean

__all__ = ["EXTERNAL", "check_schedule", "due_times", "last_due", "next_due"]

EXTERNAL: Final = "external"
"""The schedule of a model that something else trains, by calling `everloop train`."""
_NAMED: Final = {"hourly": "0 * * * *", "daily": "0 2 * * *", "weekly": "0 2 * * SUN", "monthly": "0 2 1 * *"}
_EVERY: Final = re.compile(r"every\b\s*(.*)")
_ALLOWED: Final = (
    "(five cron fields as in '0 2 * * SUN', hourly, daily, weekly, monthly, 'every 6h', EventBridge's cron(…) and "
    "rate(…), or external)"
)
_FIELDS: Final = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L or LW"),
    ("month", "1 to 12 or JAN to DEC"),
    ("weekday", "0 to 7 or SUN to SAT, 5L, MON#2"),
)
_GRID: Final = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday
_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=3653)
_LARGEST_FOLD: Final = timedelta(hours=3)  # no zone has put its clocks back by more since 1970
_FIRST_LOOK_BACK: Final = timedelta(hours=1)


def check_schedule(value: object) -> str:
    """The schedule as it was written. Raises ValueError with a sentence where it says nothing."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a schedule {_ALLOWED}")
    text = value.strip()
    if text != EXTERNAL and _span(text) is None:
        _cron(text)
    return text


def next_due(schedule: str, *, after: datetime, timezone: str = "UTC") -> datetime | None:
    """The first time the schedule is due after `after` (aware), in UTC; None for `external`.

    timezone: whose wall clock cron fields are read by.
    """
    if schedule == EXTERNAL:
        return None
    span = _span(schedule)
    if span is not None:
        return _GRID + ((after - _GRID) // span + 1) * span
    fields, zone = _cron(schedule), ZoneInfo(timezone)
    return _each_hour(fields, after, zone) if _every_hour(fields) else _by_the_clock(fields, after, zone)


def due_times(schedule: str, *, after: datetime, timezone: str = "UTC") -> Iterator[datetime]:
    """The times the schedule is due after `after`, rising, without end; none for `external`."""
    due = next_due(schedule, after=after, timezone=timezone)
    while due is not None:
        yield due
        due = next_due(schedule, after=due, timezone=timezone)


def last_due(schedule: str, *, after: datetime, until: datetime, timezone: str = "UTC") -> datetime | None:
    """The latest time the schedule is due with `after < due ≤ until`; None where there is none."""
    look_back = _FIRST_LOOK_BACK
    while after < until:
        start = max(after, until - look_back)
        found = None
        for due in due_times(schedule, after=start, timezone=timezone):
            if due > until:
                break
            found = due
        if found is not None or start == after:
            return found
        look_back *= 4
    return None


@lru_cache(maxsize=256)
def _span(text: str) -> timedelta | None:
    """The span of `every 6h` or `rate(6 hours)`; None for anything else."""
    if is_eventbridge(text):
        span = rate_span(text)
    elif match := _EVERY.fullmatch(text):
        try:
            span = parse_duration(match[1])
        except ValueError as error:
            raise ValueError(f"{text!r} is not a schedule, which would be every 6h or every 1d 12h: {error}") from None
    else:
        return None
    if span is not None and not _SHORTEST <= span <= _LONGEST:
        raise ValueError(f"{text!r} is not a schedule: a span is a minute at least, and ten years at most")
    return span


@lru_cache(maxsize=256)
def _cron(text: str) -> str:
    """Five cron fields for a named schedule, plain cron, or EventBridge's six."""
    fields = plain_cron(text) if is_eventbridge(text) else _NAMED.get(text, text).upper()
    count = len(fields.split())
    if count == 1:
        hint = did_you_mean(text.lower().lstrip("@"), (*_NAMED, EXTERNAL))
        raise ValueError(f"{text!r} is not a schedule {_ALLOWED}{hint}")
    if count == 6:
        raise ValueError(
            f"{text!r} has six fields and cron has five; EventBridge's six are written cron(0 2 ? * SUN *)"
        )
    if count != 5:
        raise ValueError(f"{text!r} is not a schedule {_ALLOWED}")
    for place, (name, allowed) in enumerate(_FIELDS):
        alone = ["*"] * 5
        alone[place] = fields.split()[place]
        if not _is_cron(" ".join(alone)):
            raise ValueError(f"the {name} {alone[place]!r} of {text!r} is not allowed ({allowed}; *, lists, 1-5, */2)")
    if not _comes_due(fields):
        raise ValueError(f"{text!r} never comes due: there is no such day in these months")
    return fields


def _is_cron(fields: str) -> bool:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(fields, datetime(2024, 1, 1))  # noqa: DTZ001  only the syntax is asked
    except (CronSimError, AssertionError):
        return False
    return True


def _comes_due(fields: str) -> bool:
    from cronsim import CronSim

    if not _is_cron(fields):  # fields that are good each alone: it knows that no month is so long
        return False
    return next(CronSim(fields, datetime(2024, 1, 1)), None) is not None  # noqa: DTZ001


@lru_cache(maxsize=256)
def _every_hour(fields: str) -> bool:
    from cronsim import CronSim

    return bool(CronSim(fields, datetime(2024, 1, 1)).hours == set(range(24)))  # noqa: DTZ001


def _by_the_clock(fields: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    """Local times in order stay in order as moments, so the first one that is later is the next."""
    from cronsim import CronSim

    for local in CronSim(fields, after.astimezone(zone).replace(tzinfo=None)):
        due = _moment(local, zone)
        if due > after:
            return due
    return None


def _moment(local: datetime, zone: ZoneInfo) -> datetime:
    """A wall-clock time in UTC: the first of two, and for one that is not there the moment the clocks are turned."""
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return first
    before, turned = second, first
    offset = turned.astimezone(zone).utcoffset()
    while turned - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(turned - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            turned = middle
        else:
            before = middle
    return turned


def _each_hour(fields: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    """A local time that is there twice counts twice, and one that is not there does not: every hour has its turn."""
    from cronsim import CronSim

    here = after.astimezone(zone).replace(tzinfo=None)
    plain = next(CronSim(fields, here), None)
    if plain is not None and _no_clock_is_turned(after, plain.replace(tzinfo=zone).astimezone(UTC), zone):
        return plain.replace(tzinfo=zone).astimezone(UTC)
    found: datetime | None = None
    for local in CronSim(fields, here - _LARGEST_FOLD):
        if found is not None and local > found.astimezone(zone).replace(tzinfo=None) + _LARGEST_FOLD:
            break
        for fold in (0, 1):
            at = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            there = at.astimezone(zone).replace(tzinfo=None) == local
            if there and at > after and (found is None or at < found):
                found = at
    return found


def _no_clock_is_turned(first: datetime, second: datetime, zone: ZoneInfo) -> bool:
    """Whether it is the same offset around two moments: then every local time near them is there once."""
    around = [at + by for at in (first, second) for by in (-_LARGEST_FOLD, _LARGEST_FOLD)]
    return len({at.astimezone(zone).utcoffset() for at in around}) == 1
