"""What a learner is: an algorithm, its hyperparameters, and a way from its model to an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from everloop.models.space import Distribution, Hyperparameter, Value

__all__ = [
    "BLEND",
    "FittedModel",
    "Learner",
    "Training",
    "Validation",
    "defaults",
    "search_space",
    "target_type",
    "upweighted",
    "weighted_up",
]

BLEND: Final = "blend"
"""What a spec calls a mean of several learners, so that none is called so."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """Rows that a fit does not learn from, later in time, and in order of it. No test row is among them.

    X: float32, shape (n, k). y: shape (n,). weight: shape (n,), positive; None is 1 for every row.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    @property
    def weights(self) -> np.ndarray:
        """float64, shape (n,), 1 each where none were given."""
        return np.ones(len(self.y)) if self.weight is None else np.asarray(self.weight, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a learner learns from.

    X: float32, shape (n, k), every value finite or NaN; NaN only where the learner said it reads missing values.
    y: int8, shape (n,), 1 is the positive class; both classes are there. Of a regression float64, standardised.
    weight: float64, shape (n,), positive: how many rows of the world a row stands for.
    params: every hyperparameter of the learner, by canonical name.
    seed: the fit is a function of it and of the rest.
    threads: how many threads a fit may use; never what comes out.
    validation: X and y as above; to stop early by and for nothing else. None where there are no such rows.
    categories: place of a column → how many categories, for columns that hold the place of one in a list: 0, 1, … or -1
        for none of them.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    params: Mapping[str, Value]
    seed: int
    threads: int = 1
    validation: Validation | None = None
    categories: Mapping[int, int] = field(default_factory=dict)


class FittedModel(Protocol):
    """A model as its own library has it; it lives as long as the process that fitted it.

    One that stopped early also says `rounds: int`, how many trees or epochs it kept.
    """

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The probability of the positive class, or the number, float64, shape (n,), by the library's own code."""
        ...

    def onnx(self) -> Any:
        """The model as an `onnx.ModelProto` with one input (n, k) and the class probabilities (n, 2) last.

        Of a regression the number, shape (n, 1), is last.
        """
        ...


class Learner(Protocol):
    """An algorithm with its hyperparameters. Implementations are frozen and hold no state."""

    @property
    def name(self) -> str:
        """The name in specs and leaderboards."""
        ...

    @property
    def yardstick(self) -> bool:
        """Whether it is fitted in every search to be beaten: the constant and the logistic regression."""
        ...

    @property
    def reads_missing(self) -> bool:
        """Whether the algorithm has a way of its own with missing values; else they are filled before it."""
        ...

    @property
    def hyperparameters(self) -> tuple[Hyperparameter, ...]:
        """Its settings, by canonical name."""
        ...

    @property
    def fixed(self) -> Mapping[str, tuple[Value, ...]]:
        """Native settings that may be said but not changed, such as XGBoost's `objective`."""
        ...

    @property
    def row_block(self) -> int:
        """Rows its graph must be given at once for a row's score not to depend on its neighbours; 1 for trees."""
        ...

    @property
    def one_hot(self) -> bool:
        """Whether it makes a column of every category; else a category is its place, which the algorithm splits."""
        ...

    def fit(self, training: Training) -> FittedModel:
        """The model for these rows. The same training gives the same model."""
        ...


def target_type(task: str) -> type[np.int8 | np.float64]:
    """The type in which a task's target is learned from."""
    return np.float64 if task == "regression" else np.int8


def search_space(learner: Learner) -> dict[str, Distribution]:
    """Where a search looks for the learner's hyperparameters, by canonical name; those that it tries."""
    return {item.name: item.search for item in learner.hyperparameters if item.searched}


def defaults(learner: Learner) -> dict[str, Value]:
    """The learner's hyperparameters where nothing is said."""
    return {
        hyperparameter.name: hyperparameter.clean(hyperparameter.default) for hyperparameter in learner.hyperparameters
    }


def weighted_up(training: Training) -> np.ndarray:
    """The rows' weights with positives counted `scale_pos_weight` times; float64, shape (n,), mean 1.

    Mean 1, so that a penalty or a minimum of weight in a leaf means the same for 1,000 rows and for a sample that
    stands for 1,000,000.
    """
    return upweighted(training.y, training.weight, training.params)


def upweighted(y: np.ndarray, weight: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """`weighted_up` of any rows; shape (n,)."""
    found = weight * np.where(y == 1, float(params.get("scale_pos_weight", 1.0)), 1.0)
    return np.asarray(found / found.mean(), dtype=np.float64)
