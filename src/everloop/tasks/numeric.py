"""Predicted numbers, and quantiles around them, held against what turned out to be true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from everloop.errors import NotEnoughData
from everloop.stats import Interval, effective_n, mean_interval, wilson
from everloop.tasks.numeric_metrics import NUMERIC_METRICS, row_parts
from everloop.tasks.task import Array

__all__ = ["NumericEvaluation", "paired_numeric_interval"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumericEvaluation:
    """Scores, truth, weights and, where the model gives them, quantiles.

    y, score: shape (n,), in the target's unit. weight: shape (n,), ≥ 0, or None for 1 each.
    quantiles: shape (n, q) at `levels`, rising, each in (0, 1); None where the model gives none.
    Raises NotEnoughData without rows, ValueError for arrays that do not fit together.
    """

    y: Array
    score: Array
    weight: Array | None = None
    quantiles: Array | None = None
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        y, score = np.asarray(self.y, dtype=np.float64), np.asarray(self.score, dtype=np.float64)
        if y.size == 0:
            raise NotEnoughData("there are no rows to evaluate; take a longer span")
        if y.ndim != 1 or score.shape != y.shape:
            raise ValueError(f"y and score must share one shape (n,), got {y.shape} and {score.shape}")
        if not (np.isfinite(y).all() and np.isfinite(score).all()):
            raise ValueError("y and score must be finite")
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "score", score)
        if self.weight is not None:
            weight = np.asarray(self.weight, dtype=np.float64)
            if weight.shape != y.shape or not (weight >= 0).all() or not weight.sum() > 0:
                raise ValueError(f"weights must be ≥ 0, not all 0, of shape {y.shape}, got shape {weight.shape}")
            object.__setattr__(self, "weight", weight)
        if self.quantiles is not None and np.shape(self.quantiles) != (y.size, len(self.levels)):
            raise ValueError(f"quantiles must be of shape {(y.size, len(self.levels))}, got {np.shape(self.quantiles)}")

    @property
    def rows(self) -> int:
        """Rows judged."""
        return int(self.y.size)

    @property
    def positives(self) -> int:
        """What the estimates rest on: every row."""
        return self.rows

    @property
    def weights(self) -> Floats:
        """Shape (n,), 1 each where none were given."""
        return np.ones(self.y.size) if self.weight is None else self.weight

    @property
    def threshold(self) -> None:
        """None: a number decides nothing."""
        return None

    def of_rows(self, rows: Array) -> NumericEvaluation:
        """The evaluation of some of its rows: their places, or shape (n,) of bool."""
        return replace(
            self,
            y=self.y[rows],
            score=self.score[rows],
            weight=None if self.weight is None else self.weight[rows],
            quantiles=None if self.quantiles is None else self.quantiles[rows],
        )

    def value(self, metric: str) -> float:
        """The metric's value. Raises NotEnoughData where the rows give none, ValueError for an unknown metric."""
        values, counted = self._parts(metric)
        return float(np.average(values[counted], weights=self.weights[counted]))

    def interval(self, metric: str, *, seed: int = 0, level: float = 0.95) -> Interval:
        """The metric with its interval, normal around the linearised mean; the seed is not used."""
        values, counted = self._parts(metric)
        found = mean_interval(values[counted], weight=self.weights[counted], level=level)
        if metric == "r2":
            return replace(found, high=max(found.point, min(1.0, found.high)))
        return replace(found, low=max(0.0, found.low))  # no error is below 0, though a normal interval may be

    def coverage(self, *, level: float = 0.95) -> Interval | None:
        """The share of outcomes from the lowest quantile to the highest, with its interval; None without two."""
        if self.quantiles is None or len(self.levels) < 2:
            return None
        inside = (self.y >= self.quantiles[:, 0]) & (self.y <= self.quantiles[:, -1])
        n = effective_n(self.weights)
        return wilson(min(n, float(np.average(inside, weights=self.weights)) * n), n, level=level)

    def _parts(self, metric: str) -> tuple[Floats, Array]:
        if metric not in NUMERIC_METRICS:
            raise ValueError(f"{metric!r} is not a metric of regression; there are {', '.join(NUMERIC_METRICS)}")
        values, counted = row_parts(
            metric, self.y, self.score, self.weights, quantiles=self.quantiles, levels=self.levels
        )
        counted = counted & (self.weights > 0)
        if metric == "r2" and np.isnan(values).any():
            raise NotEnoughData(
                f"r2 needs outcomes that differ, and all {self.rows:,} are {self.y[0]:g}; take a longer span"
            )
        if not counted.any():
            raise NotEnoughData(f"{metric} needs outcomes other than 0, and all {self.rows:,} are; take a longer span")
        return values, counted


def paired_numeric_interval(
    metric: str, first: NumericEvaluation, second: NumericEvaluation, *, level: float = 0.95
) -> Interval:
    """The interval of `first`'s metric minus `second`'s over the same rows: what both share cancels out.

    Raises ValueError where the two do not judge the same rows. One look only: over growing data use
    stats.BoundedSequence.
    """
    if not np.array_equal(first.y, second.y) or not np.array_equal(first.weights, second.weights):
        raise ValueError("a paired difference needs the same rows, truth and weights on both sides")
    mine, counted = first._parts(metric)
    theirs, _ = second._parts(metric)
    return mean_interval((mine - theirs)[counted], weight=first.weights[counted], level=level)
