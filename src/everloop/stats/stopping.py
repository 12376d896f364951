"""By how many rows a comparison has ended that may be looked at all the time: half of its runs, and nine in ten.

It asks the very sequences that decide (`BoundedSequence`, `SignSequence`), fed with what a run holds after n rows: the
expected counts for `half`, and for `most` those of a run that is unlucky as one in ten is. Evidence grows with the gain
seen, so a run that did better has ended by then. The tests hold both against simulated runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from everloop.stats.sample_size import Discordance, Sides
from everloop.stats.sequence import BoundedSequence, SignSequence

__all__ = ["Stopping", "stopping_gains", "stopping_signs", "stopping_two_means"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

# One run in ten holds less than the mean less so many standard deviations.
_UNLUCKY = NormalDist().inv_cdf(0.9)
_MOST_ROWS = 1e13  # more than any traffic will have
_CLOSE = 1.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """Rows by which half of the comparisons have ended (`half`), and nine in ten (`most`).

    None where no number of rows is enough: no bet of the sequences finds a gain below some 0.2 % of the mean square.
    """

    half: int | None
    most: int | None

    def sides(self, share: float) -> tuple[Sides | None, Sides | None]:
        """Both, split by the challenger's share."""
        half = None if self.half is None else Sides.of(self.half, share)
        return half, None if self.most is None else Sides.of(self.most, share)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Gains:
    """What one row can gain, shape (k,) in [−1, 1], and how likely each is, shape (k,), summing to 1."""

    values: Floats
    parts: Floats

    @classmethod
    def of(cls, differ: Discordance) -> _Gains:
        parts = np.array([differ.wins, differ.losses, 1 - differ.share])
        return cls(values=np.array([1.0, -1.0, 0.0]), parts=parts)

    def after(self, rows: float, unlucky: float) -> Floats:
        """How often each was seen after `rows`, in a run whose sum lies so many standard deviations below its mean.

        Of all runs with that sum the likeliest: each count is off as it varies together with the sum.
        """
        mean = float(self.values @ self.parts)
        deviation = math.sqrt(max(float(np.square(self.values - mean) @ self.parts), 1e-300))
        off = unlucky * math.sqrt(rows) * (self.values - mean) / deviation
        return np.asarray(np.maximum(np.round(self.parts * (rows - off)), 0.0), dtype=np.float64)


def stopping_signs(differ: Discordance, *, alpha: float = 0.05) -> Stopping:
    """Rows until `SignSequence` calls the challenger better: what live comparisons of recall ask first."""
    gains = _Gains.of(differ)
    _refuse_no_gain(differ.gain)

    def ended(rows: float, unlucky: float) -> bool:
        wins, losses, _ = gains.after(rows, unlucky).astype(int).tolist()
        return SignSequence(wins=wins, losses=losses, alpha=alpha).standing() == "better"

    return _stopping(ended, start=1 / differ.share)


def stopping_gains(differ: Discordance, *, alpha: float = 0.05) -> Stopping:
    """Rows until `BoundedSequence` of gains of 1, −1 and 0 knows the mean to be above 0.

    For gains of other sizes give the parts of wins and losses that have their mean and mean square.
    """
    _refuse_no_gain(differ.gain)
    return _until_above(_Gains.of(differ), alpha=alpha)


def stopping_two_means(
    champion: float,
    challenger: float,
    *,
    share: float,
    variance: float | None = None,
    variance_challenger: float | None = None,
    alpha: float = 0.05,
) -> Stopping:
    """Rows of two sides together until one `BoundedSequence` knows which is higher.

    Its values are rows of the smaller side, each less the mean of the larger side's rows that came with it: under no
    difference a mean of 0, whatever the rates are.
    champion, challenger: means of values in [0, 1]. share: the challenger's part of the rows, in (0, 1).
    variance, variance_challenger: of one value; where left out that of a 0 or 1, the largest there is.
    """
    _refuse_no_gain(abs(challenger - champion))
    one, two = (champion, _spread(champion, variance)), (challenger, _spread(challenger, variance_challenger))
    smaller, larger = (two, one) if share <= 0.5 else (one, two)
    part = min(share, 1 - share)
    found = _until_above(_less_the_mean(smaller, larger, each=(1 - part) / part), alpha=alpha)
    half, most = (None if rows is None else math.ceil(rows / part) for rows in (found.half, found.most))
    return Stopping(half=half, most=most)


def _less_the_mean(one: tuple[float, float], others: tuple[float, float], *, each: float) -> _Gains:
    """A value of (mean, variance) less the mean of `each` others, as their two moments and bounds have it."""
    values, parts = _two_valued(*one)
    means, chances = _two_valued(others[0], others[1], narrowed=1 / math.sqrt(each))
    gaps, likely = np.subtract.outer(values, means).ravel(), np.outer(parts, chances).ravel()
    sign = 1.0 if one[0] > others[0] else -1.0
    return _Gains(values=np.clip(sign * gaps, -1.0, 1.0), parts=likely)


def _two_valued(mean: float, variance: float, *, narrowed: float = 1.0) -> tuple[Floats, Floats]:
    """Two values with this mean and variance, the lower 0, drawn towards the mean by `narrowed`; and their parts."""
    if mean <= 0 or variance <= 0:
        return np.array([mean, mean]), np.array([0.5, 0.5])
    upper = mean + variance / mean
    return mean + narrowed * (np.array([0.0, upper]) - mean), np.array([1 - mean / upper, mean / upper])


def _spread(mean: float, variance: float | None) -> float:
    most = mean * (1 - mean)
    return most if variance is None else min(variance, most)


def _until_above(gains: _Gains, *, alpha: float) -> Stopping:
    start = BoundedSequence(alpha=alpha)

    def ended(rows: float, unlucky: float) -> bool:
        return start.update(gains.values, times=gains.after(rows, unlucky)).surely_above(0.0)

    return _stopping(ended, start=1.0)


def _stopping(ended: Callable[[float, float], bool], *, start: float) -> Stopping:
    half = _first(lambda rows: ended(rows, 0.0), start)
    most = None if half is None else _first(lambda rows: ended(rows, _UNLUCKY), half)
    return Stopping(half=None if half is None else math.ceil(half), most=None if most is None else math.ceil(most))


def _first(ended: Callable[[float], bool], start: float) -> float | None:
    """The number of rows from which on it has ended, to within 0.2 %; fewer than `start` are not asked."""
    few, many = start, start
    while not ended(many):
        few, many = many, many * 2
        if many > _MOST_ROWS:
            return None
    while many > few * _CLOSE and many - few > 0.5:
        middle = math.sqrt(few * many)
        few, many = (few, middle) if ended(middle) else (middle, many)
    return many


def _refuse_no_gain(gain: float) -> None:
    if not gain > 0:
        raise ValueError("a comparison ends where there is a gain, and there is none")
