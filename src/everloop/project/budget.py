"""How many false alarms may be raised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from everloop.project.durations import format_duration, parse_duration

__all__ = ["Budget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`count` false alarms per span `per`, over all columns, checks and windows together."""

    count: float
    per: timedelta

    @classmethod
    def parse(cls, value: object) -> Budget:
        """Read `1 per 30d` or `1 per 10y`. Raises ValueError with a sentence."""
        if isinstance(value, Budget):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s+per\s+(\S.*)", str(value).strip())
        if match is None:
            raise ValueError(f"{value!r} is not a budget (a number per duration, such as '1 per 30d')")
        per = parse_duration(match[2])
        if float(match[1]) <= 0 or per <= timedelta(0):
            raise ValueError(f"{value!r} is not a budget: with none allowed no alert could ever be raised")
        return cls(count=float(match[1]), per=per)

    @property
    def per_day(self) -> float:
        """False alarms allowed per day."""
        return self.count / (self.per / timedelta(days=1))

    def __str__(self) -> str:
        years, rest = divmod(self.per, timedelta(days=365))
        return f"{self.count:.12g} per {f'{years}y' if years and not rest else format_duration(self.per)}"
