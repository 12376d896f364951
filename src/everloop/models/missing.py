"""Missing values: one rule for every learner, in training and in the graph alike.

What is not finite is missing. A missing value becomes its column's fill: the median of the training rows. A learner
that reads missing values itself keeps them in the columns where training had some; in the others it has learnt nothing
about them, and each library would make something else of it (LightGBM: 0), so the median it is there too.

A category that is missing, or that no training row had, is no number in the middle of others. It is -1, none of the
categories, where training had rows without one to learn from or where every category has a column of its own; else, for
trees that know nothing of it, the most frequent category.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

__all__ = ["NO_CATEGORY", "filled", "fills"]


NO_CATEGORY: Final = -1.0
_COLUMNS: Final = 4  # at once for each thread: a few copies of a column, not a copy of all rows
_BLOCK_ROWS: Final = 4096


def fills(
    X: np.ndarray,
    *,
    reads_missing: bool,
    categories: Collection[int] = (),
    one_hot: bool = False,
    threads: int = 1,
) -> np.ndarray:
    """What a missing value becomes, by column: float32, shape (k,); NaN where the learner reads it itself.

    X: float32, shape (n, k). A column without a finite value is filled with 0. categories: places of columns that hold
    categories; one_hot: whether the learner makes a column of each. threads: they change nothing.
    """
    groups = [range(start, min(start + _COLUMNS, X.shape[1])) for start in range(0, X.shape[1], _COLUMNS)]
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(
            lambda group: [
                _fill(column, reads_missing, place in categories, one_hot)
                for place, column in zip(group, _columns(X, group), strict=True)
            ],
            groups,
        )
        return np.array([fill for fills in found for fill in fills], dtype=np.float32)


def _columns(X: np.ndarray, group: range) -> np.ndarray:
    """Some columns of `X`, each in one piece: float32, shape (g, n). Block by block, as its rows lie in the cache."""
    columns = np.empty((len(group), len(X)), dtype=np.float32)
    for start in range(0, len(X), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        columns[:, rows] = X[rows, group.start : group.stop].T
    return columns


def _fill(column: np.ndarray, reads_missing: bool, holds_categories: bool, one_hot: bool) -> float:
    """As `fills`, of one column."""
    finite = np.isfinite(column)
    present = column if finite.all() else column[finite]
    if reads_missing and len(present) < len(column):
        return np.nan
    if holds_categories:
        is_told = one_hot or len(present) < len(column)
        return NO_CATEGORY if is_told else float(np.bincount(present.astype(np.int64)).argmax())
    if len(present) == 0:
        return 0.0
    place = len(present) // 2  # the upper one of the two in the middle
    return float(np.partition(present, place)[place])


def filled(X: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """`X` with what is not finite replaced by its column's fill; float32, shape (n, k). `X` itself if that is none."""
    stays = np.isfinite(X)
    if stays.all():
        return X
    stays |= np.isnan(X) & np.isnan(fill)
    return X if stays.all() else np.where(stays, X, fill).astype(np.float32, copy=False)
