"""A small multi-layer perceptron for numbers on standardised columns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.early_stopping import Patience
from everloop.models.encoding import encoder
from everloop.models.learner import Training, Validation
from everloop.models.neural_network import NeuralNetwork as OfClasses
from everloop.models.regression.loss import SQUARED, mean_loss
from everloop.models.regression.sklearn_graph import FittedRegressor
from everloop.models.space import Hyperparameter, Value

__all__ = ["NeuralNetwork"]

_HYPERPARAMETERS: Final = tuple(item for item in OfClasses().hyperparameters if item.name != "scale_pos_weight")
# One outcome a thousand spreads away would move every weight by itself.
_FARTHEST: Final = 10.0


@dataclass(frozen=True, slots=True)
class NeuralNetwork:
    """Rectified layers and a linear end, by Adam on the squared error; `hidden` is their widths, `32-16` for two.

    Outcomes more than 10 usual distances from the middle teach as if they were 10.
    """

    name: str = "neural_network"
    yardstick: bool = False
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: {"solver": ("adam",), "activation": ("relu",), "loss": ("squared_error",)}
    )
    row_block: int = 16
    one_hot: bool = True

    def fit(self, training: Training) -> FittedRegressor:
        """A fixed number of epochs, or as many as the validation rows ask for: no training row is put aside."""
        from sklearn.neural_network import MLPRegressor
        from sklearn.pipeline import Pipeline

        params: Mapping[str, Any] = training.params
        scale = encoder(training)
        X = scale.fit_transform(training.X.astype(np.float64)).astype(np.float32)
        y, weight = training.y.clip(-_FARTHEST, _FARTHEST), training.weight / training.weight.mean()
        model = MLPRegressor(
            hidden_layer_sizes=tuple(int(width) for width in params["hidden"].split("-")),
            learning_rate_init=params["learning_rate"],
            max_iter=params["epochs"],
            batch_size=min(params["batch_size"], len(X)),
            alpha=params["reg_lambda"],
            n_iter_no_change=params["epochs"] + 1,
            random_state=training.seed,
        )
        rounds = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "did not converge": a number of epochs is what was asked
            if params["early_stopping_rounds"] and training.validation is not None:
                rounds = _fit_by_epochs(model, X, y, weight, training, training.validation, scale)
            else:
                model.fit(X, y, sample_weight=weight)
        return FittedRegressor(Pipeline([("scale", scale), ("model", model)]), rounds)


def _fit_by_epochs(
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    training: Training,
    validation: Validation,
    scale: Any,
) -> int:
    """Fit until the validation rows' squared error no longer falls; keep the best epoch's weights, and say which."""
    params: Mapping[str, Any] = training.params
    judged = scale.transform(validation.X.astype(np.float64)).astype(np.float32)
    outcomes = validation.y.clip(-_FARTHEST, _FARTHEST)
    model.set_params(random_state=np.random.RandomState(training.seed))
    patience = Patience(params["early_stopping_rounds"])
    best: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for _ in range(params["epochs"]):
        model.partial_fit(X, y, sample_weight=weight)
        if patience.better(mean_loss(outcomes, model.predict(judged), validation.weights, loss=SQUARED)):
            best = [layer.copy() for layer in model.coefs_], [layer.copy() for layer in model.intercepts_]
        elif patience.is_over:
            break
    model.coefs_, model.intercepts_ = best
    return patience.best
