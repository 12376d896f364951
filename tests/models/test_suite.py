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
