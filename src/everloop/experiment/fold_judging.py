"""What a fit on one fold is worth on the rows that judge it: by its graph, which is what would be served.

A calibration is fitted on these rows, so that the graph's own scores of them would look better probabilities than they
are: what judges probabilities judges each row by a map that was fitted on others. Rankings and decisions are the same
under any map, for it rises strictly, and are judged by the graph's own scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from everloop.bundle import Graph
from everloop.experiment.judging import evaluated, judged
from everloop.experiment.trials import FoldScore
from everloop.models import FitResult, Validation
from everloop.project import Objective
from everloop.tasks.metrics import ROW_LOSSES

__all__ = ["judge_fold"]

Array = np.ndarray[Any, np.dtype[Any]]


def judge_fold(
    fitted: FitResult,
    held: Validation,
    *,
    objective: Objective,
    task: str = "classification",
    levels: tuple[float, ...] = (),
    seed: int = 0,
    fitted_rows: int = 0,
    worth: float = 1.0,
) -> tuple[FoldScore, Array]:
    """The score at the threshold that is best for these rows, and the predictions that it was made from.

    held: the fold's judged rows, which were the fit's validation rows. levels: of the quantiles that the graph gives.
    seed: of the interval. worth: what the fold counts beside the trial's others.
    The predictions are float32, shape (n, 1 + q): score and quantiles. Of a fit that was to be calibrated they
    are (n, 2): the score that judged it, and the probability by a map that has not seen the row.
    Raises NotEnoughData where the rows lack a class, or no threshold is near the objective's constraint.
    """
    scores, quantiles = Graph(fitted.graph).predictions(held.X)
    unseen = scores if fitted.held is None else fitted.held
    if _of_probabilities(objective):
        scores = unseen
    found = judged(objective, held.y, scores, held.weights, seed=seed, task=task, quantiles=quantiles, levels=levels)
    metrics = found.metrics
    if fitted.held is not None:
        by_others = evaluated(objective, held.y, unseen, held.weights, threshold=None)
        metrics = metrics | {name: by_others.value(name) for name in ROW_LOSSES}
    score = FoldScore(
        value=found.value,
        interval=found.interval.to_dict(),
        worth=worth,
        threshold=found.threshold,
        metrics=metrics,
        fit_s=round(fitted.fit_s, 3),
        rows=fitted_rows,
        rounds=fitted.rounds,
    )
    columns = [scores, *([] if quantiles is None else quantiles.T), *([] if fitted.calibration is None else [unseen])]
    return score, np.column_stack(columns).astype(np.float32)


def _of_probabilities(objective: Objective) -> bool:
    """Whether the objective asks how near scores are to probabilities, not only how they rank."""
    constraint = objective.constraint
    return objective.metric in ROW_LOSSES or (constraint is not None and constraint.metric in ROW_LOSSES)
