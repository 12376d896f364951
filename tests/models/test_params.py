"""Hyperparameters: one meaning per name, every mistake told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.errors import ConfigurationError, NotFound
from everloop.models import Choice, Distribution, Float, Int, defaults, learner, learners, resolve_params, search_space
from everloop.models.lightgbm import float32_floor
from tests.models.rows import NAMES

GRID: dict[str, list[Any]] = {
    "max_depth": [3, 5, 7, 10],
    "learning_rate": [0.01, 0.1, 0.2, 0.3],
    "n_estimators": [50, 100, 150, 200],
    "subsample": [0.6, 0.8, 1.0],
    "colsample_bytree": [0.6, 0.8, 1.0],
}


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_spaces_hold_the_usual_grid(name: str) -> None:
    space = search_space(learner(name))
    for hyperparameter, values in GRID.items():
        assert all(space[hyperparameter].holds(value) for value in values)
    assert {"max_bin", "scale_pos_weight", "min_child_weight"} <= set(space)
    assert ("num_leaves" in space) == (name == "lightgbm")


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_native_names_mean_the_same(name: str) -> None:
    item = learner(name)
    native = resolve_params(item, {"num_round": 100, "eta": 0.2, "max_depth": 5, "bagging_fraction": 0.8, "lambda": 2})
    said = {"n_estimators": 100, "learning_rate": 0.2, "max_depth": 5, "subsample": 0.8, "reg_lambda": 2.0}
    assert native == resolve_params(item, said) == defaults(item) | said


def test_what_cannot_be_chosen_may_be_said() -> None:
    assert resolve_params(learner("xgboost"), {"objective": "binary:logistic"}) == defaults(learner("xgboost"))
    with pytest.raises(ConfigurationError, match="cannot be chosen"):
        resolve_params(learner("xgboost"), {"objective": "rank:pairwise"})


def test_every_mistake_is_told_at_once() -> None:
    wrong = {"eta": 0.1, "learning_rate": 0.1, "max_dept": 3, "subsample": 1.5, "n_estimators": 2.5, "max_bin": "x"}
    with pytest.raises(ConfigurationError) as caught:
        resolve_params(learner("xgboost"), wrong)
    assert caught.value.mistakes == (
        "hyperparameters.learning_rate: xgboost has it already as 'eta', which means the same; keep one",
        "hyperparameters.max_dept: xgboost has no such hyperparameter; did you mean 'max_depth'?",
        "hyperparameters.subsample: 1.5 is not from 0.01 to 1; the default of xgboost is 1.0",
        "hyperparameters.n_estimators: 2.5 is not a whole number; the default of xgboost is 100",
        "hyperparameters.max_bin: 'x' is not a number; the default of xgboost is 255",
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [1]])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="is not a number"):
        resolve_params(learner("xgboost"), {"learning_rate": value})


def test_unknown_learners_and_tasks_name_the_known() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'xgboost'"):
        learner("xgbost")
    with pytest.raises(NotFound, match="classification"):
        learners("clustering")


def test_no_name_has_two_meanings() -> None:
    for item in learners("classification").values():
        names = [name for each in item.hyperparameters for name in each.names]
        assert len(names) == len(set(names)), item.name
        assert not set(names) & set(item.fixed)


def values_of(distribution: Distribution) -> st.SearchStrategy[Any]:
    if isinstance(distribution, Choice):
        return st.sampled_from(distribution.options)
    if isinstance(distribution, Int):
        return st.integers(distribution.low, distribution.high)
    assert isinstance(distribution, Float)
    return st.floats(distribution.low, distribution.high)


@given(st.data(), st.sampled_from(NAMES))
def test_whatever_a_search_tries_is_allowed_and_settled(data: st.DataObject, name: str) -> None:
    item = learner(name)
    tried = {key: data.draw(values_of(distribution)) for key, distribution in search_space(item).items()}
    once = resolve_params(item, tried)
    assert once == defaults(item) | tried
    assert resolve_params(item, once) == once
    assert all(distribution.holds(once[key]) for key, distribution in search_space(item).items())


@given(st.floats(-1e30, 1e30), st.integers(-3, 3))
def test_a_floored_threshold_decides_alike(threshold: float, steps: int) -> None:
    x = np.float32(threshold)
    for _ in range(abs(steps)):
        x = np.nextafter(x, np.float32(np.inf if steps > 0 else -np.inf))
    floor = float32_floor(np.array([threshold]))[0]
    assert (float(x) <= threshold) == (float(x) <= floor)
    assert floor == np.float32(floor)
