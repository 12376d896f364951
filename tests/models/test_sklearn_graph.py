"""A scikit-learn estimator's graph: what the converter's own option would give, without what the option costs."""

from __future__ import annotations

import numpy as np
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from everloop.models import FittedPipeline
from everloop.models.graphs import serving_graph


def fitted(estimator: object) -> FittedPipeline:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4)).astype(np.float32)
    return FittedPipeline(estimator.fit(X, (X[:, 0] + X[:, 1] > 0.5).astype(np.int8)))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(n_estimators=10, random_state=0),
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=["forest", "logistic", "pipeline"],
)
def test_the_graph_is_that_of_probabilities_in_columns(estimator: object) -> None:
    model, fill = fitted(estimator), np.zeros(4, dtype=np.float32)
    columns = convert_sklearn(
        model.estimator,
        initial_types=[("x", FloatTensorType([None, 4]))],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 1},
    )
    assert serving_graph(model.onnx(), fill=fill, row_block=1) == serving_graph(columns, fill=fill, row_block=1)


def test_a_forest_draws_no_rows_anew_to_become_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(RandomForestClassifier(n_estimators=3, random_state=0))

    def asked(forest: object) -> None:
        raise RuntimeError("the rows of every tree were drawn again")

    monkeypatch.setattr(RandomForestClassifier, "estimators_samples_", property(asked))
    model.onnx()
