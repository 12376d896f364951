"""By how much one side's scores are better than another's on the same test rows, over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from everloop.stats import from_replicates
from everloop.tasks.metrics import Ranks, average_precision

__all__ = ["METRICS", "difference"]

Array = np.ndarray[Any, np.dtype[Any]]
Weighed = Callable[[Array], float]

_REPLICATES: Final = 1000


def _average_precision(y: Array, score: Array) -> Weighed:
    ranks = Ranks(np.asarray(y, dtype=bool), score)
    return lambda weight: float(average_precision(ranks.sums(weight)[None, :])[0])


def _mae(y: Array, score: Array) -> Weighed:
    errors = np.abs(y - score)
    return lambda weight: float(errors @ weight / weight.sum())


METRICS: Final[dict[str, tuple[Callable[[Array, Array], Weighed], bool]]] = {
    "average_precision": (_average_precision, True),
    "mae": (_mae, False),
}
"""A metric as a function of the rows' weights, by name, and whether more of it is better."""


def difference(
    metric: str, y: Array, weight: Array, ours: Sequence[Array], theirs: Sequence[Array], *, seed: int = 0
) -> dict[str, float]:
    """The mean over seeds of ours − theirs, above 0 where ours is better; of a loss as a share of theirs.

    y, weight: shape (n,); ours, theirs: a score for every row, shape (n,), per seed, in one order.
    The 95 % interval is a bootstrap's in which both vary: each replicate weighs every row by a Poisson(1) draw, the
    same for both sides and all seeds, and draws as many seeds as there are, with replacement.
    """
    of, more = METRICS[metric]
    pairs = [(of(y, one), of(y, other)) for one, other in zip(ours, theirs, strict=True)]

    def gaps(weights: Array) -> Array:
        values = np.array([(mine(weights), other(weights)) for mine, other in pairs])
        return values[:, 0] - values[:, 1] if more else 1 - values[:, 0] / values[:, 1]

    rng = np.random.default_rng(seed)
    replicates = np.full(_REPLICATES, np.nan)
    for at in range(_REPLICATES):
        drawn = weight * rng.poisson(1.0, size=len(y))
        seeds = rng.integers(0, len(pairs), size=len(pairs))
        replicates[at] = gaps(drawn)[seeds].mean()
    found = from_replicates(float(gaps(np.asarray(weight, dtype=np.float64)).mean()), replicates)
    return {"point": round(found.point, 5), "low": round(found.low, 5), "high": round(found.high, 5)}
