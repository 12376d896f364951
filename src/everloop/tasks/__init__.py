"""Kinds of problem: their metrics with intervals, thresholds, losses and decisions. Classification, so far.

`get_task("classification")` gives the Task, which is how rooms that know a model's task by name come in;
its functions are exported too.
"""

from everloop.tasks.classification import Classification
from everloop.tasks.evaluation import Evaluation, decided, paired_interval
from everloop.tasks.loss import hits, row_losses
from everloop.tasks.objective import constraint_met
from everloop.tasks.registry import TASKS, get_task
from everloop.tasks.risk import RiskShares, decision_labels, risk_shares
from everloop.tasks.task import Evaluated, Metric, Task
from everloop.tasks.threshold import choose_threshold

__all__ = [
    "TASKS",
    "Classification",
    "Evaluated",
    "Evaluation",
    "Metric",
    "RiskShares",
    "Task",
    "choose_threshold",
    "constraint_met",
    "decided",
    "decision_labels",
    "get_task",
    "hits",
    "paired_interval",
    "risk_shares",
    "row_losses",
]
