"""Which rows a model is fitted on, where there are more than there is time for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FitSample", "fit_sample"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSample:
    """Rows to fit on and how many rows of the world each stands for.

    rows: shape (m,), ascending; weight: shape (m,). Each class, or all of a regression, weighs as much as it does among
    all rows.
    """

    rows: Indices
    weight: Floats


def fit_sample(y: Floats, weight: Floats, *, most: int, seed: int, numeric: bool = False) -> FitSample:
    """All rows where they are at most `most`; else the rarer class whole and a seeded sample of the other.

    numeric: the target is a number, and the sample one of all rows alike, so that no outcome is favoured.
    y: shape (n,), 0 or 1, or numbers; weight: shape (n,). Where the rarer class alone is more than half of `most`, both
    are sampled, half and half. The sampled rows' weights are raised so that each class keeps its weight.
    """
    rows = np.arange(y.size)
    if y.size <= most:
        return FitSample(rows=rows, weight=weight)
    rng = np.random.default_rng(seed)
    if numeric:
        chosen = _drawn(rows, most, rng)
        return FitSample(rows=chosen, weight=weight[chosen] * (weight.sum() / weight[chosen].sum()))
    classes = sorted((rows[y == label] for label in (0, 1)), key=len)
    rare = classes[0] if len(classes[0]) <= most // 2 else _drawn(classes[0], most // 2, rng)
    common = _drawn(classes[1], most - len(rare), rng)
    raised = weight.copy()
    for drawn, whole in ((rare, classes[0]), (common, classes[1])):
        kept = weight[drawn].sum()
        if kept > 0:
            raised[drawn] *= weight[whole].sum() / kept
    chosen = np.sort(np.concatenate([rare, common]))
    return FitSample(rows=chosen, weight=raised[chosen])


def _drawn(rows: Indices, count: int, rng: np.random.Generator) -> Indices:
    return np.sort(rng.choice(rows, size=min(count, len(rows)), replace=False))
