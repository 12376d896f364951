"""Missing values: one rule for every learner, in training and in the graph alike.

What is not finite is missing. A missing value becomes its column's fill: the median of the training rows. A learner
that reads missing values itself keeps them in the columns where training had some; in the others it has learnt nothing
about them, and each library would make something else of it (LightGBM: 0), so the median it is there too.
"""

from __future__ import annotations

import numpy as np

__all__ = ["filled", "fills"]


def fills(X: np.ndarray, *, reads_missing: bool) -> np.ndarray:
    """What a missing value becomes, by column: float32, shape (k,); NaN where the learner reads it itself.

    X: float32, shape (n, k). A column without a finite value is filled with 0.
    """
    values = np.zeros(X.shape[1], dtype=np.float32)
    for j in range(X.shape[1]):
        column = X[:, j]
        present = column[np.isfinite(column)]
        if reads_missing and len(present) < len(column):
            values[j] = np.nan
        elif len(present):
            values[j] = np.partition(present, len(present) // 2)[len(present) // 2]
    return values


def filled(X: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """`X` with what is not finite replaced by its column's fill; float32, shape (n, k)."""
    return np.where(np.isfinite(X), X, fill).astype(np.float32, copy=False)
