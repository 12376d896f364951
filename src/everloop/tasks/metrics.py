"""The metrics of classification, weighted, in numpy: over cells (tp, fp, fn, tn), over ranks, and over rows.

Held against scikit-learn in the tests. Functions over sums take a leading axis of any number of cases (thresholds,
bootstrap replicates), so that the same code gives a metric, its curve and its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from everloop.tasks.task import Array, Metric

__all__ = [
    "CELL_METRICS",
    "DEFAULT_COSTS",
    "METRICS",
    "RANK_METRICS",
    "ROW_LOSSES",
    "Ranks",
    "coarsened",
    "cost_per_row",
]

Floats = np.ndarray[Any, np.dtype[np.float64]]

DEFAULT_COSTS: Final = MappingProxyType({"fn": 1.0, "fp": 1.0})


def _metric(name: str, says: str, *, maximise: bool = True, of_decisions: bool = True) -> tuple[str, Metric]:
    return name, Metric(name=name, maximise=maximise, of_decisions=of_decisions, says=says)


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    dict(
        [
            _metric("accuracy", "share of rows decided rightly"),
            _metric("precision", "share of flagged rows that are positive"),
            _metric("recall", "share of positive rows that are flagged"),
            _metric("f1", "harmonic mean of precision and recall"),
            _metric("cost", "mean price per row, in the objective's own unit", maximise=False),
            _metric("average_precision", "area under precision against recall", of_decisions=False),
            _metric("roc_auc", "chance that a positive scores above a negative", of_decisions=False),
            _metric("log_loss", "mean negative log-likelihood, in nats per row", maximise=False, of_decisions=False),
            _metric("brier", "mean squared error of the score", maximise=False, of_decisions=False),
        ]
    )
)


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, 0 where both are 0."""
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def accuracy(cells: Floats) -> Floats:
    """cells: shape (k, 4), sums of weights as (tp, fp, fn, tn); gives shape (k,)."""
    return ratio(cells[:, 0] + cells[:, 3], cells.sum(axis=1))


def precision(cells: Floats) -> Floats:
    """As `accuracy`; 0 where nothing is flagged."""
    return ratio(cells[:, 0], cells[:, 0] + cells[:, 1])


def recall(cells: Floats) -> Floats:
    """As `accuracy`; 0 where nothing is positive."""
    return ratio(cells[:, 0], cells[:, 0] + cells[:, 2])


def f1(cells: Floats) -> Floats:
    """As `accuracy`; 0 where nothing is positive or flagged."""
    return ratio(2 * cells[:, 0], 2 * cells[:, 0] + cells[:, 1] + cells[:, 2])


CELL_METRICS: Final[Mapping[str, Callable[[Floats], Floats]]] = MappingProxyType(
    {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}
)


def cost_per_row(costs: Mapping[str, float]) -> Callable[[Floats], Floats]:
    """The mean cost per row over cells, shape (k, 4), at these prices; a kind without a price is free."""
    prices = np.array([costs.get(kind, 0.0) for kind in ("tp", "fp", "fn", "tn")])
    return lambda cells: (cells @ prices) / np.maximum(cells.sum(axis=1), np.finfo(np.float64).tiny)


class Ranks:
    """Rows grouped by score, best first: all that a ranking metric needs to know of them.

    Neighbouring scores without a positive are one group, which changes no ranking metric, so that a million rows
    with 500 positives are some thousand groups. Sorted once, it takes any weights.
    y: shape (n,), bool; score: shape (n,).
    """

    def __init__(self, y: Array, score: Array) -> None:
        self.order = np.argsort(-score, kind="stable")
        self.truth, ranked = y[self.order], score[self.order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        has_positive = np.add.reduceat(self.truth.astype(np.int64), starts) > 0
        self.starts = starts[has_positive | np.r_[True, has_positive[:-1]]]

    def sums(self, weight: Floats) -> Floats:
        """Sums of `weight`, shape (n,), per group: positives, then negatives; shape (2 · groups,)."""
        ranked = weight[self.order]
        positive = np.add.reduceat(np.where(self.truth, ranked, 0.0), self.starts)
        return np.concatenate([positive, np.add.reduceat(ranked, self.starts) - positive])


def coarsened(sums: Floats, *others: Floats, groups: int) -> list[Floats]:
    """`sums` and what is laid out alike, shape (2 · g,) each, with neighbours merged to at most 2 · groups in all."""
    positive, negative = np.hsplit(sums, 2)
    if positive.size <= groups:
        return [sums, *others]
    # Half by positives, half by negatives: steps no coarser than 2 / groups of either.
    share = (np.cumsum(positive) / positive.sum() + np.cumsum(negative) / max(float(negative.sum()), 1e-300)) / 2
    starts = np.unique(np.searchsorted(share, np.arange(groups) / groups))
    starts = starts[starts < share.size]
    return [np.concatenate([np.add.reduceat(half, starts) for half in np.hsplit(part, 2)]) for part in (sums, *others)]


def average_precision(sums: Floats) -> Floats:
    """Σ (recall gained) · precision over groups of equal score, best first.

    sums: shape (k, 2 · groups), positives then negatives per group; gives shape (k,), NaN without positives.
    """
    positive, negative = np.hsplit(sums, 2)
    caught = np.cumsum(positive, axis=1)
    flagged = caught + np.cumsum(negative, axis=1)
    total = caught[:, -1]
    found = (positive * ratio(caught, flagged)).sum(axis=1)
    return np.asarray(np.divide(found, total, out=np.full_like(total, np.nan), where=total > 0), dtype=np.float64)


def roc_auc(sums: Floats) -> Floats:
    """The chance that a positive scores above a negative, ties counting half. As `average_precision`."""
    positive, negative = np.hsplit(sums, 2)
    beaten = negative.sum(axis=1, keepdims=True) - np.cumsum(negative, axis=1) + negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * beaten).sum(axis=1)
    return np.asarray(np.divide(won, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0), dtype=np.float64)


RANK_METRICS: Final[Mapping[str, Callable[[Floats], Floats]]] = MappingProxyType(
    {"average_precision": average_precision, "roc_auc": roc_auc}
)


def log_losses(y: Array, score: Array) -> Floats:
    """−log of the probability given to what was true, shape (n,), in nats; scores are held off 0 and 1 by 1.2e-7."""
    edge = float(np.finfo(np.float32).eps)
    given = np.where(y, score, 1.0 - score.astype(np.float64))
    return np.asarray(-np.log(np.clip(given, edge, 1 - edge)), dtype=np.float64)


def brier_losses(y: Array, score: Array) -> Floats:
    """(score − y)², shape (n,)."""
    return np.asarray(np.square(score.astype(np.float64) - y), dtype=np.float64)


ROW_LOSSES: Final[Mapping[str, Callable[[Array, Array], Floats]]] = MappingProxyType(
    {"log_loss": log_losses, "brier": brier_losses}
)
