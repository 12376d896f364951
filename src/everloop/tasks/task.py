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
        """Rows that the estimate mostly rests on: positives in classification, every row in regression."""
        ...

    @property
    def y(self) -> Array:
        """The truth, shape (n,)."""
        ...

    @property
    def score(self) -> Array:
        """What was predicted, shape (n,)."""
        ...

    @property
    def weights(self) -> Array:
        """Shape (n,), 1 each where none were given."""
        ...

    @property
    def threshold(self) -> float | None:
        """Of the decisions that were judged; None where there are none."""
        ...

    def of_rows(self, rows: Array) -> Evaluated:
        """The evaluation of some of its rows: their places, or shape (n,) of bool."""
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

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics that a leaderboard shows, three of them."""
        ...

    @property
    def decides(self) -> bool:
        """Whether a score is compared with a threshold, so that there are positives, and both classes are needed."""
        ...

    def positives(self, y: Array) -> int:
        """How many rows tell something rare: positives in classification, every row in regression."""
        ...

    def lacks(self, y: Array) -> str | None:
        """What is missing in rows that teach nothing, such as `no positive rows`; None where nothing is."""
        ...

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
    ) -> Evaluated:
        """Scores against truth. Raises NotEnoughData without rows.

        quantiles: shape (n, q), at `levels`, of a model that gives them.
        """
        ...

    def choose_threshold(
        self, objective: Objective, y: Array, score: Array, weight: Array | None = None
    ) -> float | None:
        """The decision threshold that serves the objective best on these rows (validation, never test).

        None where the task decides nothing.
        """
        ...

    def objective_value(self, objective: Objective, evaluation: Evaluated) -> float:
        """What models are ranked by; `objective.maximise` says which way."""
        ...

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
        """The interval of `first`'s metric minus `second`'s over the same rows.

        prior: rows of every kind that are added for the interval of a metric of decisions: see `paired_by_cells`.
        """
        ...

    def losses(
        self,
        y: Array,
        score: Array,
        decision: Array,
        *,
        objective: Objective | None = None,
        bound: float | None = None,
    ) -> Array:
        """One loss in [0, 1] per row, for paired comparison; NaN for a row that says nothing about the objective.

        bound: where errors of the champion's kind are cut, which a regression needs.
        """
        ...

    def decide(self, score: Array, threshold: float | None) -> Array:
        """The decision per row; false where nothing is decided."""
        ...
