"""Evidence from counts that may be looked at as often as one likes.

A bet on "the mean is above 0" multiplies its stake by `1 + λ·value` at every row. Under "the mean is at most 0" the
stake is a supermartingale, so it ever reaches `1/α` with probability `α` at most, however often one looks (Ville's
inequality), at rare values as well. With a fixed mixture over λ the stake depends on the counts of each value alone,
not on their order, so counts of many processes and days may be added and judged. Source: Waudby-Smith & Ramdas,
"Estimating means of bounded random variables by betting" (2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["above_zero", "log_stake"]

# From bets for rare values (a mean 0.03 % of the largest loss above 0) to nearly all of the stake.
_FRACTIONS = np.geomspace(3e-4, 0.95, 24)


def log_stake(values: Sequence[float], counts: Sequence[int]) -> float:
    """Natural logarithm of the stake after betting that the mean of a bounded variable is above 0.

    values, counts: shape (k,); how often each value was seen, counts ≥ 0. Every value the variable can take must be
    within the range of `values`, whether it was seen or not: it is the range that bounds the bets.
    """
    seen = np.asarray(values, dtype=np.float64)
    times = np.asarray(counts, dtype=np.float64)
    worst = -float(seen.min())
    if worst <= 0.0:
        # What cannot be below 0 needs no caution: any positive value is proof.
        return math.inf if bool((times[seen > 0.0] > 0).any()) else 0.0
    stakes = np.log1p(np.outer(_FRACTIONS / worst, seen)) @ times
    top = float(stakes.max())
    return top + math.log(float(np.exp(stakes - top).mean()))


def above_zero(values: Sequence[float], counts: Sequence[int], *, alpha: float) -> bool:
    """Whether the mean is above 0, wrongly said with probability `alpha` at most over all looks together."""
    return log_stake(values, counts) >= -math.log(alpha)
