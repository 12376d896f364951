"""Scores of a binary classifier held against what turned out to be true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from everloop.errors import NotEnoughData
from everloop.stats import (
    Interval,
    bootstrap_cells,
    effective_n,
    from_replicates,
    mean_interval,
    wilson,
)
from everloop.tasks.metrics import (
    CELL_METRICS,
    DEFAULT_COSTS,
    METRICS,
    RANK_METRICS,
    ROW_LOSSES,
    Ranks,
    coarsened,
    cost_per_row,
)
from everloop.tasks.task import Array

__all__ = ["Evaluation", "decided", "paired_by_cells", "paired_interval"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
OfCells = Callable[[Floats], Floats]

# Groups of equal score that a bootstrap of a ranking metric keeps; more change the interval's third digit at most.
GROUPS = 256
REPLICATES = 1000
PAIRED_REPLICATES = 200
# Rows of which the draws of a pair are kept for the next one: a search asks of twenty pairs on each of its folds.
_KEPT_ROWS = 100_000


def decided(score: Array, threshold: float | None) -> Array:
    """score ≥ threshold in the score's own precision, shape (n,), bool: the one place where a decision is made.

    Without a threshold nothing is decided, and every row is false.
    """
    if threshold is None:
        return np.zeros(np.shape(score), dtype=bool)
    return np.asarray(score >= np.asarray(score).dtype.type(threshold))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Scores, truth, weights and, for metrics of decisions, a threshold.

    y: shape (n,), true for positives. score: shape (n,), the probability of the positive class, float32.
    weight: shape (n,), ≥ 0, or None for 1 each. costs: prices of fn, fp (tp, tn) for the metric cost; 1 each if None.
    Raises NotEnoughData without rows, ValueError for arrays that do not fit together.
    """

    y: Array
    score: Array
    weight: Array | None = None
    threshold: float | None = None
    costs: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        y, score = np.asarray(self.y), np.asarray(self.score)
        if y.size == 0:
            raise NotEnoughData("there are no rows to evaluate; take a longer span")
        if y.ndim != 1 or score.shape != y.shape:
            raise ValueError(f"y and score must share one shape (n,), got {y.shape} and {score.shape}")
        if not np.isin(y, (0, 1)).all():
            raise ValueError("y must hold 0 and 1 (or false and true) only")
        if not np.isfinite(score).all():
            raise ValueError("scores must be finite")
        object.__setattr__(self, "y", y.astype(bool))
        object.__setattr__(self, "score", score if score.dtype == np.float32 else score.astype(np.float64))
        if self.weight is not None:
            weight = np.asarray(self.weight, dtype=np.float64)
            if weight.shape != y.shape or not (weight >= 0).all() or not weight.sum() > 0:
                raise ValueError(f"weights must be ≥ 0, not all 0, of shape {y.shape}, got shape {weight.shape}")
            object.__setattr__(self, "weight", weight)

    @property
    def rows(self) -> int:
        """Rows judged."""
        return int(self.y.size)

    @property
    def positives(self) -> int:
        """Positive rows, each counted once whatever its weight."""
        return int(self.y.sum())

    @property
    def weights(self) -> Floats:
        """Shape (n,), 1 each where none were given."""
        return np.ones(self.y.size) if self.weight is None else self.weight

    @property
    def decision(self) -> Array:
        """Flagged or not, shape (n,). Raises ValueError without a threshold."""
        if self.threshold is None:
            raise ValueError("a metric of decisions needs a threshold, and this evaluation has none")
        return decided(self.score, self.threshold)

    @property
    def cells(self) -> Floats:
        """Sums of weights as (tp, fp, fn, tn), shape (4,)."""
        return self._cells(self.weights)

    @property
    def flagged(self) -> int:
        """Rows flagged."""
        return int(self.decision.sum())

    def of_rows(self, rows: Array) -> Evaluation:
        """The evaluation of some of its rows: their places, or shape (n,) of bool."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, y=self.y[rows], score=self.score[rows], weight=weight)

    def value(self, metric: str) -> float:
        """The metric's value; precision is 0 where nothing is flagged.

        Raises NotEnoughData where one class is missing and the metric needs it, ValueError for an unknown metric.
        """
        self._check(metric)
        if metric in RANK_METRICS:
            sums = Ranks(self.y, self.score).sums(self.weights)
            return float(RANK_METRICS[metric](sums[None, :])[0])
        if metric in ROW_LOSSES:
            return float(np.average(ROW_LOSSES[metric](self.y, self.score), weights=self.weights))
        return float(self._of_cells(metric)(self.cells[None, :])[0])

    def interval(self, metric: str, *, seed: int = 0, level: float = 0.95) -> Interval:
        """The metric with its interval: Wilson for shares, normal for means of rows, else a Poisson bootstrap."""
        self._check(metric)
        if metric in ROW_LOSSES:
            mean = mean_interval(ROW_LOSSES[metric](self.y, self.score), weight=self.weights, level=level)
            return replace(mean, low=max(0.0, mean.low))  # no loss is below 0, though a normal interval may be
        if metric in RANK_METRICS:
            return self._rank_interval(metric, seed=seed, level=level)
        if metric in ("accuracy", "precision", "recall"):
            rows = self._judged(metric)
            n = effective_n(self.weights[rows])
            return wilson(min(n, self.value(metric) * n), n, level=level) if n else _unknown(level)
        return bootstrap_cells(
            self._of_cells(metric),
            self.cells,
            squares=self._cells(np.square(self.weights)),
            seed=seed,
            replicates=REPLICATES,
            level=level,
        )

    def _check(self, metric: str) -> None:
        if metric not in METRICS:
            raise ValueError(f"{metric!r} is not a metric of classification; there are {', '.join(METRICS)}")
        if metric in ("recall", "f1", "average_precision", "roc_auc") and not self.y.any():
            raise NotEnoughData(f"{metric} needs positive rows, and all {self.rows:,} are negative; take a longer span")
        if metric == "roc_auc" and self.y.all():
            raise NotEnoughData(f"{metric} needs negative rows, and all {self.rows:,} are positive; take a longer span")

    def _judged(self, metric: str) -> Array:
        if metric == "accuracy":
            return np.ones(self.rows, dtype=bool)
        return self.y if metric == "recall" else self.decision

    def _of_cells(self, metric: str) -> OfCells:
        if metric == "cost":
            return cost_per_row(DEFAULT_COSTS if self.costs is None else self.costs)
        return CELL_METRICS[metric]

    def _cells(self, weights: Floats) -> Floats:
        kinds = np.where(self.y, np.where(self.decision, 0, 2), np.where(self.decision, 1, 3))
        return np.bincount(kinds, weights=weights, minlength=4).astype(np.float64)

    def _rank_interval(self, metric: str, *, seed: int, level: float) -> Interval:
        ranks, of = Ranks(self.y, self.score), RANK_METRICS[metric]
        exact = ranks.sums(self.weights)
        sums, squares = coarsened(exact, ranks.sums(np.square(self.weights)), groups=GROUPS)
        rough = bootstrap_cells(of, sums, squares=squares, seed=seed, replicates=REPLICATES, level=level)
        # Merged groups move the metric a little; their spread is that of the exact one.
        point = float(of(exact[None, :])[0])
        low, high = point + rough.low - rough.point, point + rough.high - rough.point
        return Interval(low=max(0.0, low), point=point, high=min(1.0, high), level=level)


def _unknown(level: float) -> Interval:
    return Interval(low=0.0, point=0.0, high=1.0, level=level)


def paired_interval(
    metric: str, first: Evaluation, second: Evaluation, *, seed: int = 0, level: float = 0.95, prior: float = 0.0
) -> Interval:
    """The interval of `first`'s metric minus `second`'s over the same rows: what both share cancels out.

    prior: of a metric of decisions, as `paired_by_cells` has it.
    Raises ValueError where the two do not judge the same rows. One look only: over growing data use
    stats.BoundedSequence.
    """
    if not np.array_equal(first.y, second.y) or not np.array_equal(first.weights, second.weights):
        raise ValueError("a paired difference needs the same rows, truth and weights on both sides")
    if metric in ROW_LOSSES:
        gaps = ROW_LOSSES[metric](first.y, first.score) - ROW_LOSSES[metric](second.y, second.score)
        return mean_interval(gaps, weight=first.weights, level=level)
    point = first.value(metric) - second.value(metric)
    if metric in RANK_METRICS:
        return from_replicates(point, _rank_differences(metric, first, second, seed=seed), level=level)
    return paired_by_cells(
        first, second, first._of_cells(metric), second._of_cells(metric), seed=seed, level=level, prior=prior
    )


def paired_by_cells(
    first: Evaluation,
    second: Evaluation,
    mine: OfCells,
    theirs: OfCells,
    *,
    seed: int = 0,
    level: float = 0.95,
    prior: float = 0.0,
) -> Interval:
    """The interval of `mine` of `first`'s cells minus `theirs` of `second`'s, over the same rows.

    prior: rows added, for the interval alone, to each of the eight kinds of row (truth, first's and second's decision).
    With 0 two models that differ on no row, of however few, surely do not differ; 0.5 keeps what was promised of an
    interval down to 30 positives. Source: Agresti & Min (2005), "Simple improved confidence intervals for comparing
    matched proportions".
    """
    kinds = first.y * 4 + first.decision * 2 + second.decision
    sums = np.bincount(kinds, weights=first.weights, minlength=8).astype(np.float64)
    squares = np.bincount(kinds, weights=np.square(first.weights), minlength=8).astype(np.float64)
    # Of the eight kinds (truth, first, second), those that are each side's tp, fp, fn and tn.
    of_first, of_second = np.eye(4)[[3, 3, 1, 1, 2, 2, 0, 0]], np.eye(4)[[3, 1, 3, 1, 2, 0, 2, 0]]

    def difference(drawn: Floats) -> Floats:
        return mine(drawn @ of_first) - theirs(drawn @ of_second)

    weight = _weight_of_a_row(sums, squares)
    known = sums + prior * weight, squares + prior * np.square(weight)
    found = bootstrap_cells(difference, known[0], squares=known[1], seed=seed, replicates=REPLICATES, level=level)
    point = float(difference(sums[None, :])[0])
    return Interval(low=min(found.low, point), point=point, high=max(found.high, point), level=level)


def _weight_of_a_row(sums: Floats, squares: Floats) -> Floats:
    """What a row of each of the eight kinds weighs, shape (8,); of none there what one of its truth does, or 1."""
    halves, square_halves = sums.reshape(2, 4).sum(axis=1), squares.reshape(2, 4).sum(axis=1)
    of_truth = np.divide(square_halves, halves, out=np.ones(2), where=halves > 0)
    each: Floats = np.divide(squares, sums, out=np.repeat(of_truth, 4), where=sums > 0)
    return each


def _rank_differences(metric: str, first: Evaluation, second: Evaluation, *, seed: int) -> Floats:
    """Replicates of a ranking metric's difference, shape (k,): Poisson weights per row, the same for both sides."""
    of, gaps = RANK_METRICS[metric], np.full(PAIRED_REPLICATES, np.nan)
    mine, theirs = Ranks(first.y, first.score), Ranks(second.y, second.score)
    for index, times in enumerate(_drawn(seed, first.rows)):
        drawn = first.weights * times
        sums = mine.sums(drawn)
        if all(half.any() for half in np.split(sums, 2)):
            gaps[index] = of(sums[None, :])[0] - of(theirs.sums(drawn)[None, :])[0]
    return gaps


def _drawn(seed: int, rows: int) -> Iterable[Array]:
    """How often each row is drawn, shape (rows,), of every replicate of a pair: for the same seed and rows the same."""
    if rows <= _KEPT_ROWS:
        return _kept_draws(seed, rows)
    rng = np.random.default_rng(seed)
    return (rng.poisson(1.0, size=rows) for _ in range(PAIRED_REPLICATES))


@lru_cache(maxsize=5)
def _kept_draws(seed: int, rows: int) -> Array:
    return np.random.default_rng(seed).poisson(1.0, size=(PAIRED_REPLICATES, rows)).astype(np.int8)
