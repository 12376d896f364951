"""Since when: the day from which a daily count, or a daily value, is best told as another one than before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

__all__ = ["Change", "mean_change", "rate_change"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

# Twice the log-likelihood lost at the ends of the range: the 95 % point of chi-squared with one degree of freedom.
_RANGE_NATS = 1.92
_NEEDED_NATS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of level between days.

    at: the first day of the new level; low, high: the first and the last day that the data nearly allow as well.
    before, after: the level per unit of exposure. nats: the log-likelihood that the change explains.
    """

    at: datetime
    low: datetime
    high: datetime
    before: float
    after: float
    nats: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.at:%Y-%m-%d}"
        return f"{self.at:%Y-%m-%d} ({self.low:%m-%d} to {self.high:%m-%d})"


def rate_change(
    days: Sequence[datetime], counts: Sequence[float] | Floats, exposure: Sequence[float] | Floats
) -> Change | None:
    """The day from which a Poisson count per exposure is higher, or None where no day says so clearly.

    days: in order; counts, exposure: shape (days,), both ≥ 0; a day without exposure says nothing.
    Of all days the one whose two rates make the counts likeliest; it must explain ln(days) + 4 nats more than one
    rate does. Source: Worsley (1986), "Confidence regions and tests for a change-point".
    """
    count, time = np.asarray(counts, np.float64), np.asarray(exposure, np.float64)
    if count.sum() == 0 or len(days) < 2:
        return None
    before_n, before_t = np.cumsum(count)[:-1], np.cumsum(time)[:-1]
    after_n, after_t = count.sum() - before_n, time.sum() - before_t
    usable = (before_t > 0) & (after_t > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = before_n / before_t, after_n / after_t
        gained = _log_likelihood(before_n, before_t) + _log_likelihood(after_n, after_t)
    gained = gained - _log_likelihood(count.sum(keepdims=True), time.sum(keepdims=True))
    gained = np.where(usable & (rates[1] > rates[0]), gained, -np.inf)
    return _found(days, gained, rates)


def mean_change(days: Sequence[datetime], values: Sequence[float] | Floats) -> Change | None:
    """The day from which a daily value lies elsewhere, up or down, or None; days of NaN say nothing.

    days: in order; values: shape (days,). Normal with one variance.
    """
    value = np.asarray(values, np.float64)
    known = np.isfinite(value)
    used = [day for day, take in zip(days, known, strict=True) if take]
    value = value[known]
    if len(used) < 4 or float(np.ptp(value)) == 0:
        return None
    n = len(value)
    first = np.arange(1, n)
    before = np.cumsum(value)[:-1] / first
    after = (value.sum() - np.cumsum(value)[:-1]) / (n - first)
    whole = float(np.square(value - value.mean()).sum())
    explained = first * np.square(before - value.mean()) + (n - first) * np.square(after - value.mean())
    left = np.maximum(whole - explained, whole * 1e-6)
    return _found(used, n / 2 * np.log(whole / left), (before, after))


def _log_likelihood(count: Floats, exposure: Floats) -> Floats:
    found: Floats = np.where(count > 0, count * np.log(np.where(count > 0, count / exposure, 1.0)), 0.0)
    return found


def _found(days: Sequence[datetime], gained: Floats, levels: tuple[Floats, Floats]) -> Change | None:
    best = int(np.argmax(gained))
    nats = float(gained[best])
    if not nats >= _NEEDED_NATS + math.log(len(days)):
        return None
    near = np.flatnonzero(gained >= nats - _RANGE_NATS)
    return Change(
        at=days[best + 1],
        low=days[int(near[0]) + 1],
        high=days[int(near[-1]) + 1],
        before=float(levels[0][best]),
        after=float(levels[1][best]),
        nats=nats,
    )
