"""False alarms as a budget: so many per span of days, over all columns, checks and windows together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from everloop.stats.verdict import Json

__all__ = ["OnlineBudget", "alpha_per_window"]


def alpha_per_window(*, count: float, per_days: float, window_days: float) -> float:
    """The chance of a false alarm that one window of `window_days` may take of a budget of `count` per `per_days`.

    It is for the whole family of the window's checks: split it with `OnlineBudget.split`. Alarms at this
    rate are `count` per `per_days` at most on average.
    """
    if not (count > 0 and per_days > 0 and window_days > 0):
        raise ValueError(f"count, per_days and window_days must be above 0, got {count}, {per_days}, {window_days}")
    return -math.expm1(-count / per_days * window_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineBudget:
    """A budget spent at a steady rate, window by window, without end.

    per_day: false alarms allowed per day. saved_days: days that no window was judged in, to be spent by the next
    one; at most `keep_days`, so that a long pause does not make a loose window. spent: alpha given out so far.
    """

    per_day: float
    saved_days: float = 0.0
    keep_days: float = 7.0
    spent: float = 0.0

    def __post_init__(self) -> None:
        if not self.per_day > 0:
            raise ValueError(f"a budget must allow more than 0 false alarms per day, got {self.per_day}")

    @classmethod
    def of(cls, *, count: float, per_days: float) -> OnlineBudget:
        """`count` false alarms per `per_days` days."""
        if not per_days > 0:
            raise ValueError(f"per_days must be above 0, got {per_days}")
        return cls(per_day=count / per_days)

    def allot(self, window_days: float) -> tuple[float, OnlineBudget]:
        """The alpha of a window of `window_days`, what was saved included, and the budget after it."""
        alpha = alpha_per_window(count=self.per_day, per_days=1.0, window_days=window_days + self.saved_days)
        return alpha, replace(self, saved_days=0.0, spent=self.spent + alpha)

    def skip(self, window_days: float) -> OnlineBudget:
        """The budget after a window that could not be judged."""
        return replace(self, saved_days=min(self.keep_days, self.saved_days + window_days))

    def split(self, weights: Mapping[str, float]) -> dict[str, OnlineBudget]:
        """One budget per check, in proportion to `weights`, each > 0; together they allow what this one allows."""
        total = math.fsum(weights.values())
        if not weights or min(weights.values()) <= 0:
            raise ValueError(f"every check's weight must be above 0, got {dict(weights)}")
        return {name: replace(self, per_day=self.per_day * weight / total) for name, weight in weights.items()}

    def windows_per_alarm(self, window_days: float) -> float:
        """The mean number of windows between false alarms: the threshold of a `RateDetector`."""
        return 1.0 / alpha_per_window(count=self.per_day, per_days=1.0, window_days=window_days)

    def to_dict(self) -> dict[str, Json]:
        """Plain JSON; `from_dict` reads it back."""
        return {
            "per_day": self.per_day,
            "saved_days": self.saved_days,
            "keep_days": self.keep_days,
            "spent": self.spent,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> OnlineBudget:
        """What `to_dict` wrote."""
        return cls(**{name: float(record[name]) for name in ("per_day", "saved_days", "keep_days", "spent")})
