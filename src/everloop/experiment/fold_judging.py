"""What a fit on one fold is worth on the rows that judge it: by its graph, which is what would be served.

A calibration is fitted on these rows, so that the graph's own scores of them would look better than they are: each row
is then judged by a map that was fitted on others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from everloop.bundle import Graph
from everloop.experiment.judging import judged
from everloop.experiment.trials import FoldScore
from everloop.models import FitResult, Validation
from everloop.project import Objective
from everloop.tasks import get_task

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
) -> tuple[FoldScore, Array]:
    """The score at the threshold that is best for these rows, and the predictions that it was made from.

    held: the fold's judged rows, which were the fit's validation rows. levels: of the quantiles that the graph gives.
    seed: of the interval.
    The predictions are float32, shape (n, 1 + q): score and quantiles.
    Raises NotEnoughData where the rows lack a class, or no threshold is near the objective's constraint.
    """
    scores, quantiles = Graph(fitted.graph).predictions(held.X)
    if fitted.held is not None:
        scores = fitted.held
    found = judged(objective, held.y, scores, held.weights, seed=seed, task=task, quantiles=quantiles, levels=levels)
    score = FoldScore(
        value=found.value,
        interval=found.interval.to_dict(),
        worth=float(get_task(task).positives(held.y)),
        threshold=found.threshold,
        metrics=found.metrics,
        fit_s=round(fitted.fit_s, 3),
        rows=fitted_rows,
        rounds=fitted.rounds,
    )
    columns = [scores] if quantiles is None else [scores, *quantiles.T]
    return score, np.column_stack(columns).astype(np.float32)
