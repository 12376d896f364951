"""What a trial's scores are worth at every threshold: curves of at most 300 points, weights and ties counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from everloop.experiment.bins import bins_by_score
from everloop.experiment.judging import cells_values, of_cells
from everloop.project import Objective
from everloop.stats import effective_n, wilson
from everloop.tasks import Evaluation
from everloop.tasks.metrics import CELL_METRICS
from everloop.tasks.threshold import cells_by_threshold, metric_of_cells

__all__ = ["POINTS", "Calibrated", "DecisionCurves", "Line", "Mark", "decision_curves"]

POINTS: Final = 300
"""Of a curve, at most."""

_BINS: Final = 10
_MANY_ROWS: Final = 5_000

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points in the order of the curve; x and y of equal length."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    @property
    def points(self) -> list[tuple[float, float]]:
        """Pairs of x and y."""
        return list(zip(self.x, self.y, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where the chosen threshold lies on the curves. false_alarms: the share of the negatives that are flagged."""

    threshold: float
    recall: float
    precision: float
    false_alarms: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Rows of about one score: their mean score, and what share of them was positive, with its 95 % Wilson interval."""

    score: float
    low: float
    share: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCurves:
    """One trial's scores over thresholds.

    precision_recall: recall → precision; roc: share of negatives flagged → recall; over_threshold: threshold →
    `value_of`, a metric or the whole objective. calibration: by rising score; a bin holds about as many rows and
    promised positives as the others, in sum.
    chosen: None without a threshold.
    """

    precision_recall: Line
    roc: Line
    over_threshold: Line
    value_of: str
    calibration: tuple[Calibrated, ...]
    chosen: Mark | None


def decision_curves(
    objective: Objective,
    y: Array,
    score: Array,
    weight: Array,
    *,
    threshold: float | None,
    probability: Array | None = None,
) -> DecisionCurves:
    """The curves of these rows; y: shape (n,), 0 or 1, both among them; score, weight: shape (n,).

    probability: what calibration is drawn of, shape (n,), where it is not the score.
    """
    truth = np.asarray(y).astype(bool)
    distinct, cells = cells_by_threshold(truth, np.asarray(score), np.asarray(weight, dtype=np.float64))
    value, value_of = _value(objective, cells)
    recall, precision, alarms = _shares(cells)
    flagged = np.log1p(np.arange(len(cells)))
    # with nothing flagged precision is not known: the curve begins as it goes on
    ranked = 1 + _thinned(recall[1:], flagged[1:])
    swept = 1 + _thinned(-distinct.astype(np.float64), flagged[1:])
    both = _thinned(recall, alarms)
    return DecisionCurves(
        precision_recall=_line(np.r_[0.0, recall[ranked]], np.r_[precision[1], precision[ranked]]),
        roc=_line(alarms[both], recall[both]),
        over_threshold=_line(distinct[swept - 1][::-1], value[swept][::-1]),
        value_of=value_of,
        calibration=_calibration(
            truth, np.asarray(score if probability is None else probability), np.asarray(weight, dtype=np.float64)
        ),
        chosen=None if threshold is None else _mark(objective, truth, score, weight, threshold),
    )


def _value(objective: Objective, cells: Array) -> tuple[Array, str]:
    """What is drawn over the threshold, shape (k,), and its name: f1 where the objective moves with no threshold."""
    if of_cells(objective, "classification"):
        return cells_values(objective, cells), str(objective)
    moves = objective.metric == "cost" or objective.metric in CELL_METRICS
    if objective.constraint is None and objective.metric in ("recall", "precision"):
        moves = False  # best at "all" and at "one"
    name = objective.metric if objective.constraint is not None else str(objective)
    return metric_of_cells(objective)(cells), name if moves else "f1"


def _shares(cells: Array) -> tuple[Array, Array, Array]:
    recall, precision = CELL_METRICS["recall"](cells), CELL_METRICS["precision"](cells)
    return recall, precision, cells[:, 1] / np.maximum(cells[:, 1] + cells[:, 3], np.finfo(np.float64).tiny)


def _mark(objective: Objective, truth: Array, score: Array, weight: Array, threshold: float) -> Mark:
    cells = Evaluation(y=truth, score=np.asarray(score), weight=weight, threshold=threshold).cells[None, :]
    recall, precision, alarms = _shares(cells)
    return Mark(
        threshold=threshold,
        recall=float(recall[0]),
        precision=float(precision[0]),
        false_alarms=float(alarms[0]),
        value=float(_value(objective, cells)[0][0]),
    )


def _thinned(*rising: Array) -> Array:
    """Places of at most `POINTS` points, the first and the last among them: about evenly along each of the measures."""
    size = rising[0].size
    if size <= POINTS:
        return np.arange(size)
    each = (POINTS - 2) // len(rising)
    found = [
        np.searchsorted(measure, np.linspace(measure[0], measure[-1], each), side="left").clip(0, size - 1)
        for measure in rising
    ]
    return np.unique(np.concatenate([[0, size - 1], *found]))


def _line(x: Array, y: Array) -> Line:
    return Line(x=tuple(float(value) for value in x), y=tuple(float(value) for value in y))


def _calibration(truth: Array, score: Array, weight: Array) -> tuple[Calibrated, ...]:
    """Bins of about equal weight, and of as many positives as the scores promise: rare ones have bins of their own.

    Rows of one score are in one bin. Outcomes have no part in where a bin ends, which would bias what it holds.
    """
    bins = _BINS if truth.size < _MANY_ROWS else 2 * _BINS
    promised = weight * np.maximum(score.astype(np.float64), 0.0)
    found = []
    for rows in bins_by_score(score, weight, promised, bins=bins):
        n = effective_n(weight[rows])
        share = float(np.average(truth[rows], weights=weight[rows]))
        interval = wilson(min(n, share * n), n)
        mean = float(np.average(score[rows].astype(np.float64), weights=weight[rows]))
        found.append(Calibrated(score=mean, low=interval.low, share=share, high=interval.high, rows=int(rows.size)))
    return tuple(found)
