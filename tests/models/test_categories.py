"""Categories in every learner: learned by name, served by ONNX; one that training never saw is a value like another."""

from __future__ import annotations

import numpy as np
import pytest

from everloop.bundle import Graph
from everloop.models import FitRequest, Validation, fit, fit_here, learners
from everloop.models.missing import NO_CATEGORY, fills

CITIES = 6
RISK = np.array([0.9, 0.05, 0.8, 0.1, 0.85, 0.05])
PLACES = {0: CITIES, 2: 3}
CLASSIFIERS = [name for name in learners("classification") if name != "constant"]
REGRESSORS = [name for name in learners("regression") if name != "constant"]


def rows(
    n: int = 3_000, *, seed: int = 0, missing: float = 0.0, numeric: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A target that hangs on a city whose risks go up and down along the alphabet, on a number, and not on a colour."""
    rng = np.random.default_rng(seed)
    city, number, colour = rng.integers(0, CITIES, n), rng.standard_normal(n), rng.integers(0, 3, n)
    y = RISK[city] + 0.02 * number if numeric else (rng.random(n) < RISK[city]).astype(float)
    X = np.column_stack([city, number, colour]).astype(np.float32)
    X[rng.random(n) < missing, 0] = np.nan
    return X, y


def request(name: str, task: str, *, missing: float = 0.0) -> FitRequest:
    numeric = task == "regression"
    X, y = rows(missing=missing, numeric=numeric)
    X_later, y_later = rows(800, seed=1, missing=missing, numeric=numeric)
    return FitRequest(
        learner=name,
        params=PARAMS.get(name, {}),
        X=X,
        y=y,
        validation=Validation(X=X_later, y=y_later),
        seed=0,
        task=task,
        categories=PLACES,
    )


PARAMS: dict[str, dict[str, object]] = {
    "neural_network": {"epochs": 12, "learning_rate": 0.01},
    "random_forest": {"max_features": 1.0, "min_child_samples": 20},
}
CASES = [*((name, "classification") for name in CLASSIFIERS), *((name, "regression") for name in REGRESSORS)]


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_every_learner_tells_cities_apart_by_name(name: str, task: str, missing: float) -> None:
    graph = Graph(fit_here(request(name, task, missing=missing)).graph)
    asked = np.column_stack([np.arange(CITIES), np.zeros(CITIES), np.ones(CITIES)]).astype(np.float32)
    said = graph.scores(asked)
    high, low = said[RISK > 0.5], said[RISK < 0.5]
    assert high.min() > low.max() + 0.2


@pytest.mark.parametrize(("name", "task"), CASES)
def test_an_unseen_category_is_a_finite_value_and_the_same_as_a_missing_one(name: str, task: str) -> None:
    graph = Graph(fit_here(request(name, task)).graph)
    # what the features make of an unseen category is NaN
    asked = np.array([[np.nan, 0.3, 1], [np.nan, 0.3, np.nan], [2, 0.3, np.nan]], dtype=np.float32)
    said = graph.scores(asked)
    assert np.isfinite(said).all()
    assert said[0].tobytes() == graph.scores(asked[:1])[0].tobytes()
    known = graph.scores(np.column_stack([np.arange(CITIES), np.full(CITIES, 0.3), np.ones(CITIES)]).astype(np.float32))
    assert known.min() - 0.35 <= said[0] <= known.max() + 0.35


def test_a_line_without_categories_cannot_tell_cities_apart_that_the_alphabet_mixes() -> None:
    """The planted risks go up and down: what the learners above did, they did by name."""
    asked = request("logistic", "classification")
    plain = FitRequest(learner="logistic", params={}, X=asked.X, y=asked.y, seed=0)
    said = Graph(fit_here(plain).graph).scores(
        np.column_stack([np.arange(CITIES), np.zeros(CITIES), np.ones(CITIES)]).astype(np.float32)
    )
    assert said[RISK > 0.5].min() < said[RISK < 0.5].max()


def test_a_child_process_gets_the_categories_too() -> None:
    asked = request("logistic", "classification")
    assert fit(asked).graph == fit_here(asked).graph


def test_a_missing_category_is_none_of_them_where_that_was_learned_and_else_the_commonest() -> None:
    X = np.array([[0, 5], [2, 5], [2, 5], [1, np.nan]], dtype=np.float32)
    gap = X.copy()
    gap[0, 0] = np.nan
    assert fills(X, reads_missing=False, categories={0}).tolist() == [2.0, 5.0]
    assert fills(X, reads_missing=False, categories={0}, one_hot=True).tolist() == [NO_CATEGORY, 5.0]
    assert fills(gap, reads_missing=False, categories={0}).tolist() == [NO_CATEGORY, 5.0]
    assert np.isnan(fills(gap, reads_missing=True, categories={0})[0])
    assert fills(X, reads_missing=True, categories={0})[0] == 2.0
