"""Curves by their laws: they keep the area they had, count weights as rows, and what they promise holds as often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from everloop.experiment import trial_curves
from everloop.experiment.decision_curves import POINTS, DecisionCurves
from everloop.experiment.parameter_importance import LEAST_TRIALS, parameter_importance
from everloop.experiment.residuals import QUANTILES, residuals
from everloop.experiment.space import LearnerSpace, learner_spaces
from everloop.experiment.trials import Trial
from everloop.models import learner
from everloop.project import Objective
from everloop.tasks import Evaluation, choose_threshold

Array = np.ndarray[Any, np.dtype[Any]]
OBJECTIVES = ("recall at precision >= 0.80", "cost(fn=20, fp=1)", "average_precision", "accuracy", "precision")


def scored(n: int = 20_000, *, seed: int = 0, share: float = 0.05) -> tuple[Array, Array, Array]:
    """Outcomes, scores that are their probabilities, and weights."""
    rng = np.random.default_rng(seed)
    score = rng.beta(0.5, 0.5 * (1 - share) / share, n).astype(np.float32)
    y = (rng.random(n) < score).astype(np.float64)
    return y, score, rng.integers(1, 4, n).astype(np.float64)


def curves(
    y: Array, score: Array, weight: Array, *, objective: str = OBJECTIVES[0], threshold: float | None = None
) -> DecisionCurves:
    found = trial_curves(Objective.parse(objective), y, score, weight, threshold=threshold).decisions
    assert found is not None
    return found


@pytest.mark.parametrize("share", [0.002, 0.3])
def test_thinned_curves_keep_their_areas(share: float) -> None:
    y, score, weight = scored(60_000, share=share)
    found, whole = curves(y, score, weight), Evaluation(y=y, score=score, weight=weight)
    for line in (found.precision_recall, found.roc, found.over_threshold):
        assert len(line.points) <= POINTS
        assert list(line.x) == sorted(line.x)
    assert np.trapezoid(found.roc.y, found.roc.x) == pytest.approx(whole.value("roc_auc"), abs=0.002)
    area = np.trapezoid(found.precision_recall.y, found.precision_recall.x)
    assert area == pytest.approx(whole.value("average_precision"), abs=0.03 if share < 0.01 else 0.003)
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert found.precision_recall.x[-1] == 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_weight_of_two_is_a_row_twice(objective: str) -> None:
    y, score, weight = scored(2_000)
    score = np.round(score, 2).astype(np.float32)
    once = curves(y, score, weight, objective=objective, threshold=0.2)
    twice = (np.repeat(column, weight.astype(np.int64)) for column in (y, score, np.ones(y.size)))
    rows = curves(*twice, objective=objective, threshold=0.2)
    for mine, other in ((once.roc, rows.roc), (once.precision_recall, rows.precision_recall)):
        assert np.allclose(mine.points, other.points)
    assert np.allclose(once.over_threshold.points, rows.over_threshold.points)
    assert once.chosen is not None
    assert rows.chosen is not None
    assert once.chosen.value == pytest.approx(rows.chosen.value)
    assert [one.share for one in once.calibration] == pytest.approx([one.share for one in rows.calibration])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_chosen_threshold_lies_on_the_curves(objective: str) -> None:
    y, score, weight = scored()
    asked = Objective.parse(objective)
    threshold = choose_threshold(asked, y, score, weight)
    found = curves(y, score, weight, objective=objective, threshold=threshold)
    whole = Evaluation(y=y, score=score, weight=weight, threshold=threshold, costs=asked.costs)
    assert found.chosen is not None
    assert found.chosen.recall == pytest.approx(whole.value("recall"))
    assert found.chosen.precision == pytest.approx(whole.value("precision"))
    values = np.array(found.over_threshold.y)
    # the best of the curve is near what was chosen, which had to hold with one more error
    best = values.max() if asked.maximise else values.min()
    assert found.chosen.value == pytest.approx(best, rel=0.05)
    assert found.value_of == {"average_precision": "f1", "precision": "f1"}.get(objective, objective)


def test_a_score_that_says_nothing_has_a_level_curve() -> None:
    y, _, weight = scored(1_000)
    found = curves(y, np.full(y.size, 0.05, dtype=np.float32), weight)
    share = np.average(y, weights=weight)
    assert found.precision_recall.points == [(0.0, pytest.approx(share)), (1.0, pytest.approx(share))]
    assert found.roc.points == [(0, 0), (1, 1)]
    assert len(found.calibration) == 1


def held(score_of: Any, *, seeds: int = 40) -> float:
    """The share of bins whose interval holds their mean score."""
    inside = []
    for seed in range(seeds):
        y, score, weight = scored(4_000, seed=seed)
        found = curves(y, score_of(score), weight)
        inside += [one.low <= one.score <= one.high for one in found.calibration]
    return float(np.mean(inside))


def test_a_calibrated_score_lies_in_its_intervals_as_often_as_they_say_and_another_does_not() -> None:
    assert 0.92 <= held(lambda score: score) <= 0.985
    assert held(lambda score: np.sqrt(score)) < 0.5


def test_rare_positives_have_bins_of_their_own() -> None:
    rng = np.random.default_rng(3)
    score = np.where(rng.random(40_000) < 0.004, rng.beta(2, 2, 40_000), 1e-4 * rng.random(40_000)).astype(np.float32)
    y = (rng.random(score.size) < score).astype(np.float64)
    found = curves(y, score, np.ones(score.size)).calibration
    assert sum(one.score > 0.1 for one in found) >= 5
    assert sum(one.rows for one in found) == y.size


def test_residual_quantiles_are_those_of_the_noise_and_shares_add_up() -> None:
    rng = np.random.default_rng(1)
    score = rng.uniform(10, 50, 40_000)
    y = score + score * rng.standard_normal(40_000) / 10
    found = residuals(y, score, np.ones(y.size))
    assert len(found.bins) == 20
    for one in found.bins:
        expected = [-1.645, -0.674, 0, 0.674, 1.645]
        assert np.array(one.quantiles) * 10 / one.predicted == pytest.approx(expected, abs=0.12)
    assert sum(found.shares) == pytest.approx(1)
    assert len(found.edges) == len(found.shares) + 1
    again = residuals(y + 1000, score, np.ones(y.size), edges=found.edges)
    assert again.shares[-1] == pytest.approx(1)


def test_a_weight_counts_in_residuals_as_rows_do() -> None:
    rng = np.random.default_rng(2)
    score, y = np.round(rng.uniform(0, 9, 500)), rng.normal(5, 2, 500)
    weight = rng.integers(1, 5, 500)
    once = residuals(y, score, weight)
    rows = residuals(np.repeat(y, weight), np.repeat(score, weight), np.ones(weight.sum()), edges=once.edges)
    assert once.shares == pytest.approx(rows.shares)
    assert [one.quantiles for one in once.bins] == [one.quantiles for one in rows.bins]
    assert len(QUANTILES) == len(once.bins[0].quantiles)


def test_residuals_that_are_all_the_same_are_one_bar() -> None:
    found = residuals(np.full(50, 3.0), np.full(50, 3.0), np.ones(50))
    assert max(found.shares) == 1
    assert [one.predicted for one in found.bins] == [3]


def space() -> LearnerSpace:
    return learner_spaces([learner("lightgbm")], {"lightgbm": {"max_depth": [3, 5, 7]}})["lightgbm"]


def tried(count: int, seed: int, value: Any) -> list[Trial]:
    rng, found = np.random.default_rng(seed), space()
    trials = []
    for number in range(1, count + 1):
        params = {**found.start, "num_leaves": int(rng.integers(8, 128)), "max_depth": int(rng.choice([3, 5, 7]))}
        params["learning_rate"] = float(np.exp(rng.uniform(np.log(0.011), np.log(0.29))))
        worth = float(value(params) + 0.01 * rng.standard_normal())
        trials.append(
            Trial(number=number, kind="trial", learner="lightgbm", hyperparameters=params, status="done", value=worth)
        )
    return trials


@pytest.mark.parametrize("seed", range(3))
def test_the_hyperparameter_that_moves_the_value_explains_most_of_it(seed: int) -> None:
    trials = tried(40, seed, lambda params: np.log(params["learning_rate"]))
    shares = parameter_importance(trials, space(), seed=0)
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.8
    assert shares["max_depth"] < 0.1
    assert sum(shares.values()) <= 1 + 1e-9
    assert shares == parameter_importance(trials[::-1], space(), seed=0)
    minimised = [
        Trial(number=t.number, kind="trial", learner=t.learner, hyperparameters=t.hyperparameters, status="done",
              value=-t.value) for t in trials if t.value is not None
    ]  # fmt: skip
    assert parameter_importance(minimised, space(), seed=0)["learning_rate"] > 0.8


def test_trials_that_were_given_up_explain_nothing() -> None:
    whole = tried(20, 0, lambda params: np.log(params["learning_rate"]))
    given_up = [replace(trial, number=trial.number + 20, status="pruned") for trial in tried(20, 1, lambda _: 50.0)]
    assert parameter_importance([*whole, *given_up], space(), seed=0) == parameter_importance(whole, space(), seed=0)


def test_a_default_that_a_trial_does_not_name_is_the_value_it_had() -> None:
    early = learner_spaces([learner("lightgbm")], {"lightgbm": {"early_stopping_rounds": [0, 20]}})["lightgbm"]
    trials = tried(20, 0, lambda params: np.log(params["learning_rate"]))  # none names early_stopping_rounds: it is 0
    assert "early_stopping_rounds" in parameter_importance(trials, early, seed=0)


def test_few_trials_or_equal_ones_say_nothing_of_hyperparameters() -> None:
    assert parameter_importance(tried(LEAST_TRIALS - 1, 0, lambda params: params["num_leaves"]), space(), seed=0) == {}
    level = [t for t in tried(20, 0, lambda params: 0) if t.value is not None]
    same = [
        Trial(number=t.number, kind="trial", learner=t.learner, hyperparameters=t.hyperparameters, status="done",
              value=0.5) for t in level
    ]  # fmt: skip
    assert parameter_importance(same, space(), seed=0) == {}
