"""Where to put the decision threshold, given an objective and validation rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from everloop.errors import NotEnoughData
from everloop.project import Condition, Objective
from everloop.tasks.metrics import CELL_METRICS, DEFAULT_COSTS, cost_per_row
from everloop.tasks.task import Array

__all__ = ["choose_threshold"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
OfCells = Callable[[Floats], Floats]


def choose_threshold(objective: Objective, y: Array, score: Array, weight: Array | None = None) -> float:
    """The threshold at which the objective is best on these rows: validation rows, never the test's.

    y, score, weight: shape (n,), as in Evaluation. The result is exact in the score's precision.
    - Under a constraint it must hold with one more error of average weight than was seen (one more false alarm for
      precision): picked as the best of many, the observed precision is optimistic, most of all at few positives.
      It stays an estimate; whether the bound holds is for the gate to ask, on test rows.
    - Where no threshold meets the constraint, the one that loses least: metric × share of the bound reached.
    - Ties go to the highest threshold: the fewest rows flagged.
    - It lies midway between the last flagged score and the next, so that scores a rounding error away do not flip.
    - What does not depend on a threshold (average_precision, roc_auc, log_loss, brier), and recall or precision
      without a constraint, which are best at "all" and at "one", take the threshold of the best f1.
    Raises NotEnoughData where one class is missing.
    """
    truth = np.asarray(y).astype(bool)
    if truth.size == 0 or truth.all() or not truth.any():
        raise NotEnoughData(
            f"a threshold needs positive and negative rows, got {int(truth.sum()):,} positive of {truth.size:,}; "
            "take a longer span"
        )
    weights = np.ones(truth.size) if weight is None else np.asarray(weight, dtype=np.float64)
    distinct, cells = cells_by_threshold(truth, np.asarray(score), weights)
    value, sign = metric_of_cells(objective)(cells), 1.0 if objective_maximises(objective) else -1.0
    reached = constraint_reached(objective.constraint, cells, truth, weights, costs=objective.costs)
    best = int(np.argmax(np.where(reached == 1.0, sign * value, -np.inf)))
    if reached[best] < 1.0:
        best = int(np.argmax(value * reached if sign > 0 else -value / np.maximum(reached, 1e-12)))
    return between(distinct, best)


def cells_by_threshold(truth: Array, score: Array, weights: Floats) -> tuple[Array, Floats]:
    """Distinct scores, best first, shape (d,); (tp, fp, fn, tn) with the first 0 … d of them flagged, (d + 1, 4)."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positive = np.add.reduceat(np.where(truth, weights, 0.0)[order], starts)
    negative = np.add.reduceat(np.where(truth, 0.0, weights)[order], starts)
    caught, alarms = np.r_[0.0, np.cumsum(positive)], np.r_[0.0, np.cumsum(negative)]
    return ranked[starts], np.column_stack([caught, alarms, caught[-1] - caught, alarms[-1] - alarms])


def objective_maximises(objective: Objective) -> bool:
    """Whether the metric that the threshold is chosen by is to be maximised."""
    return objective.metric != "cost"


def metric_of_cells(objective: Objective) -> OfCells:
    """The metric that the threshold is chosen by, over cells of shape (k, 4)."""
    if objective.metric == "cost":
        return cost_per_row(DEFAULT_COSTS if objective.costs is None else objective.costs)
    alone = objective.constraint is None and objective.metric in ("recall", "precision")
    return CELL_METRICS["f1"] if alone else CELL_METRICS.get(objective.metric, CELL_METRICS["f1"])


def constraint_reached(
    constraint: Condition | None,
    cells: Floats,
    truth: Array,
    weights: Floats,
    *,
    costs: Mapping[str, float] | None,
) -> Floats:
    """What share of the bound each threshold reaches with one more error of each kind, shape (k,); 1 where it holds."""
    if constraint is None or (constraint.metric not in CELL_METRICS and constraint.metric != "cost"):
        return np.ones(cells.shape[0])
    of = cost_per_row(DEFAULT_COSTS if costs is None else costs)
    of = CELL_METRICS.get(constraint.metric, of)
    worse = cells + np.array([0.0, weights[~truth].mean(), weights[truth].mean(), 0.0])
    value = of(worse)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = value / constraint.bound if constraint.op in (">=", ">") else constraint.bound / value
    holds = np.array([constraint.holds(float(v)) for v in value])
    return np.where(holds, 1.0, np.clip(np.nan_to_num(share, nan=0.0, posinf=0.0), 0.0, 1.0 - 1e-12))


def between(distinct: Array, flagged: int) -> float:
    """A threshold that flags the best `flagged` of the distinct scores, shape (d,) descending, and no other."""
    kind = distinct.dtype.type
    if flagged == 0:
        return float(np.nextafter(distinct[0], kind(np.inf)))
    last = distinct[flagged - 1]
    if flagged == distinct.size:
        return float(last)
    following = distinct[flagged]
    middle = kind((float(last) + float(following)) / 2)
    return float(middle if following < middle <= last else last)
