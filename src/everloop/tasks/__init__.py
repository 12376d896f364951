"""Kinds of problem, so far classification and regression: metrics with intervals, thresholds, losses and decisions.

`get_task("classification")` gives the Task, which is how rooms that know a model's task by name come in;
its functions are exported too.
"""

from everloop.tasks.calibration_error import calibration_error, predicted_over_actual
from everloop.tasks.classification import Classification
from everloop.tasks.evaluation import Evaluation, decided, paired_interval
from everloop.tasks.loss import hits, row_losses
from everloop.tasks.numeric import NumericEvaluation, paired_numeric_interval
from everloop.tasks.numeric_loss import error_bound, numeric_losses
from everloop.tasks.registry import TASKS, get_task
from everloop.tasks.regression import Regression
from everloop.tasks.risk import RiskShares, risk_shares
from everloop.tasks.task import Evaluated, Metric, Task
from everloop.tasks.threshold import choose_threshold

__all__ = [
    "TASKS",
    "Classification",
    "Evaluated",
    "Evaluation",
    "Metric",
    "NumericEvaluation",
    "Regression",
    "RiskShares",
    "Task",
    "calibration_error",
    "choose_threshold",
    "decided",
    "error_bound",
    "get_task",
    "hits",
    "numeric_losses",
    "paired_interval",
    "paired_numeric_interval",
    "predicted_over_actual",
    "risk_shares",
    "row_losses",
]
