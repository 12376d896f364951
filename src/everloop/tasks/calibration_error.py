"""How far what is predicted is from what happens: calibration of probabilities and quantiles, and in the large.

The plain expected calibration error is above 0 for a perfect model, the more so the fewer rows there are. Here what the
rows' own chance adds to each bin's squared gap is taken off, and the root is given in the unit of the score.
Source: Kumar, Liang & Ma (2019), "Verified uncertainty calibration".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from everloop.errors import NotEnoughData
from everloop.stats import Interval, bootstrap_cells, effective_n
from everloop.tasks.evaluation import Evaluation
from everloop.tasks.numeric import NumericEvaluation
from everloop.tasks.task import Array, Evaluated

__all__ = ["calibration_error", "predicted_over_actual"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

BINS: Final = 10
REPLICATES: Final = 1000


def calibration_error(evaluation: Evaluated, *, seed: int = 0, level: float = 0.95) -> Interval:
    """The root mean square gap between prediction and outcome, in [0, 1], with its bootstrap interval.

    Of probabilities the gap between the mean score and the share of positives in up to ten bins of rising score. A bin
    holds as much of the rows and of the predicted positives as any other, so that rare positives are not all in one.
    Of quantiles the gap between a quantile's level and the share of outcomes at or below it.
    Raises NotEnoughData for one class only, or of a regression without quantiles.
    """
    if isinstance(evaluation, NumericEvaluation):
        return _of_quantiles(evaluation, seed=seed, level=level)
    assert isinstance(evaluation, Evaluation)
    if not 0 < evaluation.positives < evaluation.rows:
        raise NotEnoughData(f"calibration error needs rows of both classes, and all {evaluation.rows:,} are of one")
    return _of_probabilities(evaluation, seed=seed, level=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bins:
    """What the rows of each bin add up to, each of shape (bins,).

    weight: Σw. noise: the variance that chance gives to the gap. cells, squares: shape (2 · bins,), Σw and Σw² of the
    positive rows, then of the negative. scores: shape (2 · bins,), their mean score.
    """

    weight: Floats
    noise: Floats
    cells: Floats
    squares: Floats
    scores: Floats


def _of_probabilities(evaluation: Evaluation, *, seed: int, level: float) -> Interval:
    bins = _binned(evaluation.y, evaluation.score.astype(np.float64), evaluation.weights)
    count = bins.weight.size

    def squared(drawn: Floats, noise: Floats) -> Floats:
        """The mean square gap without its noise, shape (k,), of cells of shape (k, 2 · bins)."""
        weight = drawn[:, :count] + drawn[:, count:]
        predicted = (drawn * bins.scores)[:, :count] + (drawn * bins.scores)[:, count:]
        gap = np.divide(predicted - drawn[:, :count], weight, out=np.zeros_like(weight), where=weight > 0)
        return np.asarray(np.average(np.square(gap) - noise, axis=1, weights=bins.weight))

    point = float(squared(bins.cells[None, :], bins.noise)[0])
    # drawn anew, the rows' chance is in a gap twice
    spread = bootstrap_cells(
        lambda drawn: squared(drawn, 2 * bins.noise),
        bins.cells,
        squares=bins.squares,
        seed=seed,
        replicates=REPLICATES,
        level=level,
    )
    return _rooted(min(spread.low, point), point, max(spread.high, point), level)


def _binned(y: Array, score: Floats, weight: Floats) -> _Bins:
    order = np.argsort(score, kind="stable")
    y, score, weight = y[order].astype(np.float64), score[order], weight[order]
    mass = weight / weight.sum() + weight * score / max(float((weight * score).sum()), 1e-300)
    # bins are cut by scores alone: cut by outcomes, they would promise too much
    place = np.minimum((np.cumsum(mass) - mass / 2) / mass.sum() * BINS, BINS - 1e-9).astype(np.int64)
    starts = np.r_[True, np.diff(score) > 0]
    place = np.unique(place[np.maximum.accumulate(np.where(starts, np.arange(score.size), 0))], return_inverse=True)[1]
    count = int(place.max()) + 1

    def total(values: Floats) -> Floats:
        return np.bincount(place, weights=values, minlength=count).astype(np.float64)

    weights, squares = total(weight), total(np.square(weight))
    gap = total(weight * (score - y)) / weights
    rows = np.square(weights) / squares
    spread = total(np.square(weight * (score - y - gap[place]))) / np.square(weights)
    noise = spread * np.divide(rows, rows - 1, out=np.ones(count), where=rows > 1)
    halves = [total(weight * part) for part in (y, 1 - y)]
    scored = [total(weight * part * score) for part in (y, 1 - y)]
    cells = np.concatenate(halves)
    return _Bins(
        weight=weights,
        noise=noise,
        cells=cells,
        squares=np.concatenate([total(np.square(weight) * part) for part in (y, 1 - y)]),
        scores=np.divide(np.concatenate(scored), cells, out=np.zeros_like(cells), where=cells > 0),
    )


def _of_quantiles(evaluation: NumericEvaluation, *, seed: int, level: float) -> Interval:
    if evaluation.quantiles is None or not evaluation.levels:
        raise NotEnoughData("calibration error of a regression is asked of its quantiles, and this model gives none")
    levels = np.asarray(evaluation.levels)
    band = (evaluation.y[:, None] > evaluation.quantiles).sum(axis=1)  # how many quantiles lie below the outcome
    weight, n = evaluation.weights, effective_n(evaluation.weights)
    cells = np.bincount(band, weights=weight, minlength=levels.size + 1).astype(np.float64)
    squares = np.bincount(band, weights=np.square(weight), minlength=levels.size + 1).astype(np.float64)

    def squared(drawn: Floats, times: float) -> Floats:
        below = np.cumsum(drawn, axis=1)[:, :-1] / np.maximum(drawn.sum(axis=1, keepdims=True), 1e-300)
        return np.asarray((np.square(below - levels) - times * below * (1 - below) / max(n - 1, 1)).mean(axis=1))

    point = float(squared(cells[None, :], 1)[0])
    spread = bootstrap_cells(
        lambda drawn: squared(drawn, 2), cells, squares=squares, seed=seed, replicates=REPLICATES, level=level
    )
    return _rooted(min(spread.low, point), point, max(spread.high, point), level)


def _rooted(low: float, point: float, high: float, level: float) -> Interval:
    low, point, high = (math.sqrt(max(0.0, end)) for end in (low, point, high))
    return Interval(low=low, point=point, high=high, level=level)


def predicted_over_actual(evaluation: Evaluated, *, level: float = 0.95) -> Interval:
    """The mean prediction divided by the mean outcome: 1 is calibrated in the large; above 1 too much is predicted.

    The interval is that of a ratio of two means over the same rows, by the delta method, on its logarithm where the
    ratio is above 0. Raises NotEnoughData where the mean outcome is 0.
    """
    y, score, weight = evaluation.y.astype(np.float64), evaluation.score.astype(np.float64), evaluation.weights
    predicted, actual = float(np.average(score, weights=weight)), float(np.average(y, weights=weight))
    if actual == 0:
        raise NotEnoughData("what is predicted cannot be held against outcomes whose mean is 0; take a longer span")
    ratio, n = predicted / actual, effective_n(weight)
    if n < 2:
        return Interval(low=-math.inf, point=ratio, high=math.inf, level=level)
    part = weight * (score - ratio * y) / actual  # one row's influence on the ratio
    error = math.sqrt(float(np.square(part).sum()) * n / (n - 1)) / float(weight.sum())
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    if ratio > 0:  # skewed, as a rate of few positives is
        low, high = ratio * math.exp(-half / ratio), ratio * math.exp(half / ratio)
        return Interval(low=low, point=ratio, high=high, level=level)
    return Interval(low=ratio - half, point=ratio, high=ratio + half, level=level)
