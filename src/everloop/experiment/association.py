"""How much each feature alone tells of the target, and how far it moved between the halves of the time.

The measure is the area under the ROC curve of a score that is the target's rate in the feature's bin (at most
`BINS` quantile bins, or one per category; missing values have a bin of their own). The rates are learned on a
random half of the rows and judged on the other, both ways, so that a feature that knows nothing gets 0.5 and
not what chance gave it, also where positives are rare; the bins need no monotone relation.

Beside it stands the mutual information of the bin and the target, in bits: how much of the target's surprise the
feature takes away (Shannon 1948), less what a feature of as many bins takes away by chance (Miller 1955).

A numeric target is taken by its place above or below the median for the area and the histogram, and by its tenths for
the mutual information.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everloop.experiment.value_names import value_names
from everloop.stats import psi

__all__ = [
    "BINS",
    "Association",
    "Histogram",
    "associations",
    "auc_error",
    "bin_codes",
    "mutual_information",
    "ranked_auc",
    "target_codes",
]

BINS: Final = 20
_MOST_CATEGORIES: Final = 64
_EDGE_ROWS: Final = 50_000

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Weighted shares of the two classes over the bins of one feature, each summing to 1.

    edges: the inner edges of the bins, one less than there are bins with values; empty for categories.
    names: shape (bins,), what the bins are called; values: whether each holds one value, and no range of them.
    negatives, positives: shape (bins,), the last bin holds the missing values.
    """

    edges: tuple[float, ...]
    names: tuple[str, ...]
    values: bool
    negatives: tuple[float, ...]
    positives: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """What one feature alone says about the target.

    auc: area under the ROC curve, 0.5 nothing, 1 everything; below 0.5 is chance.
    information: mutual information with the target, in bits, ≥ 0.
    psi: population stability index of the later half of the time against the earlier, in nats; None without time.
    """

    feature: str
    auc: float
    information: float
    psi: float | None
    histogram: Histogram


def bin_codes(values: NDArray[np.float32], *, categorical: bool) -> tuple[Codes, Floats]:
    """The bin of every row and the inner edges of the bins; missing values are in the last bin.

    values: shape (n,), NaN where missing. Returns codes of shape (n,) in [0, len(edges) + 1].
    """
    codes, edges, _ = _bins(values, categorical=categorical)
    return codes, edges


def _bins(values: NDArray[np.float32], *, categorical: bool) -> tuple[Codes, Floats, Floats | None]:
    """As `bin_codes`, and the value that each bin holds, where each holds one; None where they are ranges."""
    missing = np.isnan(values)
    known = values[~missing] if missing.any() else values
    # edges are places in the values, not measurements: of very many rows every so-many-th tells them as well
    some = known[:: max(1, known.size // _EDGE_ROWS)]
    distinct = np.unique(some)
    if categorical or distinct.size <= BINS:
        distinct = np.unique(known)
    of_values = distinct.size <= (_MOST_CATEGORIES if categorical else BINS)
    if of_values:
        edges = distinct[1:].astype(np.float64)
    else:
        edges = np.unique(np.quantile(some, np.linspace(0, 1, BINS + 1)[1:-1]).astype(np.float64))
    codes = np.searchsorted(edges, values, side="right").astype(np.int64)
    codes[missing] = edges.size + 1
    return codes, edges, distinct.astype(np.float64) if of_values else None


def _bin_names(edges: Floats, values: Floats | None, categories: Sequence[str] | None) -> tuple[str, ...]:
    """What the bins are called, the missing last."""
    if values is None:
        texts = value_names(edges.astype(np.float32).astype(np.float64).tolist())
        inner = [f"{low} … {high}" for low, high in pairwise(texts)]
        return f"below {texts[0]}", *inner, f"from {texts[-1]}", "missing"
    if values.size == 0:
        return "none", "missing"
    if categories is not None:
        return *(categories[int(at)] for at in values), "missing"
    return *value_names(values.tolist()), "missing"


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


def auc_error(area: float, positives: float, negatives: float) -> float:
    """Standard error of an area under the ROC curve; infinite where a class has no row.

    positives, negatives: how many equally weighted rows of each class were ranked.
    Source: Hanley and McNeil, The meaning and use of the area under a receiver operating characteristic curve (1982).
    """
    if positives <= 0 or negatives <= 0:
        return math.inf
    ahead, behind = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (positives - 1) * (ahead - area**2) + (negatives - 1) * (behind - area**2)
    return math.sqrt(max(0.0, area * (1 - area) + spread) / (positives * negatives))


def mutual_information(table: Floats, *, effective: float) -> float:
    """Mutual information of the rows and columns of a table of weights, in bits, less its bias; ≥ 0.

    table: shape (bins, classes). effective: how many equally weighted rows it is worth, > 0.
    Source: Miller, Note on the bias of information estimates (1955).
    """
    share = table / table.sum()
    alone = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    full = share > 0
    bits = float((share[full] * np.log2(share[full] / alone[full])).sum())
    rows, columns = int((table.sum(axis=1) > 0).sum()), int((table.sum(axis=0) > 0).sum())
    bias = (rows - 1) * (columns - 1) / (2 * effective * math.log(2))
    return max(0.0, bits - bias)


def target_codes(y: Floats, weight: Floats) -> tuple[Floats, Codes]:
    """A numeric target as above or below its weighted median, and as the tenth it lies in: both of shape (n,)."""
    order = np.argsort(y, kind="stable")
    reached = np.cumsum(weight[order])
    cuts = y[order][np.searchsorted(reached, reached[-1] * np.arange(1, 10) / 10)]
    return (y > cuts[4]).astype(np.float64), np.searchsorted(np.unique(cuts), y, side="left").astype(np.int64)


def _crossed_auc(table: Floats, one: float) -> float:
    """table: shape (bins, 2, 2): weights by bin, half of the rows and class; one: what one row weighs."""
    neg, pos = table[:, :, 0].T, table[:, :, 1].T
    base = (pos.sum(axis=1) / np.maximum(pos.sum(axis=1) + neg.sum(axis=1), 1e-300))[:, None]
    # one row's worth of the base rate keeps an empty bin in the middle
    rate = (pos + base * one) / (pos + neg + one)
    return float(ranked_auc(rate[0], pos[1], neg[1]) + ranked_auc(rate[1], pos[0], neg[0])) / 2


def _table(codes: Codes, group: Codes, weight: Floats, bins: int, groups: int) -> Floats:
    """The weight of every bin and group, shape (bins, groups)."""
    counted = np.bincount(codes * groups + group, weights=weight, minlength=bins * groups)
    return np.asarray(counted.reshape(bins, groups), dtype=np.float64)


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
    classes: Codes | None = None,
    categories: Mapping[str, Sequence[str]] = MappingProxyType({}),
    seed: int = 0,
    threads: int = 1,
) -> tuple[Association, ...]:
    """Every feature's association with the target, the strongest first.

    matrix: shape (n, k); y: shape (n,), 0 or 1; weight: shape (n,); later: which rows are of the later half.
    classes: shape (n,), the target's classes that mutual information is about; those of y where None.
    categories: what the places are called, of the features that are places of categories.
    threads: never changes what comes out.
    """
    effective, one = float(weight.sum() ** 2 / (weight**2).sum()), float(weight.mean())
    half = (np.random.default_rng(seed).random(y.size) < 0.5).astype(np.int64)
    group = half * 2 + y.astype(np.int64)
    moving = later is not None and 50 <= later.sum() <= later.size - 50

    def told(at: int) -> Association:
        name = names[at]
        codes, edges, values = _bins(np.ascontiguousarray(matrix[:, at]), categorical=name in categories)
        bins = edges.size + 2
        table = _table(codes, group, weight, bins, 4).reshape(bins, 2, 2)
        by_class = table.sum(axis=1)
        asked = by_class if classes is None else _table(codes, classes, weight, bins, int(classes.max()) + 1)
        halves = None if not moving or later is None else _table(codes, later.astype(np.int64), weight, bins, 2)
        return Association(
            feature=name,
            auc=_crossed_auc(table, one),
            information=mutual_information(asked, effective=effective),
            psi=None if halves is None else float(psi(halves[:, 0], halves[:, 1])),
            histogram=Histogram(
                edges=() if name in categories else tuple(edges.tolist()),
                names=_bin_names(edges, values, categories.get(name)),
                values=values is not None,
                negatives=_shares(by_class[:, 0]),
                positives=_shares(by_class[:, 1]),
            ),
        )

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(told, range(len(names))))
    return tuple(sorted(found, key=lambda association: -association.auc))
