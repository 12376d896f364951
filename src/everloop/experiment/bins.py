"""Rows in bins of about one score."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["bins_by_score"]

Array = np.ndarray[Any, np.dtype[Any]]


def bins_by_score(score: Array, *measures: Array, bins: int) -> list[Array]:
    """Places of rows, by rising score, in at most so many bins, each with about as much of every measure as the others.

    score: shape (n,); measures: shape (n,) each, at least one, not negative. Rows of one score are in one bin.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    middle = np.mean([_middles(measure[order], starts) for measure in measures], axis=0)
    place = np.minimum((bins * middle).astype(np.int64), bins - 1)
    of_row = np.repeat(place, np.diff(np.r_[starts, score.size]))
    return [order[of_row == one] for one in np.unique(place)]


def _middles(measure: Array, starts: Array) -> Array:
    """Where the middle of each group of rows lies in all of the measure, in [0, 1]; 0 where there is none of it."""
    of_group = np.add.reduceat(measure, starts)
    return np.asarray((np.cumsum(of_group) - of_group / 2) / max(float(of_group.sum()), np.finfo(np.float64).tiny))
