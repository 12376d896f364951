"""Rows with a signal planted in them, and all that makes real ones awkward."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["COLUMNS", "planted_categories", "planted_numbers", "planted_rows"]

COLUMNS: Final = 6


def planted_rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """X, float32, shape (count, 6), and y, int8, shape (count,), about a quarter of it positive; count ≥ 2.

    A tenth of the values is missing, in every column but the last; the first is heavy-tailed, one value is infinite.
    What is positive depends on the second column along a line, and on the third and the fourth together.
    """
    rng = np.random.default_rng(seed)
    X, signal = _signal(rng, count)
    y = (rng.random(count) < 1 / (1 + np.exp(-(signal - 2)))).astype(np.int8)
    return _awkward(rng, X), y


def planted_numbers(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """As `planted_rows`, with y a number around 20, float64, that hangs on the same columns."""
    rng = np.random.default_rng(seed)
    X, signal = _signal(rng, count)
    y = 20 + 4 * signal + rng.normal(size=count)
    return _awkward(rng, X), y


def planted_categories(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """X, float32, shape (count, 2), whose first column holds places of four categories, and how high each row lies.

    high: float64, shape (count,), in (0, 1): 0.1, 0.9, 0.1, 0.9 by category, so that their order says nothing.
    """
    rng = np.random.default_rng(seed)
    place = rng.integers(0, 4, count)
    return np.column_stack([place, rng.normal(size=count)]).astype(np.float32), np.where(place % 2 == 1, 0.9, 0.1)


def _signal(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    X = rng.normal(size=(count, COLUMNS)).astype(np.float32)
    X[:, 0] = np.exp(2 * X[:, 0]) * 50
    return X, 1.5 * X[:, 1] + X[:, 2] * X[:, 3]


def _awkward(rng: np.random.Generator, X: np.ndarray) -> np.ndarray:
    holes = rng.random(X.shape) < 0.1
    holes[:, 5] = False  # complete in training
    X[holes] = np.nan
    X[1, 2] = np.inf
    return X
