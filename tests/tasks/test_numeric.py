"""Regression: metrics held against scikit-learn, intervals by their coverage, losses by their bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_pinball_loss,
    mean_squared_error,
    r2_score,
)

from everloop.errors import NotEnoughData
from everloop.project import Objective
from everloop.stats import BoundedSequence
from everloop.tasks import NumericEvaluation, error_bound, get_task, numeric_losses, paired_numeric_interval
from everloop.tasks.numeric_metrics import NUMERIC_METRICS

Array = np.ndarray[Any, Any]
LEVELS = (0.1, 0.5, 0.9)
TASK = get_task("regression")


def trips(rng: np.random.Generator, n: int) -> tuple[Array, Array, Array]:
    """Minutes, what is predicted and quantiles: longer trips are less certain."""
    mean = rng.gamma(4.0, 4.0, size=n) + 2
    spread = 0.2 * mean
    y = mean + spread * rng.standard_normal(n)
    quantiles = mean[:, None] + spread[:, None] * np.array([-1.2816, 0.0, 1.2816])
    return y, mean + rng.normal(0.3, 0.5, size=n), quantiles


def test_the_metrics_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    y, score, quantiles = trips(rng, 500)
    weight = rng.uniform(0.2, 3.0, size=500)
    found = NumericEvaluation(y=y, score=score, weight=weight, quantiles=quantiles, levels=LEVELS)
    assert found.value("mae") == pytest.approx(mean_absolute_error(y, score, sample_weight=weight))
    assert found.value("rmse") == pytest.approx(mean_squared_error(y, score, sample_weight=weight) ** 0.5)
    assert found.value("mape") == pytest.approx(mean_absolute_percentage_error(y, score, sample_weight=weight))
    assert found.value("r2") == pytest.approx(r2_score(y, score, sample_weight=weight))
    losses = [
        mean_pinball_loss(y, quantiles[:, place], sample_weight=weight, alpha=at) for place, at in enumerate(LEVELS)
    ]
    assert found.value("pinball") == pytest.approx(np.mean(losses))
    assert NumericEvaluation(y=y, score=score).value("pinball") == pytest.approx(mean_absolute_error(y, score) / 2)


@pytest.mark.parametrize("metric", sorted(NUMERIC_METRICS))
def test_an_interval_holds_the_truth_as_often_as_it_says(metric: str) -> None:
    rng = np.random.default_rng(1)
    y, score, quantiles = trips(rng, 400_000)
    truth = NumericEvaluation(y=y, score=score, quantiles=quantiles, levels=LEVELS).value(metric)
    held = 0
    for _ in range(400):
        y, score, quantiles = trips(rng, 300)
        held += NumericEvaluation(y=y, score=score, quantiles=quantiles, levels=LEVELS).interval(metric).holds(truth)
    assert 0.91 <= held / 400 <= 0.985


@pytest.mark.parametrize("metric", sorted(NUMERIC_METRICS))
def test_of_two_equal_models_a_difference_is_seen_as_often_as_it_says(metric: str) -> None:
    rng = np.random.default_rng(2)
    seen = 0
    for _ in range(400):
        y, _, quantiles = trips(rng, 300)
        middle = quantiles[:, 1]
        noise = rng.normal(0.0, 1.0, size=(2, 300))
        one, two = (
            NumericEvaluation(y=y, score=middle + of, quantiles=quantiles + of[:, None], levels=LEVELS) for of in noise
        )
        seen += not paired_numeric_interval(metric, one, two).holds(0.0)
    assert seen / 400 <= 0.085


@pytest.mark.parametrize("metric", sorted(NUMERIC_METRICS))
def test_a_worse_model_is_seen_on_the_same_rows_where_the_intervals_alone_overlap(metric: str) -> None:
    y, score, quantiles = trips(np.random.default_rng(3), 2_000)
    good = NumericEvaluation(y=y, score=score, quantiles=quantiles, levels=LEVELS)
    bad = NumericEvaluation(y=y, score=score + 0.8, quantiles=quantiles + 0.8, levels=LEVELS)
    gap = paired_numeric_interval(metric, good, bad)
    assert gap.point == pytest.approx(good.value(metric) - bad.value(metric))
    assert gap.low > 0 if NUMERIC_METRICS[metric].maximise else gap.high < 0
    assert TASK.paired_interval(metric, good, bad) == gap


def test_outcomes_near_zero_are_not_in_mape() -> None:
    y = np.array([10.0, 10.0, 10.0, 10.0, 0.0, 0.05])
    found = NumericEvaluation(y=y, score=np.array([11.0, 9.0, 11.0, 9.0, 50.0, 50.0]))
    assert found.value("mape") == pytest.approx(0.1)
    with pytest.raises(NotEnoughData, match="mape needs outcomes other than 0"):
        NumericEvaluation(y=np.zeros(3), score=np.ones(3)).value("mape")


def test_what_the_rows_cannot_give_is_said() -> None:
    with pytest.raises(NotEnoughData, match="no rows to evaluate"):
        NumericEvaluation(y=np.empty(0), score=np.empty(0))
    same = NumericEvaluation(y=np.full(5, 7.0), score=np.arange(5.0))
    with pytest.raises(NotEnoughData, match="r2 needs outcomes that differ, and all 5 are 7"):
        same.value("r2")
    with pytest.raises(ValueError, match="'recall' is not a metric of regression; there are mae"):
        same.value("recall")
    with pytest.raises(ValueError, match="must be finite"):
        NumericEvaluation(y=np.array([1.0, np.nan]), score=np.ones(2))
    with pytest.raises(ValueError, match=r"quantiles must be of shape \(5, 3\)"):
        NumericEvaluation(y=np.ones(5), score=np.ones(5), quantiles=np.ones((5, 2)), levels=LEVELS)
    assert same.coverage() is None


def test_coverage_is_the_share_between_the_outer_quantiles() -> None:
    y, score, quantiles = trips(np.random.default_rng(4), 20_000)
    found = NumericEvaluation(y=y, score=score, quantiles=quantiles, levels=LEVELS)
    covered = found.coverage()
    assert covered is not None
    assert covered.holds(0.8)
    assert covered.width < 0.015


def test_a_part_of_the_rows_is_what_those_rows_alone_give() -> None:
    y, score, quantiles = trips(np.random.default_rng(5), 100)
    whole = NumericEvaluation(y=y, score=score, weight=np.arange(1.0, 101.0), quantiles=quantiles, levels=LEVELS)
    part = whole.of_rows(y > 15)
    assert part.rows == part.positives == int((y > 15).sum())
    assert part.value("pinball") == whole.of_rows(np.flatnonzero(y > 15)).value("pinball")


def test_nothing_is_decided() -> None:
    y, score, _ = trips(np.random.default_rng(6), 10)
    assert not TASK.decides
    assert TASK.choose_threshold(Objective.parse("mae"), y, score) is None
    assert not TASK.decide(score, None).any()
    assert TASK.objective_value(Objective.parse("mae"), TASK.evaluate(y, score)) == TASK.evaluate(y, score).value("mae")


@pytest.mark.parametrize("objective", ["mae", "mape", "rmse", "r2", "pinball"])
def test_losses_stay_in_their_bounds_and_tell_the_better_model(objective: str) -> None:
    rng = np.random.default_rng(7)
    y, score, _ = trips(rng, 4_000)
    y[:20] *= 1_000  # a clock that was wrong, or a car that was parked
    bound, of = error_bound(y), Objective.parse(objective)
    one, two = (TASK.losses(y, given, y > 0, objective=of, bound=bound) for given in (score, score + 6.0))
    told = np.isfinite(one)
    assert one[told].min() >= 0
    assert one[told].max() <= 1
    assert (np.isfinite(two) == told).all()
    gains = BoundedSequence(alpha=0.05).update((two - one)[told])
    assert gains.standing() == "better"


def test_a_bound_of_errors_is_always_above_zero() -> None:
    assert error_bound(np.r_[np.zeros(1_000), 5.0]) == 5.0
    assert error_bound(np.full(10, 3.0)) == 3.0
    assert error_bound(np.zeros(10)) == 1.0
    assert error_bound(np.arange(1_001.0)) == pytest.approx(495, abs=1)
    with pytest.raises(ValueError, match="errors have no bound of their own"):
        TASK.losses(np.ones(2), np.ones(2), np.ones(2) > 0)
    with pytest.raises(ValueError, match="is above 0"):
        numeric_losses(np.ones(2), np.ones(2), bound=0.0)
