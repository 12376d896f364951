"""Hyperparameters: one meaning per name, every mistake told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.errors import ConfigurationError, NotFound
from everloop.models import (
    Choice,
    Distribution,
    Float,
    Hyperparameter,
    Int,
    Learner,
    defaults,
    fit_here,
    learner,
    learners,
    resolve_params,
    search_space,
)
from everloop.models.lightgbm import float32_floor
from everloop.models.params import NOT_HERE
from tests.models.rows import NAMES, SMALL, request

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


@pytest.mark.parametrize("name", ["seed", "random_state", "n_jobs", "nthread", "verbosity", "verbose", "eval_metric"])
@pytest.mark.parametrize("item", learners("classification").values(), ids=NAMES)
def test_what_is_said_elsewhere_is_told_where(item: Learner, name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_params(item, {name: 7})
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(f"hyperparameters.{name}: ")
    assert ("`seed: 7`" in mistake) == (name in ("seed", "random_state"))
    assert "no such hyperparameter" not in mistake


OURS_IN_LIGHTGBM = {
    "learning_rate": "learning_rate",
    "n_estimators": "num_iterations",
    "subsample": "bagging_fraction",
    "colsample_bytree": "feature_fraction",
    "reg_alpha": "lambda_l1",
    "reg_lambda": "lambda_l2",
    "max_bin": "max_bin",
    "num_leaves": "num_leaves",
    "max_depth": "max_depth",
    "min_child_samples": "min_data_in_leaf",
    "min_child_weight": "min_sum_hessian_in_leaf",
    "min_split_gain": "min_gain_to_split",
    "scale_pos_weight": "scale_pos_weight",
    "early_stopping_rounds": "early_stopping_round",
}


def test_every_alias_that_lightgbm_has_is_known() -> None:
    """Held against the installed library's own table, so that a new alias is not missed."""
    from lightgbm.basic import _ConfigAliases

    item = learner("lightgbm")
    assert OURS_IN_LIGHTGBM.keys() == {each.name for each in item.hyperparameters}
    for each in item.hyperparameters:
        theirs = set(_ConfigAliases.get(OURS_IN_LIGHTGBM[each.name]))
        assert theirs <= set(each.names), each.name
    (balance,) = (each for each in item.hyperparameters if each.name == "scale_pos_weight")
    assert set(_ConfigAliases.get("is_unbalance")) <= set(balance.names)
    for fixed in ("objective", "boosting"):
        assert set(_ConfigAliases.get(fixed)) <= item.fixed.keys()
    for elsewhere in ("seed", "num_threads", "verbosity", "metric"):
        assert set(_ConfigAliases.get(elsewhere)) <= NOT_HERE.keys()


# what XGBoost's own configuration calls it: the library says which names are one, and takes no notice of others
OURS_IN_XGBOOST = {
    "learning_rate": ("learning_rate", "eta"),
    "max_depth": ("max_depth",),
    "min_child_weight": ("min_child_weight",),
    "gamma": ("gamma", "min_split_loss"),
    "subsample": ("subsample",),
    "colsample_bytree": ("colsample_bytree",),
    "reg_lambda": ("reg_lambda", "lambda"),
    "reg_alpha": ("reg_alpha", "alpha"),
    "max_bin": ("max_bin",),
    "scale_pos_weight": ("scale_pos_weight",),
}
SAID_TO_TRAIN = {"n_estimators": ("num_boost_round",), "early_stopping_rounds": ("early_stopping_rounds",)}


def xgboost_config(params: dict[str, Any]) -> str:
    import xgboost

    rows = xgboost.DMatrix(np.zeros((4, 1)), label=np.array([0, 1, 0, 1]))
    booster = xgboost.train({"objective": "binary:logistic", "tree_method": "hist", **params}, rows, num_boost_round=1)
    return str(booster.save_config())


def test_every_alias_that_xgboost_has_is_known() -> None:
    """Two names are one where the installed library ends in the same configuration."""
    import inspect

    import xgboost

    item = learner("xgboost")
    table = {each.name: each for each in item.hyperparameters}
    assert table.keys() == OURS_IN_XGBOOST.keys() | SAID_TO_TRAIN.keys()
    plain = xgboost_config({})
    for name, theirs in OURS_IN_XGBOOST.items():
        assert set(theirs) <= set(table[name].names)
        value = 3 if name in ("max_depth", "max_bin") else 0.37
        configs = {xgboost_config({alias: value}) for alias in theirs}
        assert len(configs) == 1, name
        assert configs != {plain}, name
    said = inspect.signature(xgboost.train).parameters
    for name, theirs in SAID_TO_TRAIN.items():
        assert set(theirs) <= set(table[name].names) & said.keys()
    assert {"num_round", "nrounds"} <= set(table["n_estimators"].names)  # of its command line, and of R


@pytest.mark.parametrize(
    ("name", "kind", "ours"),
    [
        ("logistic", "linear_model.LogisticRegression", {"C", "max_iter", "class_weight"}),
        (
            "random_forest",
            "ensemble.RandomForestClassifier",
            {"n_estimators", "max_depth", "min_samples_leaf", "max_features", "class_weight"},
        ),
        (
            "neural_network",
            "neural_network.MLPClassifier",
            {"hidden_layer_sizes", "learning_rate_init", "max_iter", "batch_size", "alpha", "n_iter_no_change"},
        ),
        (
            "lightgbm",
            "ensemble.HistGradientBoostingClassifier",
            {
                "learning_rate", "max_iter", "max_leaf_nodes", "max_depth", "min_samples_leaf", "l2_regularization",
                "max_bins", "n_iter_no_change", "class_weight",
            },
        ),
    ],
)  # fmt: skip
def test_scikit_learns_own_names_are_known(name: str, kind: str, ours: set[str]) -> None:
    import importlib
    import inspect

    module, _, estimator = kind.partition(".")
    theirs = inspect.signature(getattr(importlib.import_module(f"sklearn.{module}"), estimator)).parameters.keys()
    assert ours <= theirs
    assert ours <= {known for each in learner(name).hyperparameters for known in each.names}
    assert {"random_state", "verbose"} & theirs <= NOT_HERE.keys()


@pytest.mark.parametrize(("said", "ours"), [([64, 32], "64-32"), ([16], "16"), (32, "32")])
def test_hidden_layers_are_read_as_scikit_learn_writes_them(said: object, ours: str) -> None:
    assert resolve_params(learner("neural_network"), {"hidden_layer_sizes": said})["hidden"] == ours
    with pytest.raises(ConfigurationError, match=r"\[7\] is not one of 16, 32, 64, \[16\].*; hidden says it in other"):
        resolve_params(learner("neural_network"), {"hidden_layer_sizes": [7]})


WEIGHTED = tuple(name for name in NAMES if name != "constant")


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ({"scale_pos_weight": "balanced"}, "balanced"),
        ({"class_weight": "balanced"}, "balanced"),
        ({"class_weight": None}, 1.0),
        ({"is_unbalance": True}, "balanced"),
        ({"unbalance": True}, "balanced"),
        ({"unbalanced_sets": False}, 1.0),
        ({"scale_pos_weight": 7}, 7.0),
    ],
)
def test_class_weights_have_one_meaning_under_every_name(name: str, said: dict[str, object], ours: object) -> None:
    params = resolve_params(learner(name), said)
    assert params["scale_pos_weight"] == ours
    assert resolve_params(learner(name), params) == params


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"class_weight": "balanced", "is_unbalance": True}, "is_unbalance: .* has it already as 'class_weight'"),
        ({"scale_pos_weight": 2, "class_weight": "balanced"}, "class_weight: .* already as 'scale_pos_weight'"),
        ({"scale_pos_weight": "balancd"}, "'balancd' is not a number nor balanced; the default of"),
        ({"class_weight": "fair"}, "'fair' is not one of balanced, null; scale_pos_weight says it in other ways"),
        ({"class_weight": {"0": 1, "1": 8}}, "is not one of balanced, null; scale_pos_weight says it in other ways"),
        ({"is_unbalance": 1}, "1 is not one of true, false"),
    ],
)
def test_class_weights_that_say_nothing_are_told(said: dict[str, object], sentence: str) -> None:
    for name in WEIGHTED:
        with pytest.raises(ConfigurationError, match=sentence):
            resolve_params(learner(name), said)


@pytest.mark.parametrize("name", WEIGHTED)
def test_balanced_is_the_ratio_of_the_rows_that_are_learned_from(name: str) -> None:
    asked = request(name)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(asked.y))
    ratio = float(weight[asked.y == 0].sum() / weight[asked.y == 1].sum())
    balanced, said = (
        fit_here(request(name, weight=weight, params=SMALL[name] | {"scale_pos_weight": value}))
        for value in ("balanced", ratio)
    )
    assert balanced.graph == said.graph
    assert balanced.params["scale_pos_weight"] == "balanced"


def test_a_table_that_is_wrong_is_told_where_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="hyperparameter depth: its default 0 is not from 1 to 9"):
        Hyperparameter(name="depth", search=Int(1, 9), default=0, minimum=1, maximum=9)
    with pytest.raises(ConfigurationError, match="a search looks from 1 to 99, which does not lie within 1 to 9"):
        Hyperparameter(name="depth", search=Int(1, 99), default=3, minimum=1, maximum=9)
    with pytest.raises(ConfigurationError, match="its default 'all' is a word, and a search begins at a number"):
        Hyperparameter(name="depth", search=Int(1, 9), default="all", words=("all",))


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
