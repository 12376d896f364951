"""The curves that a leaderboard draws: the winner's, the best of the others' and the yardsticks', on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from everloop.experiment.choice import PredictionsOf
from everloop.experiment.rows import SearchRows
from everloop.experiment.trial_curves import Role, TrialCurves, trial_curves
from everloop.experiment.trials import Trial
from everloop.project import Objective

__all__ = ["RIVALS_DRAWN", "curves_of"]

RIVALS_DRAWN: Final = 3
"""Trials drawn faintly beside the winner."""


def curves_of(
    winner: Trial,
    others: Sequence[Trial],
    rows: SearchRows,
    *,
    predictions: PredictionsOf,
    objective: Objective,
) -> tuple[TrialCurves, ...]:
    """The winner's curves, then those of the others that went through all folds, on the judged rows of every fold."""
    part = rows.part(np.concatenate([fold.judged for fold in rows.folds.folds]))

    def of(trial: Trial, role: Role, edges: tuple[float, ...] | None = None) -> TrialCurves:
        said = predictions(trial)
        return trial_curves(
            objective,
            part.y,
            said[:, 0],
            part.weight,
            threshold=trial.threshold,
            probability=None if trial.calibration is None else said[:, 1],
            task=rows.task.name,
            name=trial.name,
            learner=trial.learner,
            role=role,
            edges=edges,
        )

    first = of(winner, "winner")
    edges = None if first.residuals is None else first.residuals.edges
    return first, *(of(trial, _role(trial), edges) for trial in others if trial != winner)


def _role(trial: Trial) -> Role:
    return "yardstick" if trial.kind == "yardstick" else "trial"
