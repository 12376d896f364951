"""Laws of our own learners, beside those of the suite in test_suite.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from everloop.bundle import Graph
from everloop.errors import GraphDisagrees, NotEnoughData
from everloop.models import FitResult, fit_here, learner, learners, resolve_params
from everloop.models.agreement import AGREEMENT, largest_difference
from everloop.models.learner import Training
from everloop.models.missing import filled, fills
from everloop.models.random_forest import _pool
from tests.models.rows import COLUMNS, NAMES, SMALL, request, rows

every_learner = pytest.mark.parametrize("name", NAMES)


def test_classification_has_these_learners_and_two_yardsticks() -> None:
    assert tuple(learners("classification")) == NAMES
    assert [item.name for item in learners("classification").values() if item.yardstick] == ["constant", "logistic"]


@every_learner
def test_graph_and_model_agree_on_new_rows_with_missing_values(name: str, fitted: dict[str, FitResult]) -> None:
    item = learner(name)
    X, y = rows(2000)
    fill = fills(X, reads_missing=item.reads_missing)
    params = resolve_params(item, SMALL[name])
    model = item.fit(Training(X=filled(X, fill), y=y, weight=np.ones(len(y)), params=params, seed=7))
    fresh, _ = rows(5000, seed=1)
    fresh[::7, 5] = np.nan  # missing where training had nothing missing
    worst = largest_difference(fitted[name].graph, model, fresh, fill=fill, seed=0)
    assert worst <= 1e-5 < AGREEMENT
    assert fitted[name].agreement <= 1e-5


def test_the_constant_is_the_share_of_positives(fitted: dict[str, FitResult]) -> None:
    scores = Graph(fitted["constant"].graph).scores(rows(100, seed=2)[0])
    assert set(scores.tolist()) == {np.float32(request("constant").y.mean())}


@every_learner
def test_only_the_ratios_of_weights_count(name: str) -> None:
    y = request(name).y
    same = fit_here(request(name, weight=np.full(len(y), 4.0))).graph
    assert same == fit_here(request(name, weight=np.ones(len(y)))).graph


@every_learner
def test_the_seed_is_all_the_randomness(name: str, fitted: dict[str, FitResult]) -> None:
    other = fit_here(request(name, seed=8)).graph
    assert (other == fitted[name].graph) == (name in ("constant", "logistic"))


@every_learner
def test_graphs_hold_our_names_and_no_noise(name: str, fitted: dict[str, FitResult]) -> None:
    model = onnx.load_from_string(fitted[name].graph)
    assert [item.name for item in model.graph.input] == ["input"]
    assert [item.name for item in model.graph.output] == ["score"]
    assert (model.graph.name, model.producer_name, model.producer_version) == ("everloop", "everloop", "")
    assert model.doc_string == "" == model.graph.doc_string
    assert all(node.doc_string == "" for node in model.graph.node)
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    assert not {"ZipMap", "ArgMax"} & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(("share", "positives"), [(0.002, 100), (0.5, 20_000), (0.9, 35_000)])
def test_a_forests_pool_keeps_rare_positives_and_the_weight_of_each_class(share: float, positives: int) -> None:
    y = (np.arange(50_000) < 50_000 * share).astype(np.int8)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    kept, new = _pool(y, weight, 3)
    assert len(kept) == 40_000
    assert (np.diff(kept) > 0).all()
    assert y[kept].sum() == positives
    for label in (0, 1):
        assert new[y[kept] == label].sum() == pytest.approx(weight[y == label].sum())


def test_another_models_graph_is_told_apart(fitted: dict[str, FitResult]) -> None:
    item = learner("xgboost")
    X, y = rows(2000)
    fill = fills(X, reads_missing=True)
    params = resolve_params(item, {"n_estimators": 2})
    other = item.fit(Training(X=filled(X, fill), y=y, weight=np.ones(len(y)), params=params, seed=1))
    with pytest.raises(GraphDisagrees, match=r"by more than the 0\.0001 allowed"):
        largest_difference(fitted["xgboost"].graph, other, X, fill=fill, seed=0)


@pytest.mark.parametrize(("value", "only"), [(0, "negative"), (1, "positive")])
def test_one_class_alone_teaches_nothing(value: int, only: str) -> None:
    with pytest.raises(NotEnoughData, match=f"all of them {only}"):
        fit_here(request("logistic", y=np.full(2000, value)))


def test_missing_is_what_is_not_finite() -> None:
    X = np.array([[1, np.nan, np.nan], [np.inf, 2, np.nan], [3, 4, np.nan], [5, 6, np.nan]], dtype=np.float32)
    assert fills(X, reads_missing=False).tolist() == [3, 4, 0]
    native = fills(X, reads_missing=True)
    assert np.isnan(native).all()
    assert np.isnan(filled(X, native)[1, 0])
    complete = np.abs(rows(100)[0][:, 5:])
    assert np.isfinite(fills(complete, reads_missing=True)).all()
    assert X.shape[1] < COLUMNS


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_trees_without_a_split_are_served_as_the_constant_they_are(name: str) -> None:
    result = fit_here(request(name, params={"min_child_weight": 1e9, "n_estimators": 20}))
    scores = Graph(result.graph).scores(rows(50, seed=3)[0])
    share = request(name).y.mean()
    assert np.allclose(scores, share, atol=0.01)


def test_threads_change_neither_the_graph_nor_how_far_its_model_is_from_it(fitted: dict[str, FitResult]) -> None:
    for name in ("random_forest", "xgboost", "lightgbm"):
        again = [fit_here(request(name, threads=2)) for _ in range(3)]
        assert {one.graph for one in again} == {fitted[name].graph}
        assert {one.agreement for one in again} == {fitted[name].agreement}
