"""A number with the range that the data leaves it, and the ways to get one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

__all__ = [
    "Interval",
    "bootstrap",
    "bootstrap_cells",
    "effective_n",
    "from_replicates",
    "mean_interval",
    "wilson",
]

Indices = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """`point` with its `level` interval [low, high]. All in the unit of the metric."""

    low: float
    point: float
    high: float
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"an interval's low end {self.low} must not be above its high end {self.high}")
        if not 0 < self.level < 1:
            raise ValueError(f"an interval's level is between 0 and 1, not {self.level}")

    def __str__(self) -> str:
        return f"{self.point:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def __format__(self, spec: str) -> str:
        """`f"{interval:.2f}"` formats each of the three numbers so."""
        if not spec:
            return str(self)
        return f"{self.point:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    @property
    def width(self) -> float:
        """high − low."""
        return self.high - self.low

    def holds(self, value: float) -> bool:
        """Whether `value` lies within, ends included."""
        return self.low <= value <= self.high

    def to_dict(self) -> dict[str, float]:
        """Plain JSON; `from_dict` reads it back."""
        return {"low": self.low, "point": self.point, "high": self.high, "level": self.level}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Interval:
        """What `to_dict` wrote."""
        return cls(low=record["low"], point=record["point"], high=record["high"], level=record.get("level", 0.95))


def wilson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """The score interval of a share: `successes` of `n`, both ≥ 0; `n` may be an effective count, not whole.

    With n = 0 nothing is known: [0, 1] around 0.5. Raises ValueError when successes are outside [0, n].
    Source: Wilson (1927).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in [0, {n}], got {successes}")
    if n == 0:
        return Interval(low=0.0, point=0.5, high=1.0, level=level)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low=min(low, share), point=share, high=max(high, share), level=level)


def from_replicates(point: float, replicates: Floats, *, level: float = 0.95) -> Interval:
    """The percentile interval of bootstrap `replicates`, shape (k,), around `point`; NaN replicates are left out.

    The point is always inside, also where the replicates are biased away from it.
    Raises ValueError when no replicate is a number. Source: Efron & Tibshirani (1993), chapter 13.
    """
    known = replicates[np.isfinite(replicates)]
    if known.size == 0:
        raise ValueError("no bootstrap replicate gave a number")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=min(float(low), point), point=point, high=max(float(high), point), level=level)


def resample(rng: np.random.Generator, n: int, strata: Indices | None) -> Indices:
    """Row numbers drawn with replacement, shape (n,); within each stratum where `strata`, shape (n,), is given."""
    if strata is None:
        return rng.integers(0, n, size=n)
    drawn = np.empty(n, dtype=np.int64)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        drawn[rows] = rows[rng.integers(0, rows.size, size=rows.size)]
    return drawn


def bootstrap(
    statistic: Callable[[Indices], float],
    n: int,
    *,
    seed: int,
    strata: Indices | None = None,
    replicates: int = 1000,
    level: float = 0.95,
) -> Interval:
    """The percentile bootstrap of any statistic of `n` rows.

    statistic: takes row numbers, shape (n,), with repeats, gives a number (NaN where it has none).
    strata: shape (n,), labels within which rows are drawn, so that rare positives keep their count.
    It calls `statistic` `replicates` times: for metrics of a threshold use `bootstrap_cells`, which needs no rows.
    """
    if n < 1:
        raise ValueError(f"a bootstrap needs at least one row, got {n}")
    rng = np.random.default_rng(seed)
    values = np.array([statistic(resample(rng, n, strata)) for _ in range(replicates)])
    return from_replicates(statistic(np.arange(n)), values, level=level)


def bootstrap_cells(
    metric: Callable[[Floats], Floats],
    sums: Floats,
    *,
    seed: int,
    squares: Floats | None = None,
    replicates: int = 1000,
    level: float = 0.95,
) -> Interval:
    """The Poisson bootstrap of a metric that needs only sums of weights per cell, such as tp, fp, fn, tn.

    metric: takes cell sums, shape (k, cells), gives shape (k,), NaN where it has no value.
    sums, squares: shape (cells,), Σw and Σw² of the rows in each cell; without `squares` every row weighs 1.
    Each cell is drawn as a Poisson count scaled to the mean and variance that its rows have under one Poisson(1)
    draw each: exact for equal weights within a cell. Time does not depend on rows: 1000 replicates take
    milliseconds. Source: Hanley & MacGibbon (2006), "Creating non-parametric bootstrap samples using Poisson
    frequencies".
    """
    sums = np.asarray(sums, dtype=np.float64)
    spread = sums if squares is None else np.asarray(squares, dtype=np.float64)
    filled = sums > 0
    scale = np.divide(spread, sums, out=np.ones_like(sums), where=filled)
    rows = np.where(filled, sums / scale, 0.0)
    drawn = np.random.default_rng(seed).poisson(rows, size=(replicates, sums.size)).astype(np.float64) * scale
    return from_replicates(float(metric(sums[None, :])[0]), metric(drawn), level=level)


def effective_n(weight: Floats) -> float:
    """How many equally weighted rows say as much: (Σw)² / Σw². weight: shape (n,), ≥ 0. Source: Kish (1965)."""
    squares = float(np.square(weight).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def mean_interval(values: Floats, *, weight: Floats | None = None, level: float = 0.95) -> Interval:
    """The weighted mean of `values`, shape (n,), n ≥ 1, with its normal interval (linearised standard error).

    With one row the interval is as wide as nothing known: the point alone, both ends infinite.
    """
    if values.size == 0:
        raise ValueError("a mean needs at least one value")
    used = np.ones(values.size) if weight is None else np.asarray(weight, dtype=np.float64)
    total = float(used.sum())
    mean = float((used * values).sum() / total)
    n = effective_n(used)
    if n < 2:
        return Interval(low=-math.inf, point=mean, high=math.inf, level=level)
    error = math.sqrt(float(np.square(used * (values - mean)).sum()) / total**2 * n / (n - 1))
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    return Interval(low=mean - half, point=mean, high=mean + half, level=level)
