"""Which trial is handed over: of those that the data cannot tell from the best, one that is cheap to serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.experiment.judging import better_by, evaluated
from everloop.experiment.leaderboard import ranked
from everloop.experiment.rows import SearchRows
from everloop.experiment.trials import Trial, mean_interval_of
from everloop.models import BLEND
from everloop.project import Objective, SearchChoice
from everloop.stats import Interval
from everloop.tasks import Evaluated
from everloop.tasks.metrics import RANK_METRICS

__all__ = ["AS_SMALL", "RIVALS", "Choice", "choose", "rivals", "unbeaten"]

Array = np.ndarray[Any, np.dtype[Any]]
PredictionsOf = Callable[[Trial], Array]

RIVALS: Final = 20
"""Trials that are compared with the best where ranks are, of every row many times over; others are all compared."""

AS_SMALL: Final = 2.0
"""A graph that is at most so many times as large as the smallest costs nobody more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The trial to hand over, None where all failed.

    behind: by how much the best is better than a trial on the same rows, with its 95 % interval, by the trial's number;
    of the best and its rivals. A trial whose interval reaches 0 is tied with the best.
    """

    winner: Trial | None
    best: Trial | None = None
    behind: Mapping[int, Interval] = field(default_factory=dict)


def choose(
    trials: Sequence[Trial],
    rows: SearchRows,
    *,
    yardsticks: Sequence[Trial],
    predictions: PredictionsOf,
    objective: Objective,
    wanted: SearchChoice,
    task: str,
    levels: tuple[float, ...] = (),
    seed: int = 0,
) -> Choice:
    """The choice among the trials that went through all folds.

    wanted: of the tied that beat the yardsticks `cheapest` takes the best whose graph is about as small as the
    smallest, which is also quick and light; `blend` takes the blend: the best by number was taken for its number, in
    which there is luck, and a mean of several was not. Where there is none of them, and for `best`, it is the best.
    """
    whole = [trial for trial in trials if trial.kind == "trial" and trial.status == "done"]
    if not whole:
        return Choice(winner=None)
    order = ranked(whole, maximise=objective.maximise)
    best = order[0]

    def folds_of(trial: Trial) -> list[Evaluated]:
        said, start, found = predictions(trial), 0, []
        for fold, judged in zip(rows.folds.folds, trial.folds, strict=True):
            part, size = rows.part(fold.judged), fold.judged.size
            own = said[start : start + size]
            start += size
            found.append(
                evaluated(
                    objective,
                    part.y,
                    own[:, 0],
                    part.weight,
                    threshold=judged.threshold,
                    task=task,
                    quantiles=own[:, 1:] if levels else None,
                    levels=levels,
                )
            )
        return found

    mine = folds_of(best)
    worth = [fold.worth for fold in best.folds]
    behind = {}
    for rival in rivals(order, objective):
        gaps = [
            better_by(objective, one, other, seed=seed, task=task)
            for one, other in zip(mine, folds_of(rival), strict=True)
        ]
        behind[rival.number] = mean_interval_of(gaps, worth)
    tied = [trial for trial in order if trial.number in behind and behind[trial.number].low <= 0]
    good = [trial for trial in tied if unbeaten(trial, yardsticks, objective) is None]
    return Choice(winner=_wanted(wanted, good) or best, best=best, behind=behind)


def _wanted(wanted: SearchChoice, good: Sequence[Trial]) -> Trial | None:
    """Which of the tied, the best first, is asked for; None where it is not among them."""
    if wanted == "cheapest":
        return _cheap(good) if good else None
    if wanted == "blend":
        return next((trial for trial in good if trial.learner == BLEND), None)
    return None


def _cheap(order: Sequence[Trial]) -> Trial:
    """The first of those whose graphs are small."""
    small = AS_SMALL * min(trial.graph_bytes for trial in order)
    return next(trial for trial in order if trial.graph_bytes <= small)


def rivals(order: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Those of `order`, the best first, that are compared with the best on the same rows; itself among them."""
    near = [trial for trial in order if order[0].meets(trial)]
    return near[:RIVALS] if objective.metric in RANK_METRICS else near


def unbeaten(trial: Trial, yardsticks: Sequence[Trial], objective: Objective) -> Trial | None:
    """The first yardstick that `trial` is no better than on the rows that ranked both; None where it beats them all.

    One of its own learner (a logistic regression with other settings) need not be beaten, and one that failed is not.
    """
    others = (yardstick for yardstick in yardsticks if yardstick.learner != trial.learner)
    return next((other for other in others if not _better(trial, other, objective)), None)


def _better(trial: Trial, other: Trial, objective: Objective) -> bool:
    if trial.value is None or other.value is None:
        return False
    return trial.value > other.value if objective.maximise else trial.value < other.value
