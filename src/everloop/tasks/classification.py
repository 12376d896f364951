"""Binary classification: a score is the probability of the positive class, a decision is score ≥ threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from everloop.project import Objective
from everloop.stats import Interval
from everloop.tasks.evaluation import Evaluation, decided, paired_interval
from everloop.tasks.loss import row_losses
from everloop.tasks.metrics import METRICS
from everloop.tasks.objective import objective_value
from everloop.tasks.task import Array, Evaluated, Metric
from everloop.tasks.threshold import choose_threshold

__all__ = ["Classification"]


@dataclass(frozen=True, slots=True)
class Classification:
    """The task `classification`. Everything is in the functions; this is their door."""

    @property
    def name(self) -> str:
        """As model.yaml says it."""
        return "classification"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By name."""
        return METRICS

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics of a leaderboard."""
        return ("recall", "precision", "average_precision")

    @property
    def decides(self) -> bool:
        """True: a score at or above the threshold is flagged."""
        return True

    def positives(self, y: Array) -> int:
        """Rows of the positive class."""
        return int(np.count_nonzero(y))

    def lacks(self, y: Array) -> str | None:
        """The class of which there are no rows."""
        count = self.positives(y)
        if 0 < count < np.size(y):
            return None
        return "no positive rows" if count == 0 else "only positive rows"

    def evaluate(
        self,
        y: Array,
        score: Array,
        *,
        weight: Array | None = None,
        threshold: float | None = None,
        costs: Mapping[str, float] | None = None,
        quantiles: Array | None = None,
        levels: tuple[float, ...] = (),
    ) -> Evaluation:
        """Scores against truth; a probability has no quantiles. Raises NotEnoughData without rows."""
        return Evaluation(y=y, score=score, weight=weight, threshold=threshold, costs=costs)

    def choose_threshold(self, objective: Objective, y: Array, score: Array, weight: Array | None = None) -> float:
        """The threshold that serves the objective best on validation rows: see `tasks.choose_threshold`."""
        return choose_threshold(objective, y, score, weight)

    def objective_value(self, objective: Objective, evaluation: Evaluated) -> float:
        """What models are ranked by: the metric at the evaluation's threshold, less what the constraint lacks.

        `objective.maximise` says which way is better. The objective's own costs are used for cost.
        """
        if objective.costs is not None and isinstance(evaluation, Evaluation):
            evaluation = replace(evaluation, costs=objective.costs)
        return objective_value(objective, evaluation, evaluation.value(objective.metric))

    def paired_interval(
        self,
        metric: str,
        first: Evaluated,
        second: Evaluated,
        *,
        seed: int = 0,
        level: float = 0.95,
        prior: float = 0.0,
    ) -> Interval:
        """The interval of `first`'s metric minus `second`'s over the same rows: see `tasks.paired_interval`."""
        assert isinstance(first, Evaluation)
        assert isinstance(second, Evaluation)
        return paired_interval(metric, first, second, seed=seed, level=level, prior=prior)

    def losses(
        self,
        y: Array,
        score: Array,
        decision: Array,
        *,
        objective: Objective | None = None,
        bound: float | None = None,
    ) -> Array:
        """One loss in [0, 1] per row, NaN for a row that says nothing about the objective: see `tasks.row_losses`.

        They are bounded by themselves; `bound` is not used.
        """
        return row_losses(y, score, decision, objective=objective)

    def decide(self, score: Array, threshold: float | None) -> Array:
        """score ≥ threshold, shape (n,), bool."""
        return decided(score, threshold)
