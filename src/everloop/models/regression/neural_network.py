"""A small multi-layer perceptron for numbers on standardised columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.encoding import encoder
from everloop.models.learner import Training, Validation
from everloop.models.neural_network import NeuralNetwork as OfClasses
from everloop.models.neural_network import fit_by_epochs, network_settings
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

        scale = encoder(training)
        X = scale.fit_transform(training.X.astype(np.float64)).astype(np.float32)
        y, weight = training.y.clip(-_FARTHEST, _FARTHEST), training.weight / training.weight.mean()
        model = MLPRegressor(**network_settings(training))
        rounds = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "did not converge": a number of epochs is what was asked
            if training.params["early_stopping_rounds"] and training.validation is not None:
                loss = _loss(training.validation, scale)
                rounds = fit_by_epochs(model, X, y, weight, training=training, loss=loss)
            else:
                model.fit(X, y, sample_weight=weight)
        return FittedRegressor(Pipeline([("scale", scale), ("model", model)]), rounds)


def _loss(validation: Validation, scale: Any) -> Callable[[Any], float]:
    """The squared error of a network's numbers on the validation rows."""
    judged = scale.transform(validation.X.astype(np.float64)).astype(np.float32)
    outcomes = validation.y.clip(-_FARTHEST, _FARTHEST)
    return lambda model: mean_loss(outcomes, model.predict(judged), validation.weights, loss=SQUARED)
