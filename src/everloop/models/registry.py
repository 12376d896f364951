"""Which learners a task has."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from everloop.errors import ConfigurationError, NotFound
from everloop.models.constant import Constant
from everloop.models.learner import Learner
from everloop.models.lightgbm import LightGBM
from everloop.models.logistic import Logistic
from everloop.models.neural_network import NeuralNetwork
from everloop.models.random_forest import RandomForest
from everloop.models.regression.registry import REGRESSION
from everloop.models.xgboost import XGBoost

__all__ = ["learner", "learners"]

_CLASSIFICATION: Final[tuple[Learner, ...]] = (
    Constant(),
    Logistic(),
    RandomForest(),
    XGBoost(),
    LightGBM(),
    NeuralNetwork(),
)
_LEARNERS: Final[Mapping[str, Mapping[str, Learner]]] = {
    "classification": MappingProxyType({item.name: item for item in _CLASSIFICATION}),
    "regression": MappingProxyType({item.name: item for item in REGRESSION}),
}


def learners(task: str) -> Mapping[str, Learner]:
    """The learners of `task` by name, the yardsticks first. Raises NotFound for a task that has none."""
    if task not in _LEARNERS:
        raise NotFound(f"task {task!r} has no learners; those with learners are {', '.join(sorted(_LEARNERS))}")
    return _LEARNERS[task]


def learner(name: str, *, task: str = "classification") -> Learner:
    """The learner called `name`. Raises ConfigurationError that names the likely one."""
    known = learners(task)
    if name not in known:
        likely = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {likely[0]!r}?" if likely else f"there are {', '.join(known)}"
        raise ConfigurationError([f"learner: {task} has no learner {name!r}; {hint}"])
    return known[name]
