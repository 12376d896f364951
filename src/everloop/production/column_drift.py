"""How far the columns of these rows are from those of the last training's, column by column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from everloop.data import EVENT_TIME, SCORE, Baseline, BaselineColumn
from everloop.stats import effective_n, ks, psi, total_variation

__all__ = ["ColumnDrift", "column_drifts"]

# The 95 % point of the largest gap between two samples of one distribution. Source: Smirnov (1948).
_KS_CRITICAL = 1.358


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """One column held against the reference, each distance with what chance alone gives to it.

    psi: in nats, less its expectation where nothing changed; psi_noise: that expectation. ks: of numbers the
    Kolmogorov-Smirnov distance, of texts the total variation, in [0, 1]; ks_noise: chance reaches it one time in 20.
    """

    column: str
    psi: float
    psi_noise: float
    ks: float
    ks_noise: float

    def distance(self, by: str) -> float:
        """The distance that a gate asks for."""
        return self.ks if by == "ks" else self.psi

    def noise(self, by: str) -> float:
        """What chance gives to it."""
        return self.ks_noise if by == "ks" else self.psi_noise


def column_drifts(baseline: Baseline, frame: pl.DataFrame, *, weight: np.ndarray | None = None) -> list[ColumnDrift]:
    """Every column that the baseline and the frame both have, the score left out.

    frame: as `data.profiled_frame` gives it. weight: shape (rows,), where the baseline is one of weighted rows.
    Columns without a known value on either side are left out.
    """
    profile = baseline.profile(frame, weight=weight)
    rows = float(frame.height) if weight is None else effective_n(weight)
    chance = 1 / max(baseline.effective_rows, 1.0) + 1 / max(rows, 1.0)
    found = []
    for column in baseline.columns:
        if column.name not in frame.columns or column.name in (SCORE, EVENT_TIME):
            continue
        before = _cells(column, column.counts, column.nulls)
        now = _cells(column, profile.counts[column.name], profile.nulls[column.name])
        if before.sum() > 0 and now.sum() > 0:
            found.append(_drift(column, before, now, chance))
    return found


def _cells(column: BaselineColumn, counts: Sequence[float] | np.ndarray, nulls: float) -> np.ndarray:
    """Counts over the column's coarse bins, the missing last, shape (bins + 1,)."""
    return np.append(column.coarsened(np.asarray(counts, dtype=np.float64)), nulls)


def _drift(column: BaselineColumn, before: np.ndarray, now: np.ndarray, chance: float) -> ColumnDrift:
    used = int(((before + now) > 0).sum())
    noise = (used - 1) * chance  # of a χ² with one degree of freedom less than there are bins
    distance = ks if column.is_number else total_variation
    return ColumnDrift(
        column=column.name,
        psi=max(0.0, psi(before, now) - noise),
        psi_noise=noise,
        ks=distance(before, now),
        ks_noise=_KS_CRITICAL * math.sqrt(chance),
    )
