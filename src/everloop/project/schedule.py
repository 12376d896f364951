"""When something is due again: cron, `daily`, `weekly`, `every 6h`, EventBridge's forms, or `external`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from everloop.project.durations import parse_duration

__all__ = ["check_schedule", "next_due"]

_NAMED: Final = {"hourly": "0 * * * *", "daily": "0 2 * * *", "weekly": "0 2 * * SUN", "monthly": "0 2 1 * *"}
_EVERY: Final = re.compile(r"every\s+(\S.*)")
_RATE: Final = re.compile(r"rate\(\s*(\d+)\s+(minute|hour|day)s?\s*\)")
_CRON: Final = re.compile(r"cron\((.*)\)")
_ALLOWED: Final = "(five cron fields as in '0 2 * * SUN', hourly, daily, weekly, monthly, 'every 6h', or external)"


def check_schedule(value: object) -> str:
    """The schedule as it was written. Raises ValueError with a sentence where it says nothing."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a schedule {_ALLOWED}")
    if value.strip() != "external" and _interval(value.strip()) is None:
        _cron(value.strip())
    return value.strip()


def next_due(schedule: str, *, after: datetime, timezone: str = "UTC") -> datetime | None:
    """The first time the schedule is due after `after` (aware), in UTC; None for `external`.

    Cron fields are read in `timezone`; intervals count from `after`.
    """
    if schedule == "external":
        return None
    interval = _interval(schedule)
    if interval is not None:
        return after + interval
    from cronsim import CronSim

    zone = ZoneInfo(timezone)
    due: datetime = next(CronSim(_cron(schedule), after.astimezone(zone)))
    return due.astimezone(ZoneInfo("UTC"))


def _interval(text: str) -> timedelta | None:
    if match := _RATE.fullmatch(text):
        return timedelta(**{match[2] + "s": int(match[1])})
    if match := _EVERY.fullmatch(text):
        span = parse_duration(match[1])
        if span < timedelta(minutes=1):
            raise ValueError(f"{text!r} is more often than every minute")
        return span
    return None


def _cron(text: str) -> str:
    """Five cron fields for a named schedule, plain cron, or EventBridge's six."""
    fields = _NAMED.get(text, text)
    if match := _CRON.fullmatch(fields):
        six = match[1].split()
        if len(six) != 6 or six[5] != "*":
            raise ValueError(f"{text!r} is not a schedule: EventBridge's cron has six fields, the year '*'")
        fields = " ".join("*" if field == "?" else field for field in six[:5])
        fields = _eventbridge_weekdays(fields)
    from cronsim import CronSim, CronSimError

    try:
        CronSim(fields, datetime(2024, 1, 1))  # noqa: DTZ001  only the syntax is asked
    except CronSimError as error:
        raise ValueError(f"{text!r} is not a schedule {_ALLOWED}: {error}") from None
    return fields


def _eventbridge_weekdays(fields: str) -> str:
    """EventBridge counts weekdays from Sunday = 1, cron from Sunday = 0."""
    *head, weekdays = fields.split()
    shifted = re.sub(r"(?<![#/\d])[1-7](?!\d)", lambda match: str(int(match[0]) - 1), weekdays)
    return " ".join([*head, shifted])
