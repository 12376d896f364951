"""What a learner of numbers makes small: the squared error, which gives the mean, or the absolute, the median."""

from __future__ import annotations

from typing import Final

import numpy as np

from everloop.models.early_stopping import ValidationLoss
from everloop.models.learner import Training
from everloop.models.space import Choice, Hyperparameter, Native

__all__ = ["ABSOLUTE", "LOSS", "SQUARED", "mean_loss", "validation_loss"]

SQUARED: Final = "squared"
ABSOLUTE: Final = "absolute"

_OBJECTIVES: Final = (
    *((name, SQUARED) for name in ("reg:squarederror", "regression", "regression_l2", "l2", "mse", "squared_error")),
    *((name, ABSOLUTE) for name in ("reg:absoluteerror", "regression_l1", "l1", "mae", "absolute_error")),
)

LOSS: Final = Hyperparameter(
    name="loss",
    search=Choice((SQUARED, ABSOLUTE)),
    default=SQUARED,
    natives=tuple(Native(name=name, meanings=_OBJECTIVES) for name in ("objective", "criterion")),
    suits=dict.fromkeys(("mae", "mape", "pinball"), ABSOLUTE),
)
"""A search tries both, and begins with the one that the objective is made of: the squared error for rmse and r2."""


def mean_loss(y: np.ndarray, score: np.ndarray, weight: np.ndarray, *, loss: str) -> float:
    """The weighted mean of the rows' errors, squared or absolute; all of shape (n,)."""
    error = np.asarray(score, dtype=np.float64) - y
    return float(np.average(np.abs(error) if loss == ABSOLUTE else np.square(error), weights=weight))


def validation_loss(training: Training) -> ValidationLoss | None:
    """What a fit of numbers ends by: the loss that it makes small; None without validation rows."""
    validation, kind = training.validation, str(training.params[LOSS.name])
    if validation is None:
        return None
    weight = validation.weights
    return lambda scores: mean_loss(validation.y, scores, weight, loss=kind)
