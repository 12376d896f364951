"""Spans of time as people write them: `30d`, `12h`, `1d 12h`, `10y`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

__all__ = ["format_duration", "parse_duration"]

_UNIT_US: Final = {
    "y": 365 * 86_400_000_000,
    "w": 7 * 86_400_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|[ywdhms])\b")
_PRINTED: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def parse_duration(value: object) -> timedelta:
    """The span of `30d`, `12h`, `1d 12h`, `90s`, `10y` (a year is 365 days), or of a plain 0.

    Raises ValueError with a sentence for anything else.
    """
    if isinstance(value, timedelta):
        return value
    if value == 0 and not isinstance(value, bool):
        return timedelta(0)
    text = str(value).strip()
    parts = _PART.findall(text)
    if not isinstance(value, str) or not parts or _PART.sub("", text).strip():
        raise ValueError(f"{value} is not a duration (a number and one of s, m, h, d, w, y, such as 30d or 1d 12h)")
    try:
        return timedelta(microseconds=sum(round(float(number) * _UNIT_US[unit]) for number, unit in parts))
    except OverflowError:
        raise ValueError(f"{value} is longer than any calendar") from None


def format_duration(span: timedelta) -> str:
    """The shortest way to write `span`, down to milliseconds: `1d 12h`; `parse_duration` reads it back."""
    milliseconds = round(span / timedelta(milliseconds=1))
    seconds, rest_ms = divmod(milliseconds, 1000)
    words = []
    for unit, size in _PRINTED:
        count, seconds = divmod(seconds, size)
        if count:
            words.append(f"{count}{unit}")
    if rest_ms:
        words.append(f"{rest_ms}ms")
    return " ".join(words) if words else "0d"
