"""The yardstick that knows nothing: every row gets the middle outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from everloop.models.learner import Training
from everloop.models.regression.fixed_number import FixedNumber
from everloop.models.regression.loss import ABSOLUTE, LOSS
from everloop.models.regression.weighted import weighted_quantiles
from everloop.models.space import Hyperparameter, Value

__all__ = ["Constant"]

_HYPERPARAMETERS: Final = (replace(LOSS, default=ABSOLUTE, searched=False),)


@dataclass(frozen=True, slots=True)
class Constant:
    """The weighted median for every row, which no other constant beats in mae; `loss: squared` takes the mean."""

    name: str = "constant"
    yardstick: bool = True
    reads_missing: bool = False
    hyperparameters: tuple[Hyperparameter, ...] = _HYPERPARAMETERS
    fixed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    row_block: int = 1
    one_hot: bool = False

    def fit(self, training: Training) -> FixedNumber:
        """The middle of the outcomes."""
        y, weight = training.y, training.weight
        if training.params["loss"] == ABSOLUTE:
            return FixedNumber(float(weighted_quantiles(y, weight, (0.5,))[0]), training.X.shape[1])
        return FixedNumber(float(np.average(y, weights=weight)), training.X.shape[1])
