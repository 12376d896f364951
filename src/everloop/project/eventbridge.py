"""EventBridge's forms of a schedule, `cron(0 2 ? * SUN *)` and `rate(6 hours)`, as plain cron fields and spans."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

__all__ = ["is_eventbridge", "plain_cron", "rate_span"]

_FORM: Final = re.compile(r"(cron|rate)\s*\((.*)", re.IGNORECASE)
_RATE: Final = re.compile(r"(\d+)\s+(minute|hour|day)(s?)")
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DAY: Final = rf"[1-7]|{'|'.join(_DAYS)}"
_TERM: Final = re.compile(rf"(?:\*|(?P<day>{_DAY})(?:-(?P<last>{_DAY}))?)(?:/(?P<step>[1-7]))?")
_NTH: Final = re.compile(rf"(?P<day>{_DAY})#(?P<nth>[1-5])")
_LAST: Final = re.compile(rf"(?P<day>{_DAY})?L")


def is_eventbridge(text: str) -> bool:
    """Whether the schedule is meant as one of EventBridge's forms."""
    return _FORM.fullmatch(text) is not None


def rate_span(text: str) -> timedelta | None:
    """The span of `rate(6 hours)`, None for the other form. It is `1 hour`, and `hours` of any other number.

    Raises ValueError with a sentence for what EventBridge would refuse.
    """
    form, inner = _inner(text)
    if form != "rate":
        return None
    match = _RATE.fullmatch(inner)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a schedule: a rate is a number from 1 on and minutes, hours or days")
    number, unit = int(match[1]), match[2]
    written = f"rate({number} {unit}{'' if number == 1 else 's'})"
    if (number == 1) == bool(match[3]):
        raise ValueError(f"{text!r} is not a schedule: EventBridge writes {written}")
    try:
        return timedelta(**{f"{unit}s": number})
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any calendar") from None


def plain_cron(text: str) -> str:
    """Five cron fields for `cron(minute hour day month weekday year)`; weekdays counted from Sunday = 0.

    Raises ValueError with a sentence for what EventBridge would refuse, for a year, and for the weekday nearest to a
    day.
    """
    _, inner = _inner(text)
    fields = inner.upper().split()
    if len(fields) != 6:
        raise ValueError(
            f"{text!r} is not a schedule: EventBridge's cron has six fields (minute, hour, day of the month, month, "
            f"weekday, year), and here are {len(fields)}"
        )
    minute, hour, day, month, weekday, year = fields
    if year != "*":
        raise ValueError(f"the year of {text!r} must be '*', not {year!r}: what retrains a model has no last year")
    if (day == "?") == (weekday == "?"):
        raise ValueError(f"{text!r} is not a schedule: of day of the month and weekday one is '?', as EventBridge asks")
    if "W" in day and day != "LW":
        raise ValueError(f"{text!r}: the weekday nearest to a day ({day}) cannot be had; LW, the month's last, can")
    day = "*" if day == "?" else day
    weekday = "*" if weekday == "?" else ",".join(_weekdays(term, text) for term in weekday.split(","))
    return " ".join((minute, hour, day, month, weekday))


def _inner(text: str) -> tuple[str, str]:
    match = _FORM.fullmatch(text)
    assert match is not None
    form, inner = match[1].lower(), match[2].strip()
    if not inner.endswith(")"):
        raise ValueError(f"{text!r} has no closing bracket; in {{…}} a schedule that holds a comma is put in quotes")
    return form, inner[:-1].strip()


def _weekdays(term: str, text: str) -> str:
    """One term of the weekdays, as cron counts them; a range may go over the week's end, as FRI-MON does."""
    if match := _NTH.fullmatch(term):
        return f"{_number(match['day'])}#{match['nth']}"
    if match := _LAST.fullmatch(term):
        return "6" if match["day"] is None else f"{_number(match['day'])}L"
    match = _TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"the weekday {term!r} of {text!r} is not one of 1 (Sunday) to 7 or SUN to SAT, 2-6, 6L, 3#2")
    if match["day"] is None:
        first, count = 0, 7
    else:
        first = _number(match["day"])
        alone = 7 - first if match["step"] else 1  # 2/2 goes on to the week's end, 2 does not
        count = alone if match["last"] is None else (_number(match["last"]) - first) % 7 + 1
    step = 1 if match["step"] is None else int(match["step"])
    return ",".join(str((first + at) % 7) for at in range(0, count, step))


def _number(day: str) -> int:
    """0 for Sunday."""
    return _DAYS.index(day) if day in _DAYS else int(day) - 1
