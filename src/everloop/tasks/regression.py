"""Regression: a score is the outcome that is expected, in the target's unit. Nothing is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from everloop.project import Objective
from everloop.stats import Interval
from everloop.tasks.numeric import NumericEvaluation, paired_numeric_interval
from everloop.tasks.numeric_loss import numeric_losses
from everloop.tasks.numeric_metrics import NUMERIC_METRICS
from everloop.tasks.task import Array, Evaluated, Metric

__all__ = ["Regression"]


@dataclass(frozen=True, slots=True)
class Regression:
    """The task `regression`. Everything is in the functions; this is their door."""

    @property
    def name(self) -> str:
        """As model.yaml says it."""
        return "regression"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By name."""
        return NUMERIC_METRICS

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics of a leaderboard."""
        return ("mae", "mape", "r2")

    @property
    def decides(self) -> bool:
        """False: there is no threshold, and no two classes."""
        return False

    def positives(self, y: Array) -> int:
        """Every row."""
        return int(np.size(y))

    def lacks(self, y: Array) -> str | None:
        """A second outcome, where all are the same."""
        outcomes = np.asarray(y)
        return None if outcomes.size and outcomes.min() < outcomes.max() else "no two different outcomes"

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
    ) -> NumericEvaluation:
        """Scores against truth; a threshold and prices mean nothing here. Raises NotEnoughData without rows."""
        return NumericEvaluation(y=y, score=score, weight=weight, quantiles=quantiles, levels=levels)

    def choose_threshold(self, objective: Objective, y: Array, score: Array, weight: Array | None = None) -> None:
        """None: a number decides nothing."""
        return

    def objective_value(self, objective: Objective, evaluation: Evaluated) -> float:
        """What models are ranked by: the metric itself."""
        return evaluation.value(objective.metric)

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
        """The interval of `first`'s metric minus `second`'s over the same rows; seed and prior are not used."""
        assert isinstance(first, NumericEvaluation)
        assert isinstance(second, NumericEvaluation)
        return paired_numeric_interval(metric, first, second, level=level)

    def losses(
        self,
        y: Array,
        score: Array,
        decision: Array,
        *,
        objective: Objective | None = None,
        bound: float | None = None,
    ) -> Array:
        """One loss in [0, 1] per row: see `tasks.numeric_losses`. Raises ValueError without a bound of errors."""
        if bound is None:
            raise ValueError("errors have no bound of their own; give the one of the champion's bundle")
        return numeric_losses(y, score, objective=objective, bound=bound)

    def decide(self, score: Array, threshold: float | None) -> Array:
        """False for every row, shape (n,)."""
        return np.zeros(np.shape(score), dtype=bool)
