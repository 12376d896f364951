"""XGBoost, the histogram method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.boosting import SHARED
from everloop.models.constant import FittedConstant
from everloop.models.early_stopping import EARLY_STOPPING, validation_log_loss
from everloop.models.learner import Training
from everloop.models.space import Float, Hyperparameter, Int, Value
from everloop.models.xgboost_fit import fit_trees

__all__ = ["XGBoost"]

_HYPERPARAMETERS: Final = (
    Hyperparameter(name="max_depth", search=Int(3, 10), default=6, minimum=1, maximum=20),
    Hyperparameter(
        name="min_child_weight",
        search=Float(0.1, 20.0, log=True),
        default=1.0,
        maximum=1e12,
        aliases=("min_sum_hessian_in_leaf",),
    ),
    Hyperparameter(
        name="gamma",
        search=Float(0.0, 5.0),
        default=0.0,
        maximum=1e9,
        aliases=("min_split_loss", "min_split_gain", "min_gain_to_split"),
    ),
    *SHARED,
)


@dataclass(frozen=True, slots=True)
class _FittedXGBoost:
    estimator: Any
    rounds: int | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.estimator.predict_proba(X)[:, 1], dtype=np.float64)

    def onnx(self) -> Any:
        if not self.estimator.get_booster().get_score():
            # no tree has a split: the converter would answer 0.5 to every row
            return FittedConstant(float(self.scores(np.zeros((1, self.estimator.n_features_in_)))[0])).onnx()
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        columns = self.estimator.n_features_in_
        return convert_xgboost(self.estimator, initial_types=[("x", FloatTensorType([None, columns]))], target_opset=15)


@dataclass(frozen=True, slots=True)
class XGBoost:
    """Gradient-boosted trees grown level by level."""

    name: str = "xgboost"
    yardstick: bool = False
    reads_missing: bool = True
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: {
            "objective": ("binary:logistic",),
            "tree_method": ("hist", "auto"),
            "booster": ("gbtree",),
        }
    )
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> _FittedXGBoost:
        """`base_score` is said, not estimated, so that nothing depends on how the rows are spread over workers."""
        from xgboost import XGBClassifier

        params = {name: value for name, value in training.params.items() if name != EARLY_STOPPING.name}
        model = XGBClassifier(
            **params,
            tree_method="hist",
            objective="binary:logistic",
            base_score=float(np.average(training.y, weights=training.weight)),
            random_state=training.seed,
            n_jobs=training.threads,
            verbosity=0,
        )
        return _FittedXGBoost(model, fit_trees(model, training, loss=validation_log_loss(training)))
