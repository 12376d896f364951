"""Losses of predicted numbers in [0, 1], row by row: an error is cut where it is as large as errors get."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from everloop.project import Objective
from everloop.tasks.numeric_metrics import large_enough
from everloop.tasks.task import Array

__all__ = ["error_bound", "numeric_losses"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

_FAR: Final = 0.99


def error_bound(y: Array) -> float:
    """How far outcomes lie from their median, all but one in a hundred; > 0, in the target's unit.

    y: shape (n,), n ≥ 1. A model that is further off on a row than that is as wrong there as one may be. Where nearly
    all outcomes are the same, it is the largest distance, else the outcomes' size, else 1.
    """
    outcomes = np.asarray(y, dtype=np.float64)
    away = np.abs(outcomes - np.median(outcomes))
    for found in (np.quantile(away, _FAR), away.max(), np.abs(outcomes).max()):
        if found > 0:
            return float(found)
    return 1.0


def numeric_losses(y: Array, score: Array, *, objective: Objective | None = None, bound: float) -> Floats:
    """One loss in [0, 1] per row, shape (n,), smaller is better; NaN for rows that say nothing about the objective.

    bound: of an error, as `error_bound` gives it for the rows that the champion was judged on.
    mae, pinball, or no objective: the error, cut at the bound, as a share of it. rmse, r2: its square.
    mape: the error as a share of the outcome, cut at 1; NaN where the outcome is near 0.
    The champion's minus the challenger's, where both are numbers, are the gains that stats.BoundedSequence takes.
    """
    if not bound > 0:
        raise ValueError(f"a bound of errors is above 0, not {bound}")
    outcomes = np.asarray(y, dtype=np.float64)
    error = np.abs(outcomes - np.asarray(score, dtype=np.float64))
    match "mae" if objective is None else objective.metric:
        case "mape":
            if outcomes.size == 0:
                return error
            kept = large_enough(outcomes)
            return np.where(kept, np.minimum(error / np.where(kept, np.abs(outcomes), 1.0), 1.0), np.nan)
        case "rmse" | "r2":
            return np.asarray(np.square(np.minimum(error / bound, 1.0)), dtype=np.float64)
        case _:
            return np.asarray(np.minimum(error / bound, 1.0), dtype=np.float64)
