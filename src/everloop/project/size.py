"""A number of bytes as people write it: `64MB`, `512 KiB`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Size"]

_UNITS: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TEXT: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(b|[kmg]i?b)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A number of bytes; printed as it was written, which `parse` reads back."""

    text: str
    bytes: int

    @classmethod
    def parse(cls, value: object) -> Size:
        """The size of `64MB`, `512KiB` or of a plain number of bytes. Raises ValueError for anything else."""
        if isinstance(value, Size):
            return value
        text = str(value).strip()
        match = None if isinstance(value, bool) else _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:12]!r} is no size (a number of bytes, kB, MB or GB, such as 64MB)")
        return cls(text=text, bytes=round(float(match[1]) * _UNITS[(match[2] or "b").lower()]))

    def __str__(self) -> str:
        return self.text
