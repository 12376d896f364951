"""Which trial comes next, by Optuna: over a grid, at random, or Bayesian; the same for the same seed.

Trial k is suggested knowing the results of trials 1 … k − `LAG`, told in the order of their numbers, and of no other.
So up to `LAG` trials run at once without waiting for each other, and the suggestions depend on the seed and the results
alone: not on how many processes fit, nor on which of them is done first, nor on whether the search was killed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from everloop.experiment.space import LearnerSpace, grid
from everloop.models import Choice, Distribution, Int, Value
from everloop.project import SearchMethod

if TYPE_CHECKING:
    import optuna

__all__ = ["LAG", "Suggester", "Suggestion"]

LAG: Final = 8
_RANDOM_AFTER_STARTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A learner with hyperparameters by canonical name, to be tried."""

    learner: str
    params: Mapping[str, Value]


class Suggester:
    """One search's suggestions. It lives as long as the search and keeps nothing on disk."""

    def __init__(
        self,
        spaces: Mapping[str, LearnerSpace],
        *,
        method: SearchMethod = "bayesian",
        seed: int,
        maximise: bool,
        first: Suggestion | None = None,
    ) -> None:
        """spaces: by learner. first: the champion's own configuration, which is always trial one.

        A random and a Bayesian search begin with the learners as they are, in order, then with those that have a second
        start. The seed says the order of a grid's points, so that the first of them are spread over it.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._spaces = spaces
        starts = _starts(spaces)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "group is an experimental feature"
            self._study = optuna.create_study(
                sampler=_sampler(method, seed=seed, starts=len(starts)),
                direction="maximize" if maximise else "minimize",
            )
        self._asked: dict[int, optuna.trial.Trial | None] = {}
        self._first = first
        self._inside = first is not None and first.learner in spaces and spaces[first.learner].holds(first.params)
        self._grid = _shuffled(spaces, seed=seed) if method == "grid" else None
        if first is not None and self._inside:
            starts.insert(0, (first.learner, first.params))
        for name, values in starts if self._grid is None else ():
            self._study.enqueue_trial(self._told(name, values))

    @property
    def size(self) -> int | None:
        """How many suggestions there are; None where there is no end to them."""
        return None if self._grid is None else len(self._grid) + (self._first is not None)

    def ask(self) -> Suggestion | None:
        """The suggestion for the next trial; None where a grid has no more.

        Trial k is to be asked for when 1 … k − `LAG` were told, and no other.
        """
        number = len(self._asked) + 1
        first = self._first if number == 1 else None
        if self._grid is not None or (first is not None and not self._inside):
            self._asked[number] = None
            return first if first is not None else self._of_grid(number - 1 - (self._first is not None))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._study.ask()
            suggestion = self._suggested(trial)
        self._asked[number] = trial
        return suggestion if first is None else first

    def _of_grid(self, place: int) -> Suggestion | None:
        assert self._grid is not None
        if place >= len(self._grid):
            return None
        name, values = self._grid[place]
        return Suggestion(learner=name, params={**self._spaces[name].fixed, **values})

    def _suggested(self, trial: optuna.trial.Trial) -> Suggestion:
        name = str(trial.suggest_categorical("learner", list(self._spaces)))
        space = self._spaces[name]
        params = {key: _chosen(trial, f"{name}.{key}", item) for key, item in space.searched.items()}
        return Suggestion(learner=name, params={**space.fixed, **params})

    def tell(self, number: int, value: float | None, *, given_up_after: int | None = None) -> None:
        """The result of trial `number`, in the order of the numbers; None for one that failed.

        given_up_after: the folds that `value` is of, where it was spared the others. Such a value is of other rows than
        those of whole trials, and is held against those alone that were given up too, behind all that were not.
        """
        from optuna.trial import TrialState

        trial = self._asked[number]
        if trial is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if value is None:
                self._study.tell(trial, state=TrialState.FAIL)
            elif given_up_after is None:
                self._study.tell(trial, value)
            else:
                trial.report(value, step=given_up_after)
                self._study.tell(trial, state=TrialState.PRUNED)

    def _told(self, name: str, values: Mapping[str, Value]) -> dict[str, Any]:
        space = self._spaces[name].searched
        return {"learner": name} | {f"{name}.{key}": _as_told(space[key], values[key]) for key in space}


def _starts(spaces: Mapping[str, LearnerSpace]) -> list[tuple[str, Mapping[str, Value]]]:
    """The learners as they are, then those that have a second start."""
    ample = [(name, space.ample) for name, space in spaces.items() if space.ample is not None]
    return [*((name, space.start) for name, space in spaces.items()), *ample]


def _shuffled(spaces: Mapping[str, LearnerSpace], *, seed: int) -> list[tuple[str, dict[str, Value]]]:
    """Every point of the grid: however many are tried, they begin alike."""
    points = list(grid(spaces))
    return [points[place] for place in np.random.default_rng(seed).permutation(len(points))]


def _sampler(method: SearchMethod, *, seed: int, starts: int) -> optuna.samplers.BaseSampler:
    import optuna

    if method != "bayesian":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        seed=seed,
        multivariate=True,
        group=True,
        constant_liar=True,
        n_startup_trials=starts + _RANDOM_AFTER_STARTS,
    )


def _as_told(space: Distribution, value: Value) -> Value:
    """What Optuna is told: an option by its place, so that it is what it was, whatever type it has."""
    return space.options.index(value) if isinstance(space, Choice) else value


def _chosen(trial: optuna.trial.Trial, name: str, space: Distribution) -> Value:
    if isinstance(space, Choice):
        place = trial.suggest_categorical(name, list(range(len(space.options))))
        return space.options[int(place or 0)]
    if isinstance(space, Int):
        return int(trial.suggest_int(name, space.low, space.high, log=space.log))
    return float(trial.suggest_float(name, space.low, space.high, log=space.log))
