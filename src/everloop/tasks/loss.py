"""Losses in [0, 1], row by row: what two models are compared by on the same rows, looked at whenever one likes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from everloop.project import Objective
from everloop.tasks.metrics import DEFAULT_COSTS, brier_losses, log_losses
from everloop.tasks.task import Array

__all__ = ["hits", "row_losses"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

# Log losses are cut here, so that they have a bound: a score of 1e-4 for what came true costs all there is.
CERTAINTY = 1e-4


def row_losses(y: Array, score: Array, decision: Array, *, objective: Objective | None = None) -> Floats:
    """One loss in [0, 1] per row, shape (n,), smaller is better; NaN for rows that say nothing about the objective.

    recall: 1 for a missed positive; negatives are NaN, so the mean is 1 − recall.
    accuracy, precision, f1, or no objective: 1 for a wrong decision.
    cost: the row's price between the lowest and the highest there is.
    log_loss: cut at 9.2 nats, as a share of that. brier: the squared error.
    roc_auc, average_precision: positives only, the share of negatives above them, and 1 − precision at their score,
    among these rows; so give whole cohorts. Neither depends on how scores are calibrated.

    The champion's minus the challenger's, where both are numbers, are the gains that stats.BoundedSequence takes.
    The objective's constraint is not in them: follow it apart, with `hits`.
    """
    truth, flagged = np.asarray(y).astype(bool), np.asarray(decision).astype(bool)
    match "accuracy" if objective is None else objective.metric:
        case "recall":
            return np.asarray(np.where(truth, ~flagged, np.nan), dtype=np.float64)
        case "cost":
            costs = None if objective is None else objective.costs
            return cost_losses(truth, flagged, costs=DEFAULT_COSTS if costs is None else costs)
        case "log_loss":
            return np.asarray(log_losses(truth, score) / -math.log(CERTAINTY), dtype=np.float64).clip(0.0, 1.0)
        case "brier":
            return brier_losses(truth, score)
        case "roc_auc" | "average_precision" as metric:
            return rank_losses(truth, np.asarray(score), precision=metric == "average_precision")
        case _:
            return np.asarray(truth != flagged, dtype=np.float64)


def cost_losses(truth: Array, flagged: Array, *, costs: Mapping[str, float]) -> Floats:
    """Each row's price, shape (n,), moved and scaled so that the cheapest kind of answer is 0 and the dearest 1."""
    prices = np.array([costs.get(kind, 0.0) for kind in ("tn", "fp", "fn", "tp")])
    span = prices.max() - prices.min()
    scaled = (prices - prices.min()) / span if span > 0 else np.zeros(4)
    return np.asarray(scaled[truth * 2 + flagged], dtype=np.float64)


def rank_losses(truth: Array, score: Array, *, precision: bool) -> Floats:
    """Per positive, the share of negatives above it (ties half), or 1 − precision at its score; NaN for negatives."""
    losses = np.full(truth.size, np.nan)
    if not truth.any() or truth.all():
        return losses
    negatives, positives = np.sort(score[~truth]), np.sort(score[truth])
    mine = score[truth]
    at_or_above = negatives.size - np.searchsorted(negatives, mine, side="left")
    above = negatives.size - np.searchsorted(negatives, mine, side="right")
    if precision:
        caught = positives.size - np.searchsorted(positives, mine, side="left")
        losses[truth] = at_or_above / (at_or_above + caught)
    else:
        losses[truth] = (at_or_above + above) / 2 / negatives.size
    return losses


def hits(metric: str, y: Array, decision: Array) -> Array:
    """1 and 0 per row that a share is taken over, in row order, shape (m,), bool; their mean is the metric.

    recall: caught or not, over positives. precision: positive or not, over flagged rows. accuracy: right or not.
    Their sum and count are what stats.binomial_drop_p and stats.RateDetector take; the values themselves go into
    stats.BoundedSequence(lower=0, upper=1). Raises ValueError for a metric that is not such a share.
    """
    truth, flagged = np.asarray(y).astype(bool), np.asarray(decision).astype(bool)
    match metric:
        case "recall":
            return np.asarray(flagged[truth])
        case "precision":
            return np.asarray(truth[flagged])
        case "accuracy":
            return np.asarray(truth == flagged)
    raise ValueError(f"{metric!r} is not a share of rows; accuracy, precision and recall are")
