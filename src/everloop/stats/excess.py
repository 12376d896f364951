"""Where losses are higher than elsewhere: a p-value for each part of the rows, and how far a part is from the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from everloop.stats.interval import Interval, effective_n, mean_interval, wilson

__all__ = ["excess_p", "loss_difference"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.int64]]

_ROUNDS = 1_999
_ROUNDS_PER_PART = 60
_EQUAL = 1e-12


def excess_p(losses: Floats, weight: Floats, codes: Codes, parts: int, *, seed: int) -> Floats:
    """Per part, the chance of a mean loss as high as its own if losses had nothing to do with parts; shape (parts,).

    losses: shape (n,), ≥ 0; weight: shape (n,), > 0; codes: shape (n,), the part of each row, in [0, parts).
    Exact for losses of 0 and 1 with equal weights (hypergeometric: Fisher's test, one-sided); else by shuffling losses,
    with their weights, over the rows, from `seed`, which is as valid and as fine as 1 in some thousands. NaN for a part
    without rows, or with all of them. Each p-value holds alone; for all of them at once use `holm`.
    """
    rows = np.bincount(codes, minlength=parts)
    asked = (rows > 0) & (rows < losses.size)
    found = np.full(parts, np.nan)
    if not asked.any():
        return found
    if np.isin(losses, (0.0, 1.0)).all() and np.ptp(weight) == 0:
        from scipy.stats import hypergeom

        wrong = np.bincount(codes, weights=losses, minlength=parts)
        tails = hypergeom.sf(wrong - 1, losses.size, int(losses.sum()), rows)
        found[asked] = np.clip(tails, 0.0, 1.0)[asked]
        return found
    found[asked] = _shuffled(losses, weight, codes, parts, seed=seed)[asked]
    return found


def _shuffled(losses: Floats, weight: Floats, codes: Codes, parts: int, *, seed: int) -> Floats:
    """Of how many shuffles each part's mean loss is at least its own, itself among them; shape (parts,)."""
    rng, priced = np.random.default_rng(seed), losses * weight
    alike = np.bincount(codes, weights=weight, minlength=parts) if np.ptp(weight) == 0 else None

    def means(order: Codes) -> Floats:
        total = np.bincount(codes, weights=priced[order], minlength=parts)
        of = np.bincount(codes, weights=weight[order], minlength=parts) if alike is None else alike
        return np.divide(total, of, out=np.zeros(parts), where=of > 0)

    observed = means(np.arange(losses.size))
    rounds = max(_ROUNDS, _ROUNDS_PER_PART * parts)
    as_high = np.ones(parts)
    for _ in range(rounds):
        as_high += means(rng.permutation(losses.size)) >= observed - _EQUAL
    return np.asarray(as_high / (rounds + 1))


def loss_difference(losses: Floats, weight: Floats, part: Codes, *, level: float = 0.95) -> Interval:
    """The mean loss within `part` minus that of the rest, with its interval.

    part: shape (n,), bool, some true and some not. The two intervals' distances from their points are added as squares.
    Source: Newcombe (1998), method 10, for shares; the same of means.
    """
    inside = _mean(losses[part], weight[part], level=level)
    outside = _mean(losses[~part], weight[~part], level=level)
    point = inside.point - outside.point
    below = float(np.hypot(inside.point - inside.low, outside.high - outside.point))
    above = float(np.hypot(inside.high - inside.point, outside.point - outside.low))
    return Interval(low=point - below, point=point, high=point + above, level=level)


def _mean(losses: Floats, weight: Floats, *, level: float) -> Interval:
    if np.isin(losses, (0.0, 1.0)).all():
        n = effective_n(weight)
        share = float(np.average(losses, weights=weight))
        return wilson(min(n, share * n), n, level=level)
    return mean_interval(losses, weight=weight, level=level)
