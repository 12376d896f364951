"""XGBoost for numbers, the histogram method; a booster for the score and one for each quantile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.early_stopping import EARLY_STOPPING, ValidationLoss
from everloop.models.learner import Training
from everloop.models.regression.boosting import numeric_hyperparameters, of_quantile
from everloop.models.regression.fixed_number import FixedNumber
from everloop.models.regression.loss import ABSOLUTE, LOSS, validation_loss
from everloop.models.regression.weighted import weighted_quantiles
from everloop.models.space import Hyperparameter, Value
from everloop.models.xgboost import XGBoost as OfClasses
from everloop.models.xgboost_fit import fit_trees

__all__ = ["XGBoost"]

_OBJECTIVES: Final = {ABSOLUTE: "reg:absoluteerror"}


@dataclass(frozen=True, slots=True)
class _Fitted:
    estimator: Any
    rounds: int | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.estimator.predict(X), dtype=np.float64)

    def onnx(self) -> Any:
        columns = self.estimator.n_features_in_
        if not self.estimator.get_booster().get_score():
            # no tree has a split: the converter would answer another number
            return FixedNumber(float(self.scores(np.zeros((1, columns)))[0]), columns).onnx()
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        return convert_xgboost(self.estimator, initial_types=[("x", FloatTensorType([None, columns]))], target_opset=15)


@dataclass(frozen=True, slots=True)
class XGBoost:
    """Gradient-boosted trees grown level by level."""

    name: str = "xgboost"
    yardstick: bool = False
    reads_missing: bool = True
    hyperparameters: tuple[Hyperparameter, ...] = numeric_hyperparameters(OfClasses().hyperparameters)
    fixed: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: {"tree_method": ("hist", "auto"), "booster": ("gbtree",)}
    )
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> _Fitted:
        """`base_score` is said, not estimated, so that nothing depends on how the rows are spread over workers."""
        params, y, weight = training.params, training.y, training.weight
        absolute = params["loss"] == ABSOLUTE
        middle = weighted_quantiles(y, weight, (0.5,))[0] if absolute else np.average(y, weights=weight)
        objective = {"objective": _OBJECTIVES.get(str(params["loss"]), "reg:squarederror")}
        return _fitted(training, float(middle), objective, loss=validation_loss(training))

    def fit_quantile(self, training: Training, level: float, rounds: int | None) -> _Fitted:
        """The booster of one quantile."""
        base = float(weighted_quantiles(training.y, training.weight, (level,))[0])
        objective = {"objective": "reg:quantileerror", "quantile_alpha": level}
        return _fitted(of_quantile(training, rounds), base, objective)


def _fitted(
    training: Training, base_score: float, objective: Mapping[str, Any], *, loss: ValidationLoss | None = None
) -> _Fitted:
    from xgboost import XGBRegressor

    params: dict[str, Any] = {
        name: value for name, value in training.params.items() if name not in (LOSS.name, EARLY_STOPPING.name)
    }
    model = XGBRegressor(
        **{**params, **objective},
        tree_method="hist",
        base_score=base_score,
        random_state=training.seed,
        n_jobs=training.threads,
        verbosity=0,
    )
    return _Fitted(model, fit_trees(model, training, loss=loss))
