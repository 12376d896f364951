"""A trial's curves on the rows that judged it, fold after fold: what a leaderboard's page and a notebook draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from everloop.experiment.decision_curves import DecisionCurves, decision_curves
from everloop.experiment.residuals import Residuals, residuals
from everloop.project import Objective
from everloop.tasks import get_task

__all__ = ["Role", "TrialCurves", "trial_curves"]

Array = np.ndarray[Any, np.dtype[Any]]
Role = Literal["winner", "trial", "yardstick"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCurves:
    """The curves of one trial. decisions: where the task decides; residuals: where it predicts a number.

    rows, positives: how many there are of the rows that judged it.
    """

    name: str
    learner: str
    role: Role
    objective: str
    rows: int
    positives: int
    decisions: DecisionCurves | None = None
    residuals: Residuals | None = None

    def _repr_html_(self) -> str:
        """What a notebook shows: the charts as pictures, without a script."""
        from everloop.experiment.board_page import curves_fragment

        return curves_fragment(self)


def trial_curves(
    objective: Objective,
    y: Array,
    score: Array,
    weight: Array,
    *,
    threshold: float | None = None,
    probability: Array | None = None,
    task: str = "classification",
    name: str = "1",
    learner: str = "",
    role: Role = "winner",
    edges: tuple[float, ...] | None = None,
) -> TrialCurves:
    """The curves of scores held against the truth; y, score, weight: shape (n,).

    threshold: the chosen one, to be marked. probability: what a calibration has made of the scores, shape (n,), by maps
    that have not seen the row; None where scores are that themselves. edges: of another trial's residuals.
    Raises NotEnoughData where one class is missing.
    """
    kind = get_task(task)
    decides = kind.decides
    return TrialCurves(
        name=name,
        learner=learner,
        role=role,
        objective=str(objective),
        rows=int(np.size(y)),
        positives=kind.positives(np.asarray(y)),
        decisions=(
            decision_curves(objective, y, score, weight, threshold=threshold, probability=probability)
            if decides
            else None
        ),
        residuals=None if decides else residuals(y, score, weight, edges=edges),
    )
