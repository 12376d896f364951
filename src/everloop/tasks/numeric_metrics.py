"""The metrics of regression, weighted, in numpy. Errors are in the target's own unit.

Held against scikit-learn in the tests. Every metric is a smooth function of means over rows, so that one row's part in
it (its influence) gives the standard error, alone and paired, without a bootstrap. Source: Huber & Ronchetti (2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from everloop.tasks.task import Array, Metric

__all__ = ["NUMERIC_METRICS", "TINY_SHARE", "large_enough", "pinball_losses", "row_parts"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

TINY_SHARE: Final = 0.01
"""Outcomes below this share of the median outcome have no relative error worth the name, and mape leaves them out."""

NUMERIC_METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        name: Metric(name=name, maximise=maximise, of_decisions=False, says=says)
        for name, maximise, says in (
            ("mae", False, "mean absolute error, in the target's unit"),
            ("rmse", False, "root of the mean squared error, in the target's unit"),
            ("mape", False, "mean absolute error as a share of the outcome; outcomes near 0 are left out"),
            ("r2", True, "share of the outcomes' variance that is explained"),
            ("pinball", False, "mean loss of the quantiles, in the target's unit; half of mae where there are none"),
        )
    }
)


def large_enough(y: Floats) -> Array:
    """Rows whose relative error is asked, shape (n,), bool: |y| is at least `TINY_SHARE` of the median |y|, and not 0.

    A trip of no minutes at all would else outweigh every other one.
    """
    size = np.abs(y)
    return np.asarray((size >= TINY_SHARE * np.median(size)) & (size > 0))


def pinball_losses(y: Floats, quantiles: Array, levels: Sequence[float]) -> Floats:
    """Each row's loss, shape (n,), the mean over quantiles of shape (n, q) at `levels`, shape (q,), each in (0, 1).

    An outcome above the quantile costs `level` a unit, one below it 1 − level. Source: Koenker & Bassett (1978).
    """
    above = y[:, None] - np.asarray(quantiles, dtype=np.float64)
    at = np.asarray(levels, dtype=np.float64)
    return np.asarray(np.maximum(at * above, (at - 1.0) * above).mean(axis=1), dtype=np.float64)


def row_parts(
    metric: str, y: Floats, score: Floats, weight: Floats, *, quantiles: Array | None, levels: Sequence[float]
) -> tuple[Floats, Array]:
    """A value per row, shape (n,), whose weighted mean over the rows that count (bool, shape (n,)) is the metric.

    Their spread is that of the metric's estimate: of mae, mape and pinball they are the rows' losses, of rmse and r2
    the linearised parts. r2 is NaN where every outcome is the same.
    """
    every = np.ones(y.size, dtype=bool)
    error = y - score
    match metric:
        case "mae":
            return np.abs(error), every
        case "mape":
            kept = large_enough(y)
            return np.abs(error) / np.where(kept, np.abs(y), 1.0), kept
        case "pinball":
            return (np.abs(error) / 2 if quantiles is None else pinball_losses(y, quantiles, levels)), every
        case "rmse":
            square = np.square(error)
            mean = float(np.average(square, weights=weight))
            root = mean**0.5
            return (root + (square - mean) / (2 * root) if root > 0 else np.zeros(y.size)), every
        case _:
            square, spread = np.square(error), np.square(y - np.average(y, weights=weight))
            whole = float(np.average(spread, weights=weight))
            if whole == 0:
                return np.full(y.size, np.nan), every
            lost = float(np.average(square, weights=weight)) / whole
            return 1.0 - lost - (square - lost * spread) / whole, every
