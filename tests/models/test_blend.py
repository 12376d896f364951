"""A blend: its graph says the mean of what its members' say, and its hyperparameters are theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from everloop.bundle import Graph
from everloop.errors import ConfigurationError
from everloop.models import (
    FitRequest,
    FitResult,
    Validation,
    blend_params,
    fit,
    fit_here,
    fitted_learners,
    learner,
    settled,
    stops_early,
    told,
)
from tests.models import test_regression as numbers
from tests.models.rows import SMALL, request, rows

MEMBERS = ("xgboost", "random_forest", "neural_network", "logistic")
PARAMS = blend_params((name, SMALL[name]) for name in MEMBERS)


def blend(**changes: Any) -> FitRequest:
    return replace(request("xgboost"), learner="blend", **({"params": PARAMS} | changes))


def held() -> Validation:
    X, y = rows(4_000, seed=5)
    return Validation(X=X, y=y)


@pytest.fixture(scope="module")
def made() -> FitResult:
    return fit_here(blend())


def test_the_graph_says_the_mean_of_its_members(made: FitResult, fitted: dict[str, FitResult]) -> None:
    X, _ = rows(3_000, seed=2)
    X[::7, 5] = np.nan
    mean = np.mean([Graph(fitted[name].graph).scores(X).astype(np.float64) for name in MEMBERS], axis=0)
    assert np.abs(Graph(made.graph).scores(X) - mean).max() < 1e-6
    assert made.agreement <= 1e-5


def test_a_row_alone_gives_the_bytes_of_a_batch(made: FitResult) -> None:
    graph, (X, _) = Graph(made.graph), rows(300, seed=3)
    alone = np.concatenate([graph.scores(X[at : at + 1]) for at in range(len(X))])
    assert alone.tobytes() == graph.scores(X).tobytes()


def test_the_same_request_gives_the_same_bytes_in_a_child_and_with_more_threads(made: FitResult) -> None:
    child = fit(blend())
    assert (child.graph, child.params) == (made.graph, made.params)
    assert fit_here(blend(threads=2)).graph == made.graph
    assert fit_here(blend(seed=8)).graph != made.graph


def test_what_is_calibrated_is_the_mean(made: FitResult) -> None:
    found = fit_here(blend(validation=held(), calibration="isotonic"))
    assert found.calibration is not None
    assert found.calibration.method == "isotonic"
    assert found.held is not None
    X, y = rows(3_000, seed=2)
    before, after = Graph(made.graph).scores(X), Graph(found.graph).scores(X)
    assert (np.argsort(before, kind="stable") == np.argsort(after, kind="stable")).mean() > 0.999
    assert not np.allclose(before, after)
    assert fit(blend(validation=held(), calibration="isotonic")).graph == found.graph
    assert abs(after.mean() - y.mean()) < 0.02


def test_numbers_and_their_quantiles_are_averaged_too() -> None:
    asked = numbers.request("lightgbm")
    members = [("lightgbm", dict(asked.params)), ("linear", dict(numbers.request("linear").params))]
    found = Graph(fit_here(replace(asked, learner="blend", params=blend_params(members))).graph)
    parts = [Graph(fit_here(replace(asked, learner=name, params=params)).graph) for name, params in members]
    X = asked.X[:500]
    score, quantiles = found.predictions(X)
    said = [part.predictions(X) for part in parts]
    assert score == pytest.approx(np.mean([one for one, _ in said], axis=0), rel=1e-5)
    assert quantiles is not None
    assert quantiles == pytest.approx(np.mean([other for _, other in said], axis=0), rel=1e-5)
    assert (np.diff(quantiles, axis=1) >= 0).all()


def test_hyperparameters_are_settled_and_told_member_by_member(made: FitResult) -> None:
    said = {"2.learner": "lightgbm", "2.num_round": 7, "1.learner": "xgboost", "1.eta": 0.2}
    found = settled("blend", said)
    assert (found["1.learning_rate"], found["2.n_estimators"]) == (0.2, 7)
    assert settled("blend", found) == found
    assert told("blend", found) == {name: found[name] for name in found if "early" not in name}
    assert made.params == told("blend", settled("blend", PARAMS))
    assert fitted_learners("blend", said) == ("xgboost", "lightgbm")
    assert fitted_learners("xgboost", {}) == ("xgboost",)
    assert not stops_early(found)
    assert stops_early(settled("blend", said | {"2.early_stopping_rounds": 5}))


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "a blend has 2 members or more, got 0"),
        ({"1.learner": "xgboost"}, "a blend has 2 members or more, got 1"),
        ({"max_depth": 3}, "max_depth: a blend has its members' and no other, each under a number: 1.learner"),
        ({"1.learner": "xgboost", "2.learner": "blend"}, "2.learner: member 2 needs a learner that is no blend"),
        ({"1.learner": "xgboost", "2.eta": 1}, "2.learner: member 2 needs a learner that is no blend, got nothing"),
        ({"1.learner": "xgboost", "2.learner": "xgbost"}, "hyperparameters.2.learner: .*did you mean 'xgboost'"),
        ({"1.learner": "xgboost", "2.learner": "xgboost", "2.eta": 9}, r"hyperparameters.2.eta: 9 is not from"),
    ],
)
def test_what_is_no_blend_is_told_before_anything_is_fitted(params: dict[str, object], sentence: str) -> None:
    for attempt in (fit, fit_here):
        with pytest.raises(ConfigurationError, match=sentence):
            attempt(blend(params=params))


def test_a_blend_that_asks_for_what_no_fit_gives_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"1\.early_stopping_rounds: xgboost is to stop early"):
        fit(blend(params=PARAMS | {"1.early_stopping_rounds": 5}))
    with pytest.raises(ConfigurationError, match="calibration: isotonic asks the validation rows"):
        fit(blend(calibration="isotonic"))
    with pytest.raises(ConfigurationError, match="choose: blend"):
        learner("blend")
