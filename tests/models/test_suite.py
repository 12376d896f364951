"""everloop's own learners, held against the suite that others' are."""

from __future__ import annotations

from everloop.models import learner
from everloop.testing import LearnerSuite
from tests.models.rows import SMALL


class TestConstant(LearnerSuite):
    learner = learner("constant")
    learns = False


class TestLogistic(LearnerSuite):
    learner = learner("logistic")


class TestRandomForest(LearnerSuite):
    learner = learner("random_forest")
    params = SMALL["random_forest"]


class TestXGBoost(LearnerSuite):
    learner = learner("xgboost")
    params = SMALL["xgboost"]


class TestLightGBM(LearnerSuite):
    learner = learner("lightgbm")
    params = SMALL["lightgbm"]


class TestNeuralNetwork(LearnerSuite):
    learner = learner("neural_network")
    params = SMALL["neural_network"]


class TestConstantOfNumbers(LearnerSuite):
    learner = learner("constant", task="regression")
    task = "regression"
    learns = False


class TestLinear(LearnerSuite):
    learner = learner("linear", task="regression")
    task = "regression"


class TestRandomForestOfNumbers(LearnerSuite):
    learner = learner("random_forest", task="regression")
    task = "regression"
    params = {"n_estimators": 30, "tree_rows": 1500, "max_features": 1.0}  # noqa: RUF012


class TestXGBoostOfNumbers(LearnerSuite):
    learner = learner("xgboost", task="regression")
    task = "regression"
    params = SMALL["xgboost"]


class TestLightGBMOfNumbers(LearnerSuite):
    learner = learner("lightgbm", task="regression")
    task = "regression"
    params = SMALL["lightgbm"]


class TestNeuralNetworkOfNumbers(LearnerSuite):
    learner = learner("neural_network", task="regression")
    task = "regression"
    params = SMALL["neural_network"]
