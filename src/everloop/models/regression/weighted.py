"""Quantiles of weighted values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["weighted_quantiles"]


def weighted_quantiles(values: np.ndarray, weight: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """The quantiles at `levels`, shape (q,), of values of shape (n,), n ≥ 1; weight: shape (n,), > 0.

    A new value falls below the k-th of n with a chance of k / (n + 1), whatever the distribution: so the quantile at
    `level` is at the place level · (n + 1), and an interval of two covers what it says on rows that are yet to come.
    With weights, shares of the weight take the place of ranks. Source: Weibull (1939).
    """
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order]) / (weight.sum() + weight.mean())
    return np.interp(np.asarray(levels, dtype=np.float64), share, np.asarray(values, dtype=np.float64)[order])
