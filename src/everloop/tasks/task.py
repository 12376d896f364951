"""What a kind of problem must be able to do for the rest of everloop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from everloop.project import Objective
from everloop.stats import Interval

__all__ = ["Array", "Evaluated", "Metric", "Task"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of a task.

    maximise: whether more is better. of_decisions: whether it judges decisions, so that it moves with the threshold.
    says: one line for people, with the unit.
    """

    name: str
    maximise: bool
    of_decisions: bool
    says: str


class Evaluated(Protocol):
    """Scores held against what turned out to be true."""

    @property
    def rows(self) -> int:
        """Rows judged."""
        ...

    @property
    def positives(self) -> int:
        """Rows that the estimate mostly rests on: positives in classification."""
        ...

    def value(self, metric: str) -> float:
        """The metric's value. Raises NotEnoughData where it has none."""
        ...

    def interval(self, metric: str, *, seed: int = 0, level: float = 0.95) -> Interval:
        """The metric with its interval."""
        ...


class Task(Protocol):
    """A kind of problem: its metrics, its losses, and what a decision is. y, score, weight: shape (n,)."""

    @property
    def name(self) -> str:
        """As model.yaml says it."""
        ...

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By name."""
        ...

    def evaluate(
        self,
        y: Array,
        score: Array,
        *,
        weight: Array | None = None,
        threshold: float | None = None,
        costs: Mapping[str, float] | None = None,
    ) -> Evaluated:
        """Scores against truth. Raises NotEnoughData without rows."""
        ...

    def choose_threshold(self, objective: Objective, y: Array, score: Array, weight: Array | None = None) -> float:
        """The decision threshold that serves the objective best on these rows (validation, never test)."""
        ...

    def objective_value(self, objective: Objective, evaluation: Evaluated) -> float:
        """What models are ranked by; `objective.maximise` says which way."""
        ...

    def losses(self, y: Array, score: Array, decision: Array, *, objective: Objective | None = None) -> Array:
        """One loss in [0, 1] per row, for paired comparison; NaN for a row that says nothing about the objective."""
        ...

    def decide(self, score: Array, threshold: float) -> Array:
        """The decision per row."""
        ...
