"""Which of many checks may be named."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["holm"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


def checked(p_values: ArrayLike) -> Floats:
    """`p_values` as shape (k,), k ≥ 1, each in [0, 1]; NaN (a check that could not be asked) counts as 1."""
    values = np.asarray(p_values, dtype=np.float64)
    values = np.where(np.isnan(values), 1.0, values)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"p-values must have shape (k,), k ≥ 1, got {values.shape}")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"p-values must lie in [0, 1], got [{values.min()}, {values.max()}]")
    return values


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values, shape (k,): those at most α may be named, wrong in any with chance α. Source: Holm (1979)."""
    values = checked(p_values)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (values.size - np.arange(values.size)))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted
