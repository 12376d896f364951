"""Learners, fitting, and conversion to ONNX.

`fit(FitRequest(...))` fits in a child process and brings back a graph; `learners(task)` says what there is to fit, and
`search_space(learner)` where to look for its hyperparameters. The libraries load in the process that fits, not here.
"""

from everloop.models.agreement import AGREEMENT
from everloop.models.blend import LEAST_MEMBERS, Member, blend_params, each_member, fitted_learners, settled, told
from everloop.models.brought import BroughtGraph, brought_graph
from everloop.models.calibration import CALIBRATIONS, Calibration
from everloop.models.class_weight import scale_pos_weight
from everloop.models.early_stopping import stops_early
from everloop.models.fitting import FitRequest, FitResult, fit_here, fit_with
from everloop.models.foreign import ReadConfiguration, foreign_configuration, read_configuration
from everloop.models.foreign_params import said_value
from everloop.models.learner import (
    BLEND,
    FittedModel,
    Learner,
    Training,
    Validation,
    defaults,
    search_space,
    weighted_up,
)
from everloop.models.own_learner import own_learner
from everloop.models.params import resolve_params, told_params
from everloop.models.process import FitProcess, fit, fit_all
from everloop.models.registry import learner, learners, own_content
from everloop.models.regression.sklearn_graph import FittedRegressor
from everloop.models.sklearn_graph import FittedPipeline
from everloop.models.space import Choice, Distribution, Float, Hyperparameter, Int, Native, Value

__all__ = [
    "AGREEMENT",
    "BLEND",
    "CALIBRATIONS",
    "LEAST_MEMBERS",
    "BroughtGraph",
    "Calibration",
    "Choice",
    "Distribution",
    "FitProcess",
    "FitRequest",
    "FitResult",
    "FittedModel",
    "FittedPipeline",
    "FittedRegressor",
    "Float",
    "Hyperparameter",
    "Int",
    "Learner",
    "Member",
    "Native",
    "ReadConfiguration",
    "Training",
    "Validation",
    "Value",
    "blend_params",
    "brought_graph",
    "defaults",
    "each_member",
    "fit",
    "fit_all",
    "fit_here",
    "fit_with",
    "fitted_learners",
    "foreign_configuration",
    "learner",
    "learners",
    "own_content",
    "own_learner",
    "read_configuration",
    "resolve_params",
    "said_value",
    "scale_pos_weight",
    "search_space",
    "settled",
    "stops_early",
    "told",
    "told_params",
    "weighted_up",
]
