"""Scores judged for an objective: a threshold chosen on validation rows, and values at a threshold that is given."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from everloop.errors import NotEnoughData
from everloop.project import Objective
from everloop.stats import Interval, bootstrap_cells
from everloop.tasks import Evaluated, Evaluation, get_task
from everloop.tasks.evaluation import paired_by_cells
from everloop.tasks.metrics import CELL_METRICS, DEFAULT_COSTS, cost_per_row
from everloop.tasks.objective import shortfall

__all__ = ["Judgement", "better_by", "cells_values", "evaluated", "judged", "judgement", "of_cells", "reported"]

Array = np.ndarray[Any, np.dtype[Any]]

_REPLICATES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Scores at a threshold. value: the objective, less what is missing of its constraint; interval: around it, 95 %.

    threshold: None where the task decides nothing. metrics: those that are `reported`, at the threshold.
    """

    value: float
    interval: Interval
    threshold: float | None
    metrics: dict[str, float]


def judged(
    objective: Objective,
    y: Array,
    score: Array,
    weight: Array,
    *,
    seed: int,
    task: str = "classification",
    threshold: float | None = None,
    quantiles: Array | None = None,
    levels: tuple[float, ...] = (),
) -> Judgement:
    """The objective at `threshold`; without one, at the best for these rows, which then must be validation rows.

    y, score, weight: shape (n,); quantiles: shape (n, q), of a graph that gives some, at `levels`.
    Raises NotEnoughData where a class is missing or no threshold is near the constraint.
    """
    kind = get_task(task)
    chosen = kind.choose_threshold(objective, y, score, weight) if threshold is None else threshold
    evaluation = evaluated(objective, y, score, weight, threshold=chosen, task=task, quantiles=quantiles, levels=levels)
    return judgement(objective, evaluation, seed=seed, task=task)


def judgement(objective: Objective, evaluation: Evaluated, *, seed: int, task: str) -> Judgement:
    """What the objective makes of an evaluation. Raises NotEnoughData where no threshold is near the constraint."""
    value = get_task(task).objective_value(objective, evaluation)
    if not math.isfinite(value):
        raise NotEnoughData(f"no threshold comes near '{objective}' on these rows")
    return Judgement(
        value=value,
        interval=_objective_interval(objective, evaluation, value, seed=seed, task=task),
        threshold=evaluation.threshold,
        metrics={name: evaluation.value(name) for name in reported(objective, task=task)},
    )


def evaluated(
    objective: Objective,
    y: Array,
    score: Array,
    weight: Array,
    *,
    threshold: float | None,
    task: str = "classification",
    quantiles: Array | None = None,
    levels: tuple[float, ...] = (),
) -> Evaluated:
    """The scores held against the truth, at the objective's prices."""
    return get_task(task).evaluate(
        y, score, weight=weight, threshold=threshold, costs=objective.costs, quantiles=quantiles, levels=levels
    )


def reported(objective: Objective, *, task: str) -> tuple[str, ...]:
    """The task's metrics that say something of a trial.

    Not cost without prices, nor pinball where it is not the objective: quantiles cost a fit each, and trials have none.
    """
    silent = set() if objective.costs is not None else {"cost"}
    silent |= {"pinball"} - {objective.metric}
    return tuple(name for name in get_task(task).metrics if name not in silent)


def _objective_interval(objective: Objective, evaluation: Evaluated, value: float, *, seed: int, task: str) -> Interval:
    """The objective's 95 % interval: the metric's own; under a constraint, with what may be missing of that too."""
    metric = evaluation.interval(objective.metric, seed=seed)
    if not of_cells(objective, task):
        return replace(metric, low=min(metric.low, value), point=value, high=max(metric.high, value))
    assert isinstance(evaluation, Evaluation)
    squares = replace(evaluation, weight=np.square(evaluation.weights)).cells
    values = partial(cells_values, objective)
    rough = bootstrap_cells(values, evaluation.cells, squares=squares, seed=seed, replicates=_REPLICATES)
    # the metric's own interval knows more than a bootstrap where all, or none, of few positives are caught
    share = value / metric.point if metric.point > 0 else 1.0
    low, high = min(rough.low, metric.low * share, value), max(rough.high, metric.high * share, value)
    return replace(rough, low=low, point=value, high=high)


def of_cells(objective: Objective, task: str) -> bool:
    """Whether the objective is a metric of decisions under a constraint on another one."""
    metrics = get_task(task).metrics
    constraint = objective.constraint
    return constraint is not None and metrics[objective.metric].of_decisions and metrics[constraint.metric].of_decisions


def cells_values(objective: Objective, cells: Array) -> Array:
    """The objective of sums of weights, shape (k, 4) as (tp, fp, fn, tn); NaN without a positive. Gives shape (k,).

    What the task's `objective_value` says of rows that add up to them, for many at once.
    """
    assert objective.constraint is not None
    of = {**CELL_METRICS, "cost": cost_per_row(DEFAULT_COSTS if objective.costs is None else objective.costs)}
    value, other = of[objective.metric](cells), of[objective.constraint.metric](cells)
    reached = np.array([shortfall(objective.constraint, float(one)) for one in other])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = value * reached if objective.maximise else value / reached
    return np.where(cells[:, 0] + cells[:, 2] > 0, found, np.nan)


def better_by(
    objective: Objective, first: Evaluated, second: Evaluated, *, seed: int, task: str = "classification"
) -> Interval:
    """By how much `first` is better in the objective, over the same rows, with its 95 % interval.

    Under a constraint the values compared are those that trials are ranked by: flagging everything has recall 1
    and wins nothing.
    """
    if not of_cells(objective, task):
        better, other = (first, second) if objective.maximise else (second, first)
        return get_task(task).paired_interval(objective.metric, better, other, seed=seed)
    assert isinstance(first, Evaluation)
    assert isinstance(second, Evaluation)
    values = partial(cells_values, objective)
    better, other = (first, second) if objective.maximise else (second, first)
    return paired_by_cells(better, other, values, values, seed=seed)
