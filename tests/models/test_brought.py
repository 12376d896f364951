"""Estimators that people fitted become graphs that agree with them, or are refused with the reason."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest

from everloop.bundle import Graph
from everloop.errors import Refused
from everloop.models import AGREEMENT, BroughtGraph, brought_graph

sklearn = pytest.importorskip("sklearn", reason="the extra [train] is not installed")

from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402
from xgboost import XGBClassifier, XGBRegressor  # noqa: E402

NAMES = ("a", "b", "c", "d", "e")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((1_500, 5)).astype(np.float32)
HOLES = np.where(RNG.random(X.shape) < 0.05, np.float32(np.nan), X)
NUMBER = (X[:, 0] + X[:, 1] ** 2 + 0.3 * RNG.standard_normal(1_500)) * 40
Y = (NUMBER > 40).astype(int)
FRAME = pl.DataFrame(X, schema=list(NAMES))


def brought(estimator: Any, *, task: str = "classification", features: tuple[str, ...] = NAMES) -> BroughtGraph:
    y = Y if task == "classification" else NUMBER
    return brought_graph(estimator, features=features, fitted=X, compared=X[:400], y=y, task=task)


def fitted(estimator: Any, rows: Any, target: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(rows, target)


CLASSIFIERS: dict[str, tuple[Any, Any, bool]] = {
    "logistic": (LogisticRegression(), X, True),
    "imputing pipeline": (make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), HOLES, False),
    "forest": (RandomForestClassifier(10, random_state=0), X, True),
    "histogram": (HistGradientBoostingClassifier(max_iter=10), HOLES, False),
    "xgboost": (XGBClassifier(n_estimators=10), HOLES, False),
    "lightgbm": (LGBMClassifier(n_estimators=10, verbose=-1), HOLES, False),
    "lightgbm in a pipeline": (
        make_pipeline(SimpleImputer(), LGBMClassifier(n_estimators=10, verbose=-1)),
        HOLES,
        False,
    ),
    "network": (make_pipeline(StandardScaler(), MLPClassifier((6,), max_iter=30, random_state=0)), X, True),
    "calibrated": (CalibratedClassifierCV(LinearSVC(), cv=3), X, True),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_becomes_a_graph_that_says_the_same(name: str) -> None:
    estimator, rows, fills = CLASSIFIERS[name]
    model = fitted(estimator, rows, Y)
    found = brought(model)
    assert found.fills_missing is fills
    assert found.features == NAMES
    assert found.agreement <= AGREEMENT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = model.predict_proba(X[400:])[:, 1]
    assert np.abs(Graph(found.graph).scores(X[400:]) - wanted).max() < 1e-4


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), Ridge()),
        GradientBoostingRegressor(n_estimators=10, random_state=0),
        HistGradientBoostingRegressor(max_iter=10),
        XGBRegressor(n_estimators=10),
        LGBMRegressor(n_estimators=10, verbose=-1),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_regressor_becomes_a_graph_in_the_targets_unit(estimator: Any) -> None:
    model = fitted(estimator, X, NUMBER)
    scores = Graph(brought(model, task="regression").graph).scores(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.abs(scores - model.predict(X)).max() < 1e-4 * NUMBER.std() * 2


def test_a_frame_with_some_of_the_features_in_another_order_is_read_by_name() -> None:
    model = fitted(make_pipeline(StandardScaler(), LogisticRegression()), FRAME.select("d", "b", "a"), Y)
    found = brought(model)
    assert found.features == ("d", "b", "a")
    assert np.abs(Graph(found.graph).scores(X) - model.predict_proba(FRAME.select("d", "b", "a"))[:, 1]).max() < 1e-5


def test_a_pipeline_that_picks_columns_by_name_is_read_by_name() -> None:
    picking = ColumnTransformer([("scale", StandardScaler(), ["b", "a"]), ("keep", "passthrough", ["e"])])
    model = fitted(make_pipeline(picking, LogisticRegression()), FRAME, Y)
    scores = Graph(brought(model).graph).scores(X)
    assert np.abs(scores - model.predict_proba(FRAME)[:, 1]).max() < 1e-5


def test_a_forest_fitted_on_missing_values_never_says_something_else_of_them() -> None:
    found = brought(fitted(RandomForestClassifier(10, random_state=0), HOLES, Y))
    assert found.fills_missing


def test_the_graph_is_that_of_the_estimator_and_leaves_it_as_it_was() -> None:
    model = fitted(XGBClassifier(n_estimators=5), X, Y)
    model.get_booster().feature_names = list(NAMES)
    found = brought(model)
    assert model.get_booster().feature_names == list(NAMES)
    assert np.abs(Graph(found.graph).scores(X) - model.predict_proba(X)[:, 1]).max() < 1e-5


REFUSED: dict[str, tuple[Any, str]] = {
    "unfitted": (lambda: LogisticRegression(), "it is not fitted, or does not say on how many columns"),
    "no probabilities": (lambda: fitted(LinearSVC(), X, Y), "it has no predict_proba; wrap it in Calibrated"),
    "no estimator": (lambda: object(), "it has no predict_proba; give a fitted classifier or pipeline"),
    "words": (
        lambda: fitted(LogisticRegression(), X, np.where(Y == 1, "fraud", "ok")),
        "its classes are 'fraud', 'ok', and 0 and 1 are needed",
    ),
    "three classes": (lambda: fitted(LogisticRegression(), X, Y + (X[:, 0] > 1)), "its classes are 0, 1, 2"),
    "fewer columns": (
        lambda: fitted(LogisticRegression(), X[:, :3], Y),
        "fitted on 3 columns without names, and the model has 5 features",
    ),
    "other names": (
        lambda: fitted(LogisticRegression(), FRAME.rename({"a": "amount_log"}), Y),
        "columns that are no features of the model: 'amount_log'",
    ),
    "no converter": (
        lambda: fitted(make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()), np.abs(X), Y),
        "it cannot be made into an ONNX graph, which is what is served: RuntimeError: FunctionTransformer is not",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_with_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(Refused) as raised:
        brought(make())
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_graph_that_disagrees_is_refused() -> None:
    class Liar(LogisticRegression):  # type: ignore[misc]
        """Converts as its parent does and says something else."""

        def predict_proba(self, rows: Any) -> Any:
            return np.clip(super().predict_proba(rows) + 0.1, 0, 1)

    from skl2onnx import update_registered_converter
    from skl2onnx.common._registration import get_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    def convert(scope: Any, operator: Any, container: Any) -> None:
        get_converter("SklearnLinearClassifier")(scope, operator, container)

    update_registered_converter(
        Liar,
        "SklearnLiar",
        calculate_linear_classifier_output_shapes,
        convert,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False], "raw_scores": [True, False]},
        overwrite=True,
    )
    with pytest.raises(Refused, match=r"its ONNX graph and it differ by up to 0\.1 on 800 of 800 rows"):
        brought(fitted(Liar(), X, Y))
