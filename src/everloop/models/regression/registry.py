"""The learners of regression, the yardsticks first."""

from __future__ import annotations

from typing import Final

from everloop.models.learner import Learner
from everloop.models.regression.constant import Constant
from everloop.models.regression.lightgbm import LightGBM
from everloop.models.regression.linear import Linear
from everloop.models.regression.neural_network import NeuralNetwork
from everloop.models.regression.random_forest import RandomForest
from everloop.models.regression.xgboost import XGBoost

__all__ = ["REGRESSION"]

REGRESSION: Final[tuple[Learner, ...]] = (
    Constant(),
    Linear(),
    RandomForest(),
    XGBoost(),
    LightGBM(),
    NeuralNetwork(),
)
