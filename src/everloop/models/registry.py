"""Which learners a task has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final

from everloop.errors import ConfigurationError, NotFound
from everloop.models.constant import Constant
from everloop.models.learner import BLEND, Learner
from everloop.models.lightgbm import LightGBM
from everloop.models.logistic import Logistic
from everloop.models.neural_network import NeuralNetwork
from everloop.models.own_learner import read_learners
from everloop.models.random_forest import RandomForest
from everloop.models.regression.registry import REGRESSION
from everloop.models.xgboost import XGBoost

__all__ = ["learner", "learners", "own_content"]

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


def learners(task: str, *, own: Path | None = None) -> Mapping[str, Learner]:
    """The learners of `task` by name, the yardsticks first, then those of the learners.py `own`.

    Raises NotFound for a task that has none, ConfigurationError for what is wrong with the file.
    """
    if task not in _LEARNERS:
        raise NotFound(f"task {task!r} has no learners; those with learners are {', '.join(sorted(_LEARNERS))}")
    if own is None:
        return _LEARNERS[task]
    theirs = read_learners(own)
    ours = {BLEND, *(name for known in _LEARNERS.values() for name in known)}
    taken = [
        f"{theirs.where(name)}: {type(item).__name__} is called {name!r}, as one of everloop's own is; "
        "give it another name"
        for name, item in theirs.learners.items()
        if name in ours
    ]
    if taken:
        raise ConfigurationError(taken)
    return MappingProxyType({**_LEARNERS[task], **theirs.of(task)})


def learner(name: str, *, task: str = "classification", own: Path | None = None) -> Learner:
    """The learner called `name`. Raises ConfigurationError that names the likely one, and where it is defined."""
    built_in = learners(task)
    if name in built_in:
        return built_in[name]  # a file with a mistake keeps nobody from what is not in it
    if name == BLEND:
        raise ConfigurationError(
            [f"learner: a {BLEND} is made of a search's best trials; say search: {{choose: {BLEND}}}"]
        )
    known = learners(task, own=own)
    if name not in known:
        raise ConfigurationError([f"learner: {task} has no learner {name!r}; {_hint(name, known, own)}"])
    return known[name]


def own_content(names: Iterable[str], *, own: Path | None) -> str | None:
    """The sha256 of the learners.py `own` where one of `names` is defined there, else None."""
    if own is None or all(any(name in known for known in _LEARNERS.values()) for name in names):
        return None
    return read_learners(own).content


def _hint(name: str, known: Mapping[str, Learner], own: Path | None) -> str:
    likely = get_close_matches(name, known, n=1, cutoff=0.5)
    if not likely:
        return f"there are {', '.join(known)}"
    theirs = None if own is None else read_learners(own)
    if theirs is None or likely[0] not in theirs.learners:
        return f"did you mean {likely[0]!r}?"
    return f"did you mean {likely[0]!r}, which {theirs.where(likely[0])} defines?"
