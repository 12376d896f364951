"""LightGBM for numbers, deterministic; a booster for the score and one for each quantile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from everloop.models.learner import Training
from everloop.models.lightgbm import LightGBM as OfClasses
from everloop.models.lightgbm import exact_in_float32
from everloop.models.regression.boosting import numeric_hyperparameters
from everloop.models.regression.loss import ABSOLUTE, mean_loss
from everloop.models.space import Hyperparameter, Value

__all__ = ["LightGBM"]


@dataclass(frozen=True, slots=True)
class _Fitted:
    booster: Any
    columns: int
    rounds: int | None = None

    def scores(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster.predict(X, num_threads=1), dtype=np.float64)

    def onnx(self) -> Any:
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        return convert_lightgbm(
            self.booster, initial_types=[("x", FloatTensorType([None, self.columns]))], zipmap=False, target_opset=15
        )


@dataclass(frozen=True, slots=True)
class LightGBM:
    """Gradient-boosted trees grown leaf by leaf."""

    name: str = "lightgbm"
    yardstick: bool = False
    reads_missing: bool = True
    hyperparameters: tuple[Hyperparameter, ...] = numeric_hyperparameters(OfClasses().hyperparameters)
    fixed: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: dict.fromkeys(("boosting_type", "boosting", "boost"), ("gbdt",))
    )
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> _Fitted:
        """Histograms column by column: then the sums, and so the trees, are the same for any number of threads."""
        absolute = training.params["loss"] == ABSOLUTE
        return _fitted(training, {"objective": "regression_l1" if absolute else "regression"}, stops=True)

    def fit_quantile(self, training: Training, level: float, rounds: int | None) -> _Fitted:
        """The booster of one quantile, of as many trees as the score's has."""
        return _fitted(training, {"objective": "quantile", "alpha": level}, rounds=rounds)


def _fitted(
    training: Training, objective: Mapping[str, Any], *, rounds: int | None = None, stops: bool = False
) -> _Fitted:
    import lightgbm

    params: dict[str, Any] = dict(training.params)
    del params["loss"]
    most, patience = params.pop("n_estimators"), params.pop("early_stopping_rounds")
    native = params | {
        **objective,
        "bagging_freq": int(params["subsample"] < 1.0),
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": training.threads,
        "seed": training.seed,
        "verbosity": -1,
        "metric": "None",
    }
    weight = training.weight / training.weight.mean()
    rows = lightgbm.Dataset(training.X, label=training.y, weight=weight, params=native, free_raw_data=True)
    stopping = _stopping(training, rows, patience) if stops and patience and training.validation is not None else {}
    booster = lightgbm.train(native, rows, num_boost_round=most if rounds is None else rounds, **stopping)
    kept = booster.best_iteration if stopping else booster.current_iteration()
    exact = lightgbm.Booster(model_str=exact_in_float32(booster.model_to_string(num_iteration=kept)))
    return _Fitted(exact, training.X.shape[1], kept if stopping else None)


def _stopping(training: Training, rows: Any, patience: int) -> dict[str, Any]:
    """What `lightgbm.train` is given so that it stops by its own loss on the validation rows."""
    import lightgbm

    validation = training.validation
    assert validation is not None
    weight = validation.weights
    judged = lightgbm.Dataset(validation.X, label=validation.y, weight=weight, reference=rows)

    def loss(scores: np.ndarray, _: Any) -> tuple[str, float, bool]:
        return "loss", mean_loss(validation.y, scores, weight, loss=str(training.params["loss"])), False

    return {
        "valid_sets": [judged],
        "feval": loss,
        "callbacks": [lightgbm.early_stopping(patience, first_metric_only=True, verbose=False)],
    }
