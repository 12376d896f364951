"""How much each feature alone tells of the target, and how far it moved between the halves of the time.

The measure is the area under the ROC curve of a score that is the target's rate in the feature's bin (at most
`BINS` quantile bins, or one per category; missing values have a bin of their own). The rates are learned on a
random half of the rows and judged on the other, both ways, so that a feature that knows nothing gets 0.5 and
not what chance gave it, also where positives are rare; the bins need no monotone relation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everloop.stats import psi

__all__ = ["BINS", "Association", "Histogram", "associations", "bin_codes", "ranked_auc"]

BINS: Final = 20
_MOST_CATEGORIES: Final = 64

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Weighted shares of the two classes over the bins of one feature, each summing to 1.

    edges: the inner edges of the bins, one less than there are bins with values; empty for categories.
    negatives, positives: shape (bins,), the last bin holds the missing values.
    """

    edges: tuple[float, ...]
    negatives: tuple[float, ...]
    positives: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """What one feature alone says about the target.

    auc: area under the ROC curve, 0.5 nothing, 1 everything; below 0.5 is chance.
    psi: population stability index of the later half of the time against the earlier, in nats; None without time.
    """

    feature: str
    auc: float
    psi: float | None
    histogram: Histogram


def bin_codes(values: NDArray[np.float32], *, categorical: bool) -> tuple[Codes, Floats]:
    """The bin of every row and the inner edges of the bins; missing values are in the last bin.

    values: shape (n,), NaN where missing. Returns codes of shape (n,) in [0, len(edges) + 1].
    """
    missing = np.isnan(values)
    known = values[~missing]
    distinct = np.unique(known[:100_000])
    if categorical or distinct.size <= BINS:
        distinct = np.unique(known)
    if distinct.size <= (_MOST_CATEGORIES if categorical else BINS):
        edges = distinct[1:].astype(np.float64)
    else:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]).astype(np.float64))
    codes = np.searchsorted(edges, values, side="right").astype(np.int64)
    codes[missing] = edges.size + 1
    return codes, edges


def ranked_auc(order: Floats, positives: Floats, negatives: Floats) -> float:
    """Area under the ROC curve of groups scored by `order`; ties count half.

    order, positives, negatives: shape (groups,), the score and the class weights of each group.
    """
    total = float(positives.sum() * negatives.sum())
    if total == 0:
        return 0.5
    _, group = np.unique(order, return_inverse=True)
    pos = np.bincount(group, weights=positives)
    neg = np.bincount(group, weights=negatives)
    below = np.concatenate([[0.0], np.cumsum(neg)[:-1]])
    return float((pos * (below + neg / 2)).sum() / total)


def _crossed_auc(codes: Codes, bins: int, y: Floats, weight: Floats, fold: NDArray[np.bool_]) -> float:
    pos = np.stack([np.bincount(codes[m], weights=(weight * y)[m], minlength=bins) for m in (fold, ~fold)])
    neg = np.stack([np.bincount(codes[m], weights=(weight * (1 - y))[m], minlength=bins) for m in (fold, ~fold)])
    base = (pos.sum(axis=1) / np.maximum(pos.sum(axis=1) + neg.sum(axis=1), 1e-300))[:, None]
    # one row's worth of the base rate keeps an empty bin in the middle
    one = float(weight.mean())
    rate = (pos + base * one) / (pos + neg + one)
    return (ranked_auc(rate[0], pos[1], neg[1]) + ranked_auc(rate[1], pos[0], neg[0])) / 2


def _shares(counts: NDArray[Any]) -> tuple[float, ...]:
    total = counts.sum()
    return tuple((counts / total if total else counts).tolist())


def associations(
    matrix: NDArray[np.float32],
    names: Sequence[str],
    y: Floats,
    *,
    weight: Floats,
    later: NDArray[np.bool_] | None,
    categorical: frozenset[str] = frozenset(),
    seed: int = 0,
) -> tuple[Association, ...]:
    """Every feature's association with the target, the strongest first.

    matrix: shape (n, k); y: shape (n,), 0 or 1; weight: shape (n,); later: which rows are of the later half.
    """
    fold = np.random.default_rng(seed).random(y.size) < 0.5
    found = []
    for at, name in enumerate(names):
        codes, edges = bin_codes(matrix[:, at], categorical=name in categorical)
        bins = edges.size + 2
        moved = None
        if later is not None and 50 <= later.sum() <= later.size - 50:
            earlier_counts = np.bincount(codes[~later], weights=weight[~later], minlength=bins)
            moved = float(psi(earlier_counts, np.bincount(codes[later], weights=weight[later], minlength=bins)))
        found.append(
            Association(
                feature=name,
                auc=_crossed_auc(codes, bins, y, weight, fold),
                psi=moved,
                histogram=Histogram(
                    edges=() if name in categorical else tuple(edges.tolist()),
                    negatives=_shares(np.bincount(codes, weights=weight * (1 - y), minlength=bins)),
                    positives=_shares(np.bincount(codes, weights=weight * y, minlength=bins)),
                ),
            )
        )
    return tuple(sorted(found, key=lambda association: -association.auc))
