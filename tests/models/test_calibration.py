"""Calibration: probabilities that hold, rankings that stay, and models that need none left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from everloop.bundle import Graph
from everloop.errors import ConfigurationError, GraphDisagrees, NotEnoughData
from everloop.models import FitRequest, FitResult, Validation, fit, fit_here
from everloop.models.calibration import calibrated
from everloop.models.isotonic_map import IsotonicMap
from everloop.models.log_loss import log_loss
from everloop.models.logistic_map import LogisticMap
from everloop.models.score_map import ScoreMap, check_map
from tests.models.rows import NAMES, request, rows

METHODS = ("logistic", "isotonic")
FITS = {"logistic": LogisticMap.fit, "isotonic": IsotonicMap.fit}
every_method = pytest.mark.parametrize("method", METHODS)


def known(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, outcomes, and the probabilities that these were drawn with: 4 % positives."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, 4)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(1.2 * X[:, 0] + 0.8 * X[:, 1] - 4.0)))
    return X, (rng.random(count) < chance).astype(np.int8), chance


def validation(count: int = 20_000, seed: int = 1) -> Validation:
    X, y, _ = known(count, seed)
    return Validation(X=X, y=y)


def fitted(learner: str, calibration: str, **params: float) -> FitResult:
    X, y, _ = known(20_000, 0)
    return fit_here(
        FitRequest(learner=learner, params=params, X=X, y=y, seed=3, validation=validation(), calibration=calibration)
    )


@pytest.mark.parametrize(("learner", "params"), [("logistic", {}), ("lightgbm", {"n_estimators": 60, "max_depth": 3})])
@every_method
def test_an_over_confident_model_comes_near_the_truth_and_ranks_as_before(
    learner: str, params: dict[str, float], method: str
) -> None:
    """Law: trained with positives counted fifty times, its log-loss is far off; calibrated, near the best there is."""
    plain = fitted(learner, "none", scale_pos_weight=50, **params)
    mapped = fitted(learner, method, scale_pos_weight=50, **params)
    X, y, chance = known(50_000, 2)
    one = np.ones(len(y))
    before, after = Graph(plain.graph).scores(X), Graph(mapped.graph).scores(X)
    best = log_loss(y, chance, one)
    assert log_loss(y, before, one) > 2 * best
    assert log_loss(y, after, one) < 1.05 * best
    assert mapped.calibration is not None
    assert mapped.calibration.method == method
    assert mapped.calibration.log_loss_before == pytest.approx(log_loss(y, before, one), rel=0.1)
    assert mapped.calibration.log_loss_after == pytest.approx(log_loss(y, after, one), rel=0.1)
    assert abs(after.mean() - y.mean()) < 0.004
    assert roc_auc_score(y, after) == pytest.approx(roc_auc_score(y, before), abs=1e-6)
    assert average_precision_score(y, after) == pytest.approx(average_precision_score(y, before), abs=1e-5)


def test_auto_takes_the_map_that_an_over_confident_model_asks_for() -> None:
    found = fitted("logistic", "auto", scale_pos_weight=50)
    assert found.calibration is not None
    assert found.calibration.method == "logistic"  # its log-odds are off by a constant: a line says it all
    assert found.calibration.parameters["slope"][0] == pytest.approx(1.0, abs=0.15)
    assert found.calibration.parameters["intercept"][0] == pytest.approx(-np.log(50), abs=0.3)


@every_method
def test_held_scores_know_nothing_of_their_own_outcomes(method: str) -> None:
    """Law: of outcomes that are chance alone, the map of all rows seems to know more than held scores, which know
    nothing."""
    seems, knows = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, y = rng.random(800).astype(np.float32), (rng.random(800) < 0.3).astype(np.int8)
        found = calibrated(method, scores, Validation(X=scores[:, None], y=y))
        assert found.map is not None
        assert found.held is not None
        assert found.held.dtype == scores.dtype
        one = np.ones(len(y))
        rate = log_loss(y, np.full(len(y), y.mean()), one)
        seems += log_loss(y, found.map.apply(scores), one) < log_loss(y, found.held, one)
        knows += log_loss(y, found.held, one) < rate
    assert seems >= 15
    assert knows <= 4


def test_the_newest_rows_are_judged_by_a_map_of_the_older_ones() -> None:
    """How many positives they have, which is three times as many, it cannot know."""
    rng = np.random.default_rng(3)
    scores, y = rng.random(1000).astype(np.float32), np.tile(np.arange(10) < 1, 100).astype(np.int8)
    y[750:] = np.tile(np.arange(10) < 3, 25)
    found = calibrated("logistic", scores, Validation(X=scores[:, None], y=y))
    last = np.flatnonzero(np.cumsum(y) > 0.8 * y.sum())
    older = LogisticMap.fit(scores[: last[0]], y[: last[0]], np.ones(last[0]))
    assert found.held is not None
    assert found.held[last] == pytest.approx(older.apply(scores[last]), abs=1e-6)
    assert found.held[last].mean() < 0.6 * y[last].mean()


def test_rows_in_order_of_their_class_are_calibrated_too() -> None:
    _, y, chance = known(4_000, 7)
    order = np.argsort(y, kind="stable")
    rows = Validation(X=np.zeros((len(y), 1), dtype=np.float32), y=y[order])
    found = calibrated("logistic", (chance[order] ** 2).astype(np.float32), rows)
    assert found.said.log_loss_after < found.said.log_loss_before


@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_auto_sees_a_shift_of_half_a_logit_in_a_few_thousand_rows(shift: float) -> None:
    """Power: with about 170 positives it is found in three of four seeds at least."""
    taken = 0
    for seed in range(40):
        _, y, chance = known(4_000, 500 + seed)
        shifted = 1 / (1 + np.exp(-(np.log(chance / (1 - chance)) + shift)))
        rows = Validation(X=np.zeros((len(y), 1), dtype=np.float32), y=y)
        taken += calibrated("auto", shifted.astype(np.float32), rows).map is not None
    assert taken >= 30


def test_auto_takes_an_isotonic_map_where_no_line_does() -> None:
    rng = np.random.default_rng(0)
    chance = rng.choice([0.02, 0.05, 0.6], size=20_000)
    scores = np.where(chance == 0.02, 0.3, np.where(chance == 0.05, 0.7, 0.75)) + rng.uniform(0, 0.04, len(chance))
    y = (rng.random(len(chance)) < chance).astype(np.int8)
    rows = Validation(X=np.zeros((len(y), 1), dtype=np.float32), y=y)
    found = calibrated("auto", scores.astype(np.float32), rows).map
    assert found is not None
    assert found.method == "isotonic"


def test_auto_leaves_a_calibrated_model_alone_in_most_seeds() -> None:
    """Scores that are the truth: a map that promises nothing is taken even less often than one in twenty."""
    taken = 0
    for seed in range(200):
        _, y, chance = known(4_000, 100 + seed)
        rows = Validation(X=np.zeros((len(y), 1), dtype=np.float32), y=y)
        found = calibrated("auto", chance.astype(np.float32), rows)
        taken += found.map is not None
        assert (found.said.method == "none") == (found.map is None) == (found.held is None)
    assert taken <= 5


@pytest.mark.parametrize("name", NAMES)
@every_method
def test_a_row_alone_gives_the_bytes_of_a_batch(name: str, method: str) -> None:
    """Law 2, with a calibration: the last rows of a batch are computed like all others."""
    X, y = rows(3000, seed=4)
    graph = Graph(fit_here(request(name, validation=Validation(X=X, y=y), calibration=method)).graph)
    together = graph.scores(X)
    assert not graph._by_row
    for size in (1, 3, 7, 17, 100):
        parts = [graph.scores(X[start : start + size]) for start in range(0, 40 * size, size)]
        assert np.concatenate(parts).tobytes() == together[: 40 * size][: len(X)].tobytes()
    assert ((together > 0) & (together < 1)).all()


scores_of = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=60)


@settings(max_examples=150, deadline=None)
@given(scores_of, st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
def test_whatever_it_is_fitted_on_a_map_rises_strictly(said: list[float], seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    scores = np.array(said, dtype=np.float32)
    y = (rng.random(len(scores)) < 0.5).astype(np.int8)
    y[:2] = 0, 1
    found: ScoreMap = FITS[method](scores, y, rng.uniform(0.1, 10, len(y)))
    probability = found.apply(np.linspace(0, 1, 1001))
    assert (np.diff(probability) >= 0).all()
    apart = (probability > 1e-12) & (probability < 1 - 1e-12)  # beyond, a line as steep as that has no more numbers
    assert (np.diff(probability[apart]) > 0).all()
    assert ((probability >= 0) & (probability <= 1)).all()


@every_method
def test_scores_that_rank_the_wrong_way_round_keep_their_ranking(method: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(2000).astype(np.float32)
    y = (rng.random(2000) > scores).astype(np.int8)
    found: ScoreMap = FITS[method](scores, y, np.ones(2000))
    probability = found.apply(np.linspace(0, 1, 101))
    assert (np.diff(probability) > 0).all()
    assert probability[50] == pytest.approx(0.5, abs=0.05)


def test_an_isotonic_map_is_pooled_and_small() -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(1)
    scores = rng.random(30_000).astype(np.float32)
    y = (rng.random(len(scores)) < scores**2).astype(np.int8)
    weight = rng.uniform(0.5, 2, len(y))
    found = IsotonicMap.fit(scores, y, weight)
    assert len(found.knots) <= 64
    assert (np.diff(found.knots) > 0).all()
    at = np.linspace(0.05, 0.95, 50)
    slow = IsotonicRegression().fit(scores, y, sample_weight=weight).predict(at)
    assert np.abs(found.apply(at) - slow).max() < 0.05
    assert np.abs(found.apply(at) - at**2).max() < 0.05


def test_a_line_finds_what_scikit_learn_finds() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    z = rng.normal(-2, 2, 20_000)
    y = (rng.random(len(z)) < 1 / (1 + np.exp(-(0.5 * z - 1)))).astype(np.int8)
    weight = rng.uniform(0.5, 2, len(y))
    found = LogisticMap.fit(1 / (1 + np.exp(-z)), y, weight)
    slow = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(z[:, None], y, sample_weight=weight)
    assert found.slope == pytest.approx(slow.coef_[0, 0], rel=2e-3)
    assert found.intercept == pytest.approx(slow.intercept_[0], rel=2e-3)


@every_method
def test_the_child_gives_the_same_calibration(method: str) -> None:
    asked = request("lightgbm", validation=_validation(), calibration=method)
    here, there = fit_here(asked), fit(asked)
    assert there.graph == here.graph
    assert there.calibration == here.calibration
    assert here.held is not None
    assert there.held is not None
    assert there.held.tobytes() == here.held.tobytes()


def _validation() -> Validation:
    X, y = rows(2000, seed=8)
    return Validation(X=X, y=y)


def test_another_map_in_the_graph_is_told() -> None:
    plain = fit_here(request("lightgbm")).graph
    mapped = fit_here(request("lightgbm", validation=_validation(), calibration="logistic")).graph
    with pytest.raises(GraphDisagrees, match=r"logistic calibration and its plain version differ by up to 0\."):
        check_map(mapped, Graph(plain), LogisticMap(3.0, 1.0), rows(50)[0])


def test_what_cannot_be_calibrated_is_told() -> None:
    with pytest.raises(ConfigurationError, match="'platt' is not one of none, logistic, isotonic, auto"):
        fit_here(request("logistic", calibration="platt"))
    with pytest.raises(ConfigurationError, match="auto asks the validation rows and the fit has none"):
        fit(request("logistic", calibration="auto"))
    few = Validation(X=rows(300)[0], y=(np.arange(300) < 29).astype(np.int8))
    for method, least in (("logistic", 30), ("isotonic", 100)):
        with pytest.raises(NotEnoughData, match=f"{method} needs {least} rows of each class .* the rarer has 29"):
            fit_here(request("logistic", validation=few, calibration=method))
    left = fit_here(request("logistic", validation=few, calibration="auto"))
    assert left.calibration is not None
    assert left.calibration.method == "none"
    assert left.graph == fit_here(request("logistic", validation=few)).graph
