"""Learners of numbers, the quantiles around their scores, and the graph of both.

A learner here sees a standardised target, so that a hyperparameter means the same for minutes and for millions; the
graph that is served gives the target's own unit back.
"""

from everloop.models.regression.fitting import (
    FittedNumbers,
    QuantileLearner,
    check_quantiles,
    fit_numbers,
    refuse_one_outcome,
)
from everloop.models.regression.registry import REGRESSION

__all__ = [
    "REGRESSION",
    "FittedNumbers",
    "QuantileLearner",
    "check_quantiles",
    "fit_numbers",
    "refuse_one_outcome",
]
