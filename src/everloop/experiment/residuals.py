"""What a regression's predictions missed by: over what was predicted, and how often by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.experiment.bins import bins_by_score

__all__ = ["QUANTILES", "ResidualBin", "Residuals", "bars", "residuals"]

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)

_BINS: Final = 20
_BARS: Final = 40
_TAIL: Final = 0.005

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualBin:
    """Rows of about one prediction: its mean, and the `QUANTILES` of outcome − prediction, in the target's unit."""

    predicted: float
    quantiles: tuple[float, ...]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """Outcome − prediction, in the target's unit.

    bins: by rising prediction, each with about as much weight. edges: shape (k + 1,), of the histogram; shares:
    shape (k,), of the weight; what lies outside of the edges is counted in the first and the last.
    """

    bins: tuple[ResidualBin, ...]
    edges: tuple[float, ...]
    shares: tuple[float, ...]


def residuals(y: Array, score: Array, weight: Array, *, edges: tuple[float, ...] | None = None) -> Residuals:
    """The residuals of these rows, shape (n,) each. edges: another trial's, so that two can be laid over each other."""
    missed = np.asarray(y, dtype=np.float64) - np.asarray(score, dtype=np.float64)
    weights = np.asarray(weight, dtype=np.float64)
    found, shares = bars(missed, weights, edges=edges)
    return Residuals(bins=_bins(missed, np.asarray(score, dtype=np.float64), weights), edges=found, shares=shares)


def bars(
    values: Array, weights: Array, *, edges: tuple[float, ...] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The edges of a histogram, shape (k + 1,), and the share of the weight in its bars, shape (k,).

    What lies outside of the edges, of chosen ones 1 in 200 at each end, is counted in the outermost bars.
    """
    chosen = np.array(_edges(values, weights) if edges is None else edges)
    counts, _ = np.histogram(np.clip(values, chosen[0], chosen[-1]), bins=chosen, weights=weights)
    return tuple(chosen.tolist()), tuple((counts / weights.sum()).tolist())


def _edges(values: Array, weights: Array) -> Array:
    low, high = _quantiles(values, weights, (_TAIL, 1 - _TAIL))
    reach = max(abs(low), abs(high)) or 1.0
    return np.linspace(low, high, _BARS + 1) if high > low else np.linspace(-reach, reach, _BARS + 1)


def _bins(missed: Array, score: Array, weights: Array) -> tuple[ResidualBin, ...]:
    return tuple(
        ResidualBin(
            predicted=float(np.average(score[rows], weights=weights[rows])),
            quantiles=_quantiles(missed[rows], weights[rows], QUANTILES),
            rows=int(rows.size),
        )
        for rows in bins_by_score(score, weights, bins=_BINS)
    )


def _quantiles(values: Array, weights: Array, levels: tuple[float, ...]) -> tuple[float, ...]:
    """The least values at or below which each level's share of the weight lies."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    places = np.searchsorted(reached, np.array(levels) - 1e-12).clip(0, values.size - 1)
    return tuple(float(value) for value in values[order][places])
