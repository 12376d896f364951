"""How many rows a comparison needs that is judged once, at its end: two sides apart, or two versions on the same rows.

Two-sided at `level`, and with probability `power` it finds a difference that is there. For one that is looked at all
the time see `stats.stopping`.
Sources: Fleiss, Levin & Paik (2003), "Statistical Methods for Rates and Proportions", chapter 4 (two rates, unequal
sides); Cochran & Cox (1957) (two means); Connor (1987), "Sample size for testing differences in proportions for the
paired-sample design" (discordant pairs).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Discordance", "Sides", "discordance", "paired_mean_rows", "paired_rate_rows", "two_means", "two_rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Rows that two sides need; the challenger's are `share` of both together, rounded up."""

    challenger: int
    champion: int

    @classmethod
    def of(cls, rows: float, share: float) -> Sides:
        """`rows` in all, split by `share`."""
        return cls(challenger=math.ceil(rows * share), champion=math.ceil(rows * (1 - share)))

    @property
    def rows(self) -> int:
        """Both together."""
        return self.challenger + self.champion


def two_rates(champion: float, challenger: float, *, share: float, level: float = 0.95, power: float = 0.8) -> Sides:
    """Rows that tell the rate `challenger` from the rate `champion`, both in [0, 1], by a z test of pooled variance.

    share: the challenger's part of all rows, in (0, 1). Raises ValueError where the rates are equal.
    """
    _check(share=share, level=level, power=power)
    gap = _gap(challenger - champion)
    pooled = share * challenger + (1 - share) * champion
    under_none = pooled * (1 - pooled) * (1 / share + 1 / (1 - share))
    under_gap = challenger * (1 - challenger) / share + champion * (1 - champion) / (1 - share)
    needed = _z(level) * math.sqrt(under_none) + _z_power(power) * math.sqrt(under_gap)
    return Sides.of((needed / gap) ** 2, share)


def two_means(
    gap: float,
    variance: float,
    *,
    share: float,
    variance_challenger: float | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> Sides:
    """Rows that tell two means apart that differ by `gap`, in the unit of the rows.

    variance, variance_challenger: of one row on each side, ≥ 0; the same where left out.
    share: as in `two_rates`. Raises ValueError where the gap is 0.
    """
    _check(share=share, level=level, power=power)
    other = variance if variance_challenger is None else variance_challenger
    spread = other / share + variance / (1 - share)
    return Sides.of((_both(level, power) / _gap(gap)) ** 2 * spread, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discordance:
    """Parts of all rows that exactly one of two versions gets right: the challenger (wins), the champion (losses)."""

    wins: float
    losses: float

    @property
    def share(self) -> float:
        """Rows on which they differ."""
        return self.wins + self.losses

    @property
    def gain(self) -> float:
        """What the challenger is better by."""
        return self.wins - self.losses


def discordance(champion: float, challenger: float, *, correlation: float) -> Discordance:
    """How often two versions differ that are right on these parts of the rows and as alike as `correlation` says.

    correlation: of being right, row by row, in [0, 1]; 0 is two strangers. It is taken down to what the rates allow.
    """
    if not 0 <= correlation <= 1:
        raise ValueError(f"correlation must lie in [0, 1], got {correlation}")
    spread = champion * (1 - champion) * challenger * (1 - challenger)
    both = min(champion * challenger + correlation * math.sqrt(spread), champion, challenger)
    return Discordance(wins=challenger - both, losses=champion - both)


def paired_rate_rows(differ: Discordance, *, level: float = 0.95, power: float = 0.8) -> int:
    """Rows that tell two versions' rates apart by their discordant pairs (McNemar). Raises ValueError at no gain."""
    _check(level=level, power=power)
    gain = _gap(differ.gain)
    under_gap = max(differ.share - gain**2, 0.0)
    needed = _z(level) * math.sqrt(differ.share) + _z_power(power) * math.sqrt(under_gap)
    return math.ceil((needed / gain) ** 2)


def paired_mean_rows(gap: float, variance: float, *, level: float = 0.95, power: float = 0.8) -> int:
    """Rows that tell a mean difference `gap` from 0. variance: of one row's difference. Raises ValueError at 0."""
    _check(level=level, power=power)
    return math.ceil((_both(level, power) / _gap(gap)) ** 2 * variance)


def _z(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)


def _z_power(power: float) -> float:
    return NormalDist().inv_cdf(power)


def _both(level: float, power: float) -> float:
    return _z(level) + _z_power(power)


def _gap(gap: float) -> float:
    if gap == 0:
        raise ValueError("no number of rows tells apart what does not differ")
    return abs(gap)


def _check(*, share: float = 0.5, level: float, power: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if not 0.5 <= power < 1:
        raise ValueError(f"power must lie in [0.5, 1), got {power}")
