"""Features that say the same: groups whose ranks, or whose categories, move together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from everloop.experiment.association import bin_codes

__all__ = ["TOGETHER", "Correlated", "correlated_groups", "rank_correlations"]

TOGETHER: Final = 0.9
"""Rank correlation (or share of shared information, for categories) from which features are of one group."""

_ROWS: Final = 20_000
_LEAST_ROWS: Final = 30  # of fewer, two columns stand in one order by chance

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlated:
    """A group of features: each is tied to another of it. least, most: of the ties in it, in [0, 1]."""

    features: tuple[str, ...]
    least: float
    most: float


def _ranks(column: NDArray[np.float32]) -> Floats:
    """Mid-ranks, a missing value in the middle, standardised; all 0 for a constant."""
    from scipy.stats import rankdata

    known = np.isfinite(column)
    ranks = np.zeros(column.size)
    if known.any():
        ranks[known] = rankdata(column[known])
        ranks[known] -= ranks[known].mean()
    size = float(np.sqrt((ranks**2).sum()))
    return ranks / size if size > 0 else ranks


def rank_correlations(matrix: Matrix) -> Floats:
    """Spearman's rank correlation of every two columns, shape (k, k), in [-1, 1]; missing values are in the middle."""
    ranks = np.column_stack([_ranks(matrix[:, at]) for at in range(matrix.shape[1])])
    return np.asarray(np.clip(ranks.T @ ranks, -1, 1), dtype=np.float64)


def _shared_information(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Mutual information of two category columns as a share of the larger entropy: 1 where each tells the other."""
    width = int(second.max()) + 1
    table = np.bincount(first * width + second, minlength=(int(first.max()) + 1) * width).reshape(-1, width)
    share = table / table.sum()

    def entropy(of: Floats) -> float:
        full = of[of > 0]
        return float(-(full * np.log(full)).sum())

    one, other = entropy(share.sum(axis=1)), entropy(share.sum(axis=0))
    larger = max(one, other)
    return (one + other - entropy(share.ravel())) / larger if larger > 0 else 0.0


def correlated_groups(
    matrix: Matrix,
    names: Sequence[str],
    *,
    categorical: frozenset[str] = frozenset(),
    together: float = TOGETHER,
    seed: int = 0,
) -> tuple[Correlated, ...]:
    """The groups of features that move together, the largest first.

    matrix: shape (n, k); of more than 20,000 rows a sample drawn by `seed` is looked at.
    """
    if len(matrix) > _ROWS:
        matrix = matrix[np.sort(np.random.default_rng(seed).choice(len(matrix), _ROWS, replace=False))]
    if len(matrix) < _LEAST_ROWS:
        return ()
    ties = np.abs(rank_correlations(matrix))
    order = [at for at, name in enumerate(names) if name in categorical]
    codes = {at: bin_codes(matrix[:, at], categorical=True)[0] for at in order}
    for at in order:  # a category's place has no order, so only what two of them share counts
        ties[at, :] = ties[:, at] = 0.0
    for at in order:
        for other in order:
            if at < other:
                ties[at, other] = ties[other, at] = _shared_information(codes[at], codes[other])
    return _groups(ties, names, together)


def _groups(ties: Floats, names: Sequence[str], together: float) -> tuple[Correlated, ...]:
    left = set(range(len(names)))
    found = []
    while left:
        start = min(left)
        group, edge = {start}, [start]
        while edge:
            near = {int(other) for other in np.flatnonzero(ties[edge.pop()] >= together)} - group
            group |= near
            edge += near
        left -= group
        if len(group) > 1:
            places = sorted(group)
            inner = [ties[a, b] for i, a in enumerate(places) for b in places[i + 1 :] if ties[a, b] >= together]
            members = tuple(names[at] for at in places)
            found.append(Correlated(features=members, least=float(min(inner)), most=float(max(inner))))
    return tuple(sorted(found, key=lambda one: -len(one.features)))
