"""How many requests in which time, as people write it: `100/s`, `600/min`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Rate"]

_SECONDS: Final = {"s": 1, "min": 60, "h": 3_600}
_TEXT: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*/\s*(s|min|h)")
_MOST_PER_S: Final = 1_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A number of requests in a second; printed as it was written, which `parse` reads back."""

    text: str
    per_s: float

    @classmethod
    def parse(cls, value: object) -> Rate:
        """The rate of `100/s`, `600/min`, `20/h`. Raises ValueError with a sentence for anything else."""
        if isinstance(value, Rate):
            return value
        match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{str(value)[:12]!r} is no rate (a number of requests in s, min or h, such as 100/s)")
        per_s = float(match[1]) / _SECONDS[match[2]]
        if not 0.0 < per_s <= _MOST_PER_S:
            raise ValueError(f"{match[0]} is out of range (allowed: 0 < rate ≤ {_MOST_PER_S:,.0f}/s)")
        return cls(text=f"{match[1]}/{match[2]}", per_s=per_s)

    def __str__(self) -> str:
        return self.text
