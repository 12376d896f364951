"""Parts of a whole as people write them: `10%`, `0.5%`, `0.1`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["format_share", "parse_share"]

_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_share(value: object, *, noun: str = "share", allow_zero: bool = False) -> float:
    """The fraction of `10%` or of a number up to 1, above 0 (or from 0 with `allow_zero`).

    Raises ValueError with a sentence that calls the thing `noun`.
    """
    lower = "0 ≤" if allow_zero else "0 <"
    allowed = f"({lower} {noun} ≤ 100 %)"
    if isinstance(value, int | float) and not isinstance(value, bool):
        fraction = float(value)
        if 1 < fraction <= 100:
            raise ValueError(f"{value} is not a share {allowed}; did you mean {value}%?")
    elif isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        fraction = round(float(match[1]) / 100, 12)
    else:
        raise ValueError(f"{value} is not a share {allowed}; write it as 10%")
    if not (0 <= fraction <= 1) or (fraction == 0 and not allow_zero):
        raise ValueError(f"{value} is not a share {allowed}")
    return fraction


def format_share(fraction: float) -> str:
    """`0.005` as `0.5%`; `parse_share` reads it back."""
    return f"{round(fraction * 100, 10):.12g}%"
