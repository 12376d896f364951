"""Rows with a signal planted in them, and all that makes real ones awkward."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["COLUMNS", "planted_rows"]

COLUMNS: Final = 6


def planted_rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """X, float32, shape (count, 6), and y, int8, shape (count,), about a quarter of it positive; count ≥ 2.

    A tenth of the values is missing, in every column but the last; the first is heavy-tailed, one value is infinite.
    What is positive depends on the second column along a line, and on the third and the fourth together.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, COLUMNS)).astype(np.float32)
    X[:, 0] = np.exp(2 * X[:, 0]) * 50
    chance = 1 / (1 + np.exp(-(1.5 * X[:, 1] + X[:, 2] * X[:, 3] - 2)))
    y = (rng.random(count) < chance).astype(np.int8)
    holes = rng.random(X.shape) < 0.1
    holes[:, 5] = False  # complete in training
    X[holes] = np.nan
    X[1, 2] = np.inf
    return X, y
