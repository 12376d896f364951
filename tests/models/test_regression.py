"""Laws that every learner of numbers keeps, and those of the quantiles around its score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from everloop.bundle import Graph
from everloop.errors import ConfigurationError, FitFailed, GraphDisagrees, NotEnoughData
from everloop.models import FitRequest, FitResult, Validation, fit, fit_here, learner, learners, resolve_params
from everloop.models.learner import Training
from everloop.models.regression.fitting import fit_numbers
from everloop.models.regression.quantiles import ResidualBand, shifts
from everloop.models.regression.target_scale import TargetScale
from everloop.models.regression.weighted import weighted_quantiles
from everloop.project import TASK_LEARNERS

NAMES = TASK_LEARNERS["regression"]
BOOSTERS = ("xgboost", "lightgbm")
LEVELS = (0.1, 0.5, 0.9)
SMALL: dict[str, dict[str, Any]] = {
    "constant": {},
    "linear": {},
    "random_forest": {"n_estimators": 20, "tree_rows": 3000},
    "xgboost": {"num_round": 60, "max_depth": 4, "subsample": 0.8},
    "lightgbm": {"num_round": 60, "num_leaves": 15, "subsample": 0.8},
    "neural_network": {"hidden": "16", "epochs": 10, "batch_size": 256, "learning_rate": 0.01},
}
every_learner = pytest.mark.parametrize("name", NAMES)


def rows(count: int, seed: int, *, unit: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, outcomes around 12 in `unit`, and their noise's standard deviation, from 0.3 to 3 of it."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, 5)).astype(np.float32)
    noise = np.exp(0.6 * X[:, 3].clip(-2, 2).astype(np.float64))
    y = 12 + 3 * X[:, 0] + 2 * np.abs(X[:, 1]) + X[:, 0] * X[:, 2] + noise * rng.normal(size=count)
    X[rng.random(X.shape) < 0.03] = np.nan
    X[1, 2] = np.inf
    return X, y * unit, noise * unit


def request(name: str, *, unit: float = 1.0, **changes: Any) -> FitRequest:
    X, y, _ = rows(6_000, 0, unit=unit)
    X_later, y_later, _ = rows(3_000, 1, unit=unit)
    said: dict[str, Any] = {
        "learner": name,
        "params": SMALL.get(name, {}),
        "X": X,
        "y": y,
        "seed": 7,
        "task": "regression",
        "validation": Validation(X=X_later, y=y_later),
        "quantiles": LEVELS,
    }
    return FitRequest(**(said | changes))


@pytest.fixture(scope="module")
def fitted() -> dict[str, FitResult]:
    return {name: fit_here(request(name)) for name in NAMES}


def test_regression_has_the_learners_that_a_model_yaml_may_name() -> None:
    assert tuple(learners("regression")) == NAMES
    assert [item.name for item in learners("regression").values() if item.yardstick] == ["constant", "linear"]


@every_learner
def test_quantiles_cover_what_they_say_on_fresh_rows_and_never_cross(name: str, fitted: dict[str, FitResult]) -> None:
    X, y, _ = rows(20_000, 2)
    score, quantiles = Graph(fitted[name].graph).predictions(X)
    assert quantiles is not None
    assert score.dtype == quantiles.dtype == np.float32
    assert quantiles.shape == (20_000, 3)
    assert np.all(np.diff(quantiles, axis=1) >= 0)
    inside = ((y >= quantiles[:, 0]) & (y <= quantiles[:, 2])).mean()
    assert inside == pytest.approx(0.8, abs=0.03)
    for place, level in enumerate(LEVELS):
        assert (y < quantiles[:, place]).mean() == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("name", BOOSTERS)
def test_the_widths_of_boosters_follow_the_noise(name: str, fitted: dict[str, FitResult]) -> None:
    X, y, noise = rows(20_000, 2)
    _, quantiles = Graph(fitted[name].graph).predictions(X)
    assert quantiles is not None
    width = quantiles[:, 2] - quantiles[:, 0]
    assert np.corrcoef(width, noise)[0, 1] > 0.6
    loud = noise > np.quantile(noise, 0.8)
    for part in (loud, ~loud):
        inside = ((y >= quantiles[:, 0]) & (y <= quantiles[:, 2]))[part].mean()
        assert inside == pytest.approx(0.8, abs=0.08)


@every_learner
def test_graph_and_model_agree_and_all_but_the_constant_learn(name: str, fitted: dict[str, FitResult]) -> None:
    X, y, _ = rows(4_000, 3)
    error = np.abs(Graph(fitted[name].graph).scores(X) - y).mean()
    middle = np.abs(np.median(request(name).y) - y).mean()
    assert fitted[name].agreement <= 1e-5
    assert error == pytest.approx(middle) if name == "constant" else error < 0.75 * middle


@every_learner
def test_a_row_alone_is_the_row_among_others(name: str, fitted: dict[str, FitResult]) -> None:
    graph = Graph(fitted[name].graph)
    X, _, _ = rows(70, 4)
    score, quantiles = graph.predictions(X)
    assert quantiles is not None
    assert not graph._by_row
    for place in range(70):
        alone, around = graph.predictions(X[place : place + 1])
        assert around is not None
        assert alone.tobytes() == score[place].tobytes()
        assert around.tobytes() == quantiles[place].tobytes()
    assert graph.scores(X).tobytes() == score.tobytes()
    nothing, none = graph.predictions(X[:0])
    assert none is not None
    assert (nothing.shape, none.shape) == ((0,), (0, 3))


@every_learner
def test_without_quantiles_the_score_is_the_same_and_the_graph_has_one_output(
    name: str, fitted: dict[str, FitResult]
) -> None:
    plain = fit_here(request(name, quantiles=()))
    assert [item.name for item in onnx.load_from_string(plain.graph).graph.output] == ["score"]
    X, _, _ = rows(500, 5)
    assert Graph(plain.graph).predictions(X)[1] is None
    assert Graph(plain.graph).scores(X).tobytes() == Graph(fitted[name].graph).scores(X).tobytes()


@every_learner
def test_threads_and_a_child_process_do_not_change_the_graph(name: str, fitted: dict[str, FitResult]) -> None:
    assert fit_here(request(name, threads=2)).graph == fitted[name].graph
    if name in ("linear", "lightgbm"):
        assert fit(request(name)).graph == fitted[name].graph


@every_learner
def test_the_unit_of_the_target_changes_nothing_but_the_unit(name: str, fitted: dict[str, FitResult]) -> None:
    in_thousands = Graph(fit_here(request(name, unit=1_024.0)).graph)
    X, _, _ = rows(2_000, 6)
    score, quantiles = Graph(fitted[name].graph).predictions(X)
    other, others = in_thousands.predictions(X)
    assert quantiles is not None
    assert others is not None
    assert other / 1_024 == pytest.approx(score, abs=1e-3)
    assert others / 1_024 == pytest.approx(quantiles, abs=1e-3)


@every_learner
def test_weights_count_and_only_their_ratios_do(name: str, fitted: dict[str, FitResult]) -> None:
    y = request(name).y
    same = fit_here(request(name, weight=np.full(len(y), 4.0))).graph
    assert same == fit_here(request(name, weight=np.ones(len(y)))).graph
    heavier = fit_here(request(name, weight=np.where(y > np.median(y), 8.0, 1.0))).graph
    X, _, _ = rows(1_000, 7)
    assert Graph(heavier).scores(X).mean() > Graph(fitted[name].graph).scores(X).mean() + 0.1


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
@pytest.mark.parametrize(("rate", "trees"), [(0.1, [11, 6, 6, 6]), (0.3, [11, 11, 11, 11])])
def test_a_quantile_takes_half_the_trees_where_learning_is_slow(name: str, rate: float, trees: list[int]) -> None:
    graph = fit_here(request(name, params={"n_estimators": 11, "learning_rate": rate})).graph
    found = [
        len(set(attribute.ints))
        for node in onnx.load_from_string(graph).graph.node
        for attribute in node.attribute
        if attribute.name == "nodes_treeids"
    ]
    assert found == trees


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "constant"])
def test_the_absolute_loss_gives_the_median_and_the_squared_the_mean(name: str) -> None:
    X, _, _ = rows(6_000, 0)
    y = np.random.default_rng(0).exponential(10.0, 6_000)
    found = {}
    for loss in ("absolute", "squared"):
        params = SMALL[name] | {"loss": loss}
        found[loss] = Graph(fit_here(request(name, y=y, params=params, quantiles=())).graph).scores(X).mean()
    assert found["absolute"] == pytest.approx(np.median(y), rel=0.06)
    assert found["squared"] == pytest.approx(y.mean(), rel=0.03)


@pytest.mark.parametrize(
    ("name", "said", "loss"),
    [("xgboost", "reg:absoluteerror", "absolute"), ("lightgbm", "l1", "absolute"), ("lightgbm", "mse", "squared")],
)
def test_native_objectives_mean_a_loss(name: str, said: str, loss: str) -> None:
    assert resolve_params(learner(name, task="regression"), {"objective": said})["loss"] == loss
    with pytest.raises(ConfigurationError, match="'binary' is not one of"):
        resolve_params(learner(name, task="regression"), {"objective": "binary"})
    with pytest.raises(ConfigurationError, match="has no such hyperparameter"):
        resolve_params(learner(name, task="regression"), {"scale_pos_weight": 3})


@pytest.mark.parametrize("name", [*BOOSTERS, "neural_network"])
def test_a_fit_stops_early_by_its_loss_on_validation_rows(name: str) -> None:
    rounds = "epochs" if name == "neural_network" else "n_estimators"
    params = {"learning_rate": 0.02 if name == "neural_network" else 0.5, rounds: 400, "early_stopping_rounds": 5}
    X, y, _ = rows(1_000, 0)
    found = fit_here(request(name, X=X, y=y, params=params))
    assert found.rounds is not None
    assert found.rounds < 300
    _, quantiles = Graph(found.graph).predictions(X)
    assert quantiles is not None


def test_one_clock_that_was_wrong_moves_no_learner_away() -> None:
    X, y, _ = rows(6_000, 0)
    wrong = y.copy()
    wrong[::500] = 5e5
    fresh, truth, _ = rows(2_000, 8)
    for name in ("constant", "neural_network"):
        score = Graph(fit_here(request(name, X=X, y=wrong, quantiles=())).graph).scores(fresh)
        assert np.median(np.abs(score - truth)) < 3
    assert TargetScale.of(wrong, np.ones(len(y))).spread < 5
    assert TargetScale.of(np.r_[np.zeros(900), np.arange(100.0)], np.ones(1_000)).spread > 1
    assert TargetScale.of(np.r_[np.zeros(990), np.full(10, 7.0)], np.ones(1_000)).spread == pytest.approx(0.7, abs=0.01)


@every_learner
def test_what_cannot_be_learned_is_said(name: str) -> None:
    with pytest.raises(NotEnoughData, match="6,000 rows to learn from, all of them 3; it needs outcomes that differ"):
        fit_here(request(name, y=np.full(6_000, 3.0)))


def test_quantiles_need_validation_rows_and_a_regression() -> None:
    with pytest.raises(NotEnoughData, match="the quantiles of linear are set on validation rows, and 0 are fewer"):
        fit_here(request("linear", validation=None))
    with pytest.raises(ConfigurationError, match="quantiles: a classification has none"):
        fit(request("constant", task="classification", y=request("constant").y > 12))


def test_a_graph_that_says_something_else_is_refused() -> None:
    asked = request("linear")
    fill = np.zeros(5, dtype=np.float32)
    X = np.nan_to_num(asked.X, posinf=0.0)
    assert asked.validation is not None
    kept = Validation(X=np.nan_to_num(asked.validation.X, posinf=0.0), y=asked.validation.y)
    params = resolve_params(learner("linear", task="regression"), {})
    training = Training(X=X, y=asked.y, weight=np.ones(len(X)), params=params, seed=0, validation=kept)
    found = fit_numbers(learner("linear", task="regression"), training, LEVELS)
    graph = found.graph(fill=fill, row_block=16)
    assert found.largest_difference(graph, X, fill=fill, seed=0) < 1e-5
    other = fit_numbers(learner("linear", task="regression"), training, (0.2, 0.5, 0.9))
    with pytest.raises(GraphDisagrees, match="differ by up to"):
        other.largest_difference(graph, X, fill=fill, seed=0)


def test_quantiles_of_weighted_values_cover_a_new_one_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    values, fresh = rng.exponential(size=(4_000, 29)), rng.exponential(size=4_000)
    highs = np.array([weighted_quantiles(row, np.ones(29), (0.9,))[0] for row in values])
    assert (fresh <= highs).mean() == pytest.approx(0.9, abs=0.012)
    twice = weighted_quantiles(np.r_[values[0], values[0]], np.ones(58), LEVELS)
    heavy = weighted_quantiles(np.r_[values[0], 99.0], np.r_[np.full(29, 2.0), 1e-9], LEVELS)
    assert twice == pytest.approx(heavy, rel=0.2)


def test_a_band_follows_what_its_bins_show_and_is_level_beyond_them() -> None:
    rng = np.random.default_rng(1)
    score = rng.uniform(0, 10, 5_000)
    y = score + (0.1 + 0.1 * score) * rng.normal(size=5_000)
    band = ResidualBand.of(y, score, np.ones(5_000), LEVELS)
    width = np.diff(band.around(np.array([1.0, 9.0]))[:, ::2], axis=1)[:, 0]
    assert width == pytest.approx(np.array([0.2, 1.0]) * 2.563, rel=0.15)
    below, lowest = band.around(np.array([-50.0, band.knots[0]]))
    assert below + 50 == pytest.approx(lowest - band.knots[0])
    one = ResidualBand.of(y[:150], np.zeros(150), np.ones(150), LEVELS)
    assert one.knots.tolist() == [0.0]
    assert shifts(y, band.around(score), np.ones(5_000), LEVELS) == pytest.approx(0, abs=0.02)


OWN = """\
from everloop.models import FittedRegressor, Hyperparameter, Int, own_learner


@own_learner
class ExtraTrees:
    name = "extra_trees"
    task = "regression"
    row_block = 1
    hyperparameters = (Hyperparameter(name="n_estimators", search=Int(5, 50), default=10, minimum=1),)

    def fit(self, training):
        from sklearn.ensemble import ExtraTreesRegressor

        model = ExtraTreesRegressor(
            n_estimators=training.params["n_estimators"], max_depth=8, random_state=training.seed
        )
        return FittedRegressor(model.fit(training.X, training.y, sample_weight=training.weight))
"""


def test_a_project_can_bring_a_learner_of_numbers_and_gets_quantiles_with_it(tmp_path: Path) -> None:
    own = tmp_path / "learners.py"
    own.write_text(OWN)
    assert "extra_trees" in learners("regression", own=own)
    assert "extra_trees" not in learners("classification", own=own)
    found = fit_here(request("extra_trees", params={"n_estimators": 20}, own=own))
    X, y, _ = rows(10_000, 2)
    score, quantiles = Graph(found.graph).predictions(X)
    assert quantiles is not None
    assert np.abs(score - y).mean() < 0.8 * np.abs(np.median(y) - y).mean()
    assert ((y >= quantiles[:, 0]) & (y <= quantiles[:, 2])).mean() == pytest.approx(0.8, abs=0.03)


def test_what_is_wrong_with_ones_own_learner_of_numbers_is_said(tmp_path: Path) -> None:
    own = tmp_path / "learners.py"
    own.write_text(OWN.replace('task = "regression"', 'task = "regresion"'))
    with pytest.raises(ConfigurationError, match="'regresion'; there are classification, regression"):
        learners("regression", own=own)
    own.write_text(OWN.replace("FittedRegressor(model.fit", "(model.fit"))
    with pytest.raises(FitFailed, match=r"return FittedRegressor\(estimator\)"):
        fit_here(request("extra_trees", params={}, own=own))
