"""Logistic regression on standardised columns, the yardstick a learner has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.class_weight import scale_pos_weight
from everloop.models.encoding import encoder
from everloop.models.learner import Training, weighted_up
from everloop.models.sklearn_graph import FittedPipeline
from everloop.models.space import Float, Hyperparameter, Int, Value

__all__ = ["Logistic"]

_HYPERPARAMETERS: Final = (
    Hyperparameter(name="C", search=Float(1e-4, 1e2, log=True), default=1.0, minimum=1e-8, maximum=1e8),
    scale_pos_weight(),
    Hyperparameter(name="max_iter", search=Int(50, 200), default=100, minimum=1, maximum=100_000),
)


@dataclass(frozen=True, slots=True)
class Logistic:
    """L2-penalised logistic regression by L-BFGS; a penalty of 1/C against the sum of the rows' losses."""

    name: str = "logistic"
    yardstick: bool = True
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    row_block: int = 16
    one_hot: bool = True

    def fit(self, training: Training) -> FittedPipeline:
        """Standardise, then fit. L-BFGS has no randomness; the seed is not used."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline

        params: Mapping[str, Any] = training.params
        scale = encoder(training)
        # float64: in float32 L-BFGS stops early on columns like `Amount`
        X = scale.fit_transform(training.X.astype(np.float64))
        model = LogisticRegression(C=params["C"], max_iter=params["max_iter"], tol=1e-4)
        model.fit(X, training.y, sample_weight=weighted_up(training))
        return FittedPipeline(Pipeline([("scale", scale), ("model", model)]))
