"""The hyperparameters of the boosters of numbers: those of classes, with a loss in place of a class's weight."""

from __future__ import annotations

from collections.abc import Sequence

from everloop.models.regression.loss import LOSS
from everloop.models.space import Hyperparameter

__all__ = ["numeric_hyperparameters"]


def numeric_hyperparameters(hyperparameters: Sequence[Hyperparameter]) -> tuple[Hyperparameter, ...]:
    """A classifier's hyperparameters as its regressor has them."""
    return (LOSS, *(item for item in hyperparameters if item.name != "scale_pos_weight"))
