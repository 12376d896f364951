"""Which trial is handed over: of those that the data cannot tell from the best, the one that is cheapest to serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from everloop.experiment.judging import better_by, evaluated
from everloop.experiment.leaderboard import ranked
from everloop.experiment.rows import SearchRows
from everloop.experiment.trials import Trial, mean_interval_of
from everloop.project import Objective
from everloop.stats import Interval
from everloop.tasks import Evaluated

__all__ = ["RIVALS", "Choice", "choose", "overlap"]

Array = np.ndarray[Any, np.dtype[Any]]
PredictionsOf = Callable[[Trial], Array]

RIVALS: Final = 20
"""Trials that may be told from the best, or not; those behind them are not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The trial to hand over, None where all failed.

    behind: by how much the best is better than a trial on the same rows, with its 95 % interval, by the trial's number;
    of the best and its nearest rivals. A trial whose interval reaches 0 is tied with the best.
    """

    winner: Trial | None
    best: Trial | None = None
    behind: Mapping[int, Interval] = field(default_factory=dict)


def choose(
    trials: Sequence[Trial],
    rows: SearchRows,
    *,
    predictions: PredictionsOf,
    objective: Objective,
    cheapest: bool,
    task: str,
    levels: tuple[float, ...] = (),
    seed: int = 0,
) -> Choice:
    """The choice among the trials that went through all folds.

    cheapest: of the tied the one with the smallest graph, which is also quick and light; else the best.
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
    for rival in (trial for trial in order[:RIVALS] if overlap(best, trial)):
        gaps = [
            better_by(objective, one, other, seed=seed, task=task)
            for one, other in zip(mine, folds_of(rival), strict=True)
        ]
        behind[rival.number] = mean_interval_of(gaps, worth)
    tied = [trial for trial in order if trial.number in behind and behind[trial.number].low <= 0]
    winner = min(tied, key=lambda trial: trial.graph_bytes) if cheapest and tied else best  # of equals the better
    return Choice(winner=winner, best=best, behind=behind)


def overlap(best: Trial, other: Trial) -> bool:
    """Whether the intervals of the two meet, so that pairs of rows are worth a look."""
    mine, theirs = best.range, other.range
    return mine is not None and theirs is not None and mine.low <= theirs.high and theirs.low <= mine.high
