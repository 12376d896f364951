"""How far live counts are from the reference's, over the same bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from everloop.errors import NotEnoughData

__all__ = ["ks", "psi", "total_variation"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


def pair(reference: ArrayLike, live: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float counts, checked: one shape (bins,), nothing negative or NaN, at least one row on each side."""
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(live, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"counts must share one shape (bins,), got {first.shape} and {second.shape}")
    if not (np.all(first >= 0) and np.all(second >= 0)):
        raise ValueError("counts must not be negative or NaN")
    if first.sum() <= 0 or second.sum() <= 0:
        raise NotEnoughData("a distance needs rows on both sides, and one has none; take a longer window")
    return first, second


def shares(reference: ArrayLike, live: ArrayLike) -> tuple[Floats, Floats]:
    """Both as shares that add up to 1."""
    first, second = pair(reference, live)
    return first / first.sum(), second / second.sum()


def psi(reference: ArrayLike, live: ArrayLike, *, prior: float = 0.5) -> float:
    """Population stability index, in nats; 0 for equal shares, and the same both ways round.

    reference, live: shape (bins,), counts over the same bins.
    prior: pseudo-rows added to every bin in proportion to the pooled shares, > 0, so that an empty bin stays finite.
    Raises NotEnoughData when a side has no rows. Source: Wu & Olson (2010).
    """
    if prior <= 0:
        raise ValueError(f"prior must be above 0, got {prior}")
    first, second = pair(reference, live)
    pooled = first / first.sum() + second / second.sum()
    used = pooled > 0
    first, second, extra = first[used], second[used], prior * pooled[used] / 2 * used.sum()
    p = (first + extra) / (first + extra).sum()
    q = (second + extra) / (second + extra).sum()
    return float(((q - p) * np.log(q / p)).sum())


def ks(reference: ArrayLike, live: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance in [0, 1]: the largest gap between the two cumulative shares.

    reference, live: shape (bins,), counts over the same ordered bins; exact up to what one bin holds.
    Raises NotEnoughData when a side has no rows.
    """
    p, q = shares(reference, live)
    return min(1.0, float(np.abs(np.cumsum(q) - np.cumsum(p)).max()))


def total_variation(reference: ArrayLike, live: ArrayLike) -> float:
    """Total variation in [0, 1]: the share of rows that would have to move. For categories; order does not matter.

    reference, live: shape (bins,), counts. Raises NotEnoughData when a side has no rows.
    """
    p, q = shares(reference, live)
    return min(1.0, float(np.abs(q - p).sum() / 2))
