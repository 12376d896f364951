"""Ridge regression on standardised columns, the yardstick a learner of numbers has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.encoding import encoder
from everloop.models.learner import Training
from everloop.models.regression.sklearn_graph import FittedRegressor
from everloop.models.space import Float, Hyperparameter, Value

__all__ = ["Linear"]

_HYPERPARAMETERS: Final = (
    Hyperparameter(
        name="reg_lambda",
        search=Float(1e-2, 1e4, log=True),
        default=1.0,
        maximum=1e12,
        aliases=("alpha", "lambda", "l2_regularization"),
    ),
)


@dataclass(frozen=True, slots=True)
class Linear:
    """L2-penalised least squares; a penalty of `reg_lambda` against the sum of the rows' squared errors."""

    name: str = "linear"
    yardstick: bool = True
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    row_block: int = 16
    one_hot: bool = True

    def fit(self, training: Training) -> FittedRegressor:
        """Standardise, then solve exactly; the seed is not used."""
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import Pipeline

        params: Mapping[str, Any] = training.params
        scale = encoder(training)
        X = scale.fit_transform(training.X.astype(np.float64))
        model = Ridge(alpha=params["reg_lambda"], solver="cholesky")
        model.fit(X, training.y, sample_weight=training.weight / training.weight.mean())
        return FittedRegressor(Pipeline([("scale", scale), ("model", model)]))
