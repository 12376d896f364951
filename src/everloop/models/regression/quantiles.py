"""Quantiles around a score, set on validation rows so that they cover what they say: conformalised quantile regression.

A booster is fitted for each quantile, or, where a learner has no such thing, quantiles of what the score leaves over
are taken in bins of the score. Each is then moved by a constant until the share of validation outcomes below it is its
own, and they are sorted, so that none crosses another. Sources: Romano, Patterson & Candès (2019); Chernozhukov,
Fernández-Val & Galichon (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everloop.models.regression.weighted import weighted_quantiles

__all__ = ["LEAST_ROWS", "ResidualBand", "shifts"]

LEAST_ROWS = 20
"""Validation rows below which no quantile can be set."""

_MOST_BINS = 10
_BIN_ROWS = 100
# Between scores as near as this, in usual distances of the target, a line would be too steep for float32.
_LEAST_GAP = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResidualBand:
    """How far quantiles lie from the score, as a function of it: straight lines between knots, level beyond them.

    knots: shape (m,), rising scores, m ≥ 1. offsets: shape (m, q).
    """

    knots: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray, score: np.ndarray, weight: np.ndarray, levels: Sequence[float]) -> ResidualBand:
        """The band of rows that were not fitted on; y, score, weight: shape (n,), n ≥ 1.

        Bins of the score hold 100 rows at least, and are ten at most; a knot is the middle score of its bin.
        """
        count = max(1, min(_MOST_BINS, len(y) // _BIN_ROWS))
        parts = np.array_split(np.argsort(score, kind="stable"), count)
        knots: list[float] = []
        offsets: list[np.ndarray] = []
        for rows in parts:
            middle = float(np.median(score[rows]))
            if not knots or middle - knots[-1] >= _LEAST_GAP:
                knots.append(middle)
                offsets.append(weighted_quantiles(y[rows] - score[rows], weight[rows], levels))
        return cls(knots=np.array(knots), offsets=np.array(offsets))

    def around(self, score: np.ndarray) -> np.ndarray:
        """The quantiles of rows with these scores, shape (n, q)."""
        columns = [np.interp(score, self.knots, column) for column in self.offsets.T]
        return np.asarray(np.asarray(score, dtype=np.float64)[:, None] + np.column_stack(columns), dtype=np.float64)


def shifts(y: np.ndarray, quantiles: np.ndarray, weight: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """What each quantile is moved by, shape (q,), so that its share of these outcomes lies below it.

    y, weight: shape (n,), n ≥ 1; quantiles: shape (n, q), of rows that they were not fitted on.
    """
    moved = [
        weighted_quantiles(y - column, weight, (level,))[0] for column, level in zip(quantiles.T, levels, strict=True)
    ]
    return np.array(moved)
