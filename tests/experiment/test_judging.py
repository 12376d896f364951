"""The objective's value, its interval, and by how much one model is better than another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.bundle import Graph
from everloop.experiment import judge_fold
from everloop.experiment.judging import better_by, cells_values, evaluated, judged
from everloop.models import FitRequest, Validation, fit_here
from everloop.project import Objective
from everloop.tasks import Evaluation, get_task

OBJECTIVES = [
    Objective.parse(text)
    for text in (
        "recall at precision >= 0.80",
        "precision at recall >= 50%",
        "f1 at accuracy > 0.9",
        "recall at cost <= 2",
    )
]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(OBJECTIVES), st.lists(st.floats(0, 100), min_size=4, max_size=4).filter(lambda c: c[0] + c[2] > 0)
)
def test_values_of_many_cells_are_the_tasks_own(objective: Objective, cells: list[float]) -> None:
    four = Evaluation(
        y=np.array([1, 0, 1, 0]), score=np.array([1.0, 1.0, 0.0, 0.0]), weight=np.array(cells), threshold=0.5
    )
    slow = get_task("classification").objective_value(objective, four)
    assert cells_values(objective, np.array([cells]))[0] == pytest.approx(slow, nan_ok=True)


def scored(n: int, *, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.1
    return y, (1 / (1 + np.exp(-(rng.standard_normal(n) + shift * y - 2)))).astype(np.float32), np.ones(n)


@pytest.mark.parametrize("text", ["recall at precision >= 0.80", "average_precision", "cost(fn=20, fp=1)"])
def test_the_interval_holds_the_value_and_more_rows_make_it_narrower(text: str) -> None:
    objective = Objective.parse(text)
    few, many = (judged(objective, *scored(n, shift=3.0, seed=1), seed=0) for n in (600, 20_000))
    for found in (few, many):
        assert found.interval.low <= found.value <= found.interval.high
    assert many.interval.width < few.interval.width / 2


def test_a_threshold_that_is_given_is_kept() -> None:
    objective = OBJECTIVES[0]
    assert judged(objective, *scored(1_000, shift=3.0, seed=1), seed=0, threshold=0.4).threshold == 0.4


@pytest.mark.parametrize("text", ["recall at precision >= 0.80", "roc_auc", "log_loss"])
def test_the_better_model_is_better_by_more_than_nothing(text: str) -> None:
    objective = Objective.parse(text)
    y, good, weight = scored(8_000, shift=4.0, seed=2)
    noise = np.random.default_rng(3).permutation(good)
    mixed = (0.5 * good + 0.5 * noise).astype(np.float32)
    first, second = (evaluated(objective, y, score, weight, threshold=0.5) for score in (good, mixed))
    assert better_by(objective, first, second, seed=0).low > 0
    assert better_by(objective, second, first, seed=0).high < 0


def test_flagging_everything_wins_nothing_under_a_constraint() -> None:
    objective = OBJECTIVES[0]
    y, good, weight = scored(4_000, shift=4.0, seed=2)
    model = evaluated(objective, y, good, weight, threshold=0.5)
    constant = evaluated(objective, y, np.full_like(good, 0.1), weight, threshold=0.1)
    assert better_by(objective, model, constant, seed=0).low > 0


@pytest.mark.parametrize(("positives", "rows", "threshold", "each"), [(0.02, 2_000, 0.6, 1.0), (0.1, 800, 0.7, 60.0)])
def test_the_interval_holds_the_worlds_value_as_often_as_it_says(
    positives: float, rows: int, threshold: float, each: float
) -> None:
    """Rare positives, and legitimate rows that each stand for many: of 150 samples about 5 % may miss."""
    rng, objective = np.random.default_rng(5), Objective.parse("recall at precision >= 0.80")

    def sample(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = rng.random(n) < positives
        score = 1 / (1 + np.exp(-(rng.normal(size=n) + 3.2 * y - 3)))
        return y, score.astype(np.float32), np.where(y, 1.0, each)

    value = judged(objective, *sample(1_000_000), seed=0, threshold=threshold).value
    held = [judged(objective, *sample(rows), seed=at, threshold=threshold).interval.holds(value) for at in range(150)]
    assert np.mean(held) >= 0.88  # three standard errors below 95 %, and a little for the percentiles of a bootstrap
    assert not all(held)


def test_a_calibrated_fit_is_judged_by_maps_that_have_not_seen_the_row() -> None:
    """Outcomes are chance alone, and a map of all rows would beat the rate that they have."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((2_000, 3)).astype(np.float32), (rng.random(2_000) < 0.3).astype(np.int8)
    held = Validation(X=X[1_000:], y=y[1_000:])
    asked = {"learner": "lightgbm", "params": {"n_estimators": 5}, "X": X[:1_000], "y": y[:1_000], "seed": 0}
    plain, mapped = (
        fit_here(FitRequest(**asked, validation=held, calibration=method))  # type: ignore[arg-type]
        for method in ("none", "isotonic")
    )
    rate = -np.average(np.log(np.where(held.y == 1, held.y.mean(), 1 - held.y.mean())))
    objective = Objective.parse("log_loss")
    score, said = judge_fold(mapped, held, objective=objective)
    seen = Graph(mapped.graph).scores(held.X)
    assert judged(objective, held.y, seen, held.weights, seed=0).value < rate < score.value
    assert mapped.held is not None
    assert said[:, 0].tobytes() == mapped.held.tobytes()
    assert score.threshold == get_task("classification").choose_threshold(objective, held.y, mapped.held, held.weights)
    _, uncalibrated = judge_fold(plain, held, objective=objective)
    assert uncalibrated[:, 0].tobytes() == Graph(plain.graph).scores(held.X).tobytes()


@pytest.mark.parametrize("text", ["average_precision", "recall at precision >= 0.40", "log_loss"])
def test_a_calibration_changes_no_ranking_and_no_decision(text: str) -> None:
    """It rises strictly; only what judges probabilities is judged by maps that have not seen the row."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((3_000, 3)).astype(np.float32)
    y = (X[:, 0] + rng.standard_normal(3_000) > 0.8).astype(np.int8)
    held = Validation(X=X[1_500:], y=y[1_500:])
    asked = {"learner": "lightgbm", "params": {"n_estimators": 30}, "X": X[:1_500], "y": y[:1_500], "seed": 0}
    objective, found = Objective.parse(text), {}
    for method in ("none", "isotonic"):
        fitted = fit_here(FitRequest(**asked, validation=held, calibration=method))  # type: ignore[arg-type]
        found[method] = judge_fold(fitted, held, objective=objective)
    (plain, scores), (mapped, said) = found["none"], found["isotonic"]
    assert scores.shape == (1_500, 1)
    assert said.shape == (1_500, 2)
    assert mapped.metrics["average_precision"] == pytest.approx(plain.metrics["average_precision"], abs=0.02)
    if text == "log_loss":
        assert said[:, 0].tobytes() == said[:, 1].tobytes()
    else:
        assert mapped.value == pytest.approx(plain.value, abs=1e-3)
        unseen = evaluated(objective, held.y, said[:, 1], held.weights, threshold=None)
        assert mapped.metrics["log_loss"] == pytest.approx(unseen.value("log_loss"))
