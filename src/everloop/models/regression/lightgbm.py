"""LightGBM for numbers, deterministic; a booster for the score and one for each quantile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from everloop.models.learner import Training
from everloop.models.lightgbm import FittedLightGBM, boosted
from everloop.models.lightgbm import LightGBM as OfClasses
from everloop.models.regression.boosting import numeric_hyperparameters, of_quantile
from everloop.models.regression.loss import ABSOLUTE, LOSS, validation_loss
from everloop.models.space import Hyperparameter, Value

__all__ = ["LightGBM"]

_AMPLE: Final[dict[str, Value]] = {"num_leaves": 127, "n_estimators": 400, "max_depth": 12}


@dataclass(frozen=True, slots=True)
class LightGBM:
    """Gradient-boosted trees grown leaf by leaf."""

    name: str = "lightgbm"
    yardstick: bool = False
    reads_missing: bool = True
    hyperparameters: tuple[Hyperparameter, ...] = numeric_hyperparameters(OfClasses().hyperparameters, ample=_AMPLE)
    fixed: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: dict.fromkeys(("boosting_type", "boosting", "boost"), ("gbdt",))
    )
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> FittedLightGBM:
        """Stops early by its own loss."""
        objective = "regression_l1" if training.params[LOSS.name] == ABSOLUTE else "regression"
        return boosted(training, {"objective": objective}, loss=validation_loss(training))

    def fit_quantile(self, training: Training, level: float, rounds: int | None) -> FittedLightGBM:
        """The booster of one quantile."""
        return boosted(of_quantile(training, rounds), {"objective": "quantile", "alpha": level})
