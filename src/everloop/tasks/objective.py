"""What an objective makes of an evaluation: one number to rank by."""

from __future__ import annotations

import math

from everloop.project import Condition, Objective
from everloop.tasks.task import Evaluated

__all__ = ["objective_value", "shortfall"]


def shortfall(condition: Condition, value: float) -> float:
    """How much of the bound is reached, in [0, 1]; 1 where the condition holds, 0 where the value has no number."""
    if condition.holds(value):
        return 1.0
    if math.isnan(value):
        return 0.0
    if condition.op in (">=", ">"):
        return min(1.0, max(0.0, value / condition.bound)) if condition.bound > 0 else 0.0
    return min(1.0, max(0.0, condition.bound / value)) if value > 0 else 0.0


def objective_value(objective: Objective, evaluation: Evaluated, value: float) -> float:
    """`value` of the objective's metric, made worse in proportion to what is missing of the constraint.

    At `recall at precision >= 0.80` a recall of 0.75 counts 0.75 where precision is 0.80 or more, and 0.73 at a
    precision of 0.78. So a constant, which has recall 1 at precision 0.002, counts 0.0025 and wins nothing, and a
    model a hair below its bound is not thrown away. A metric to be minimised is divided instead.
    """
    if objective.constraint is None:
        return value
    reached = shortfall(objective.constraint, evaluation.value(objective.constraint.metric))
    if objective.maximise:
        return value * reached
    return value / reached if reached > 0 else math.inf
