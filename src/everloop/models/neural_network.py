"""A small multi-layer perceptron on standardised columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.models.class_weight import scale_pos_weight
from everloop.models.early_stopping import EARLY_STOPPING, Patience, validation_weight
from everloop.models.encoding import encoder
from everloop.models.learner import Training, Validation, weighted_up
from everloop.models.log_loss import log_loss
from everloop.models.sklearn_graph import FittedPipeline
from everloop.models.space import Choice, Float, Hyperparameter, Int, Native, Value

__all__ = ["NeuralNetwork", "fit_by_epochs", "network_settings"]

_HIDDEN: Final = ("16", "32", "64", "32-16", "64-32")


def _layer_sizes() -> Native:
    """scikit-learn's name, whose values are a width or a list of them."""
    widths = {ours: [int(width) for width in ours.split("-")] for ours in _HIDDEN}
    single = tuple((width[0], ours) for ours, width in widths.items() if len(width) == 1)
    return Native(name="hidden_layer_sizes", meanings=(*single, *((width, ours) for ours, width in widths.items())))


_HYPERPARAMETERS: Final = (
    Hyperparameter(name="hidden", search=Choice(_HIDDEN), default="32", natives=(_layer_sizes(),)),
    Hyperparameter(
        name="learning_rate",
        search=Float(3e-4, 1e-2, log=True),
        default=2e-3,
        minimum=1e-7,
        maximum=1.0,
        aliases=("learning_rate_init", "lr"),
    ),
    Hyperparameter(
        name="epochs", search=Int(3, 12), default=6, minimum=1, maximum=10_000, aliases=("max_iter", "n_epochs")
    ),
    Hyperparameter(name="batch_size", search=Choice((256, 512, 1024)), default=512),
    Hyperparameter(
        name="reg_lambda",
        search=Float(1e-6, 1e-2, log=True),
        default=1e-4,
        maximum=1e6,
        aliases=("alpha", "weight_decay", "l2_regularization"),
    ),
    scale_pos_weight(),
    EARLY_STOPPING,
)


@dataclass(frozen=True, slots=True)
class NeuralNetwork:
    """Rectified layers and a logistic end, by Adam; `hidden` is their widths, `32-16` for two."""

    name: str = "neural_network"
    yardstick: bool = False
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: {"solver": ("adam",), "activation": ("relu",)}
    )
    row_block: int = 16
    one_hot: bool = True

    def fit(self, training: Training) -> FittedPipeline:
        """A fixed number of epochs, or as many as the validation rows ask for: no training row is put aside."""
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import Pipeline

        scale = encoder(training)
        X = scale.fit_transform(training.X.astype(np.float64)).astype(np.float32)
        weight = weighted_up(training)
        model = MLPClassifier(**network_settings(training))
        rounds = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "did not converge": a number of epochs is what was asked
            if training.params["early_stopping_rounds"] and training.validation is not None:
                loss = _loss(training, training.validation, scale)
                rounds = fit_by_epochs(model, X, training.y, weight, training=training, loss=loss, classes=[0, 1])
            else:
                model.fit(X, training.y, sample_weight=weight)
        return FittedPipeline(Pipeline([("scale", scale), ("model", model)]), rounds)


def network_settings(training: Training) -> dict[str, Any]:
    """The hyperparameters as scikit-learn's networks have them."""
    params: Mapping[str, Any] = training.params
    return {
        "hidden_layer_sizes": tuple(int(width) for width in params["hidden"].split("-")),
        "learning_rate_init": params["learning_rate"],
        "max_iter": params["epochs"],
        "batch_size": min(params["batch_size"], len(training.X)),
        "alpha": params["reg_lambda"],
        "n_iter_no_change": params["epochs"] + 1,
        "random_state": training.seed,
    }


def _loss(training: Training, validation: Validation, scale: Any) -> Callable[[Any], float]:
    """The log-loss of a network's probabilities on the validation rows."""
    judged = scale.transform(validation.X.astype(np.float64)).astype(np.float32)
    weight = validation_weight(training, validation)
    return lambda model: log_loss(validation.y, model.predict_proba(judged)[:, 1], weight)


def fit_by_epochs(
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    *,
    training: Training,
    loss: Callable[[Any], float],
    **classes: Any,
) -> int:
    """Fit until the network's `loss` on validation rows no longer falls; keep the best epoch's weights, say which.

    Epochs share one stream of random numbers and Adam's moments, as those of a whole fit do.
    """
    params: Mapping[str, Any] = training.params
    model.set_params(random_state=np.random.RandomState(training.seed))
    patience = Patience(params["early_stopping_rounds"])
    best: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for _ in range(params["epochs"]):
        model.partial_fit(X, y, sample_weight=weight, **classes)
        if patience.better(loss(model)):
            best = [layer.copy() for layer in model.coefs_], [layer.copy() for layer in model.intercepts_]
        elif patience.is_over:
            break
    model.coefs_, model.intercepts_ = best
    return patience.best
