"""Which trial comes next: Bayesian search over learners and their spaces, the same for the same seed.

Trials are suggested in batches of `BATCH`, and a batch's results are told in the order of their numbers once all
are there. So the suggestions depend on the seed and the results alone, not on how many processes fit, nor on which of
them is done first, nor on whether the search was killed and told its results again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from everloop.models import Choice, Distribution, Hyperparameter, Int, Learner, Value, search_space

if TYPE_CHECKING:
    import optuna

__all__ = ["BATCH", "Suggester", "Suggestion"]

BATCH: Final = 8
_RANDOM_AFTER_DEFAULTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A learner with hyperparameters by canonical name, to be tried."""

    learner: str
    params: Mapping[str, Value]


def _start(item: Hyperparameter) -> Value:
    """What the sampler is told of the default: a choice as its place, a number moved into what is searched.

    A penalty of 0, for one, is on no logarithmic scale.
    """
    value = item.clean(item.default)
    if isinstance(item.search, Choice):
        return item.search.options.index(value)
    if item.search.holds(value):
        return value
    assert not isinstance(value, str)
    return item.clean(item.search.low if value < item.search.low else item.search.high)


class Suggester:
    """One search's suggestions. It lives as long as the search and keeps nothing on disk."""

    def __init__(self, learners: Sequence[Learner], *, seed: int, maximise: bool) -> None:
        """The first suggestions are the learners' defaults, in order; then a few at random; then the search learns."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._learners = {learner.name: learner for learner in learners}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "group is an experimental feature"
            sampler = optuna.samplers.TPESampler(
                seed=seed,
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=len(self._learners) + _RANDOM_AFTER_DEFAULTS,
            )
        self._study = optuna.create_study(sampler=sampler, direction="maximize" if maximise else "minimize")
        self._asked: list[optuna.trial.Trial] = []
        for learner in learners:
            searched = [item for item in learner.hyperparameters if item.searched]
            values = {f"{learner.name}.{item.name}": _start(item) for item in searched}
            self._study.enqueue_trial({"learner": learner.name, **values})

    def ask(self, count: int) -> list[Suggestion]:
        """The next `count` suggestions, at most a batch, before any of them is told."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [self._ask() for _ in range(count)]

    def _ask(self) -> Suggestion:
        trial = self._study.ask()
        self._asked.append(trial)
        name = trial.suggest_categorical("learner", list(self._learners))
        space = search_space(self._learners[name])
        params = {key: _suggested(trial, f"{name}.{key}", item) for key, item in space.items()}
        return Suggestion(learner=name, params=params)

    def tell(self, values: Sequence[float | None]) -> None:
        """The results of what was asked last, in the order it was asked; None for a trial that failed."""
        import optuna

        asked, self._asked = self._asked, []
        for trial, value in zip(asked, values, strict=True):
            failed = optuna.trial.TrialState.FAIL
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._study.tell(trial, value, state=failed if value is None else None)


def _suggested(trial: optuna.trial.Trial, name: str, space: Distribution) -> Value:
    if isinstance(space, Choice):
        # by place, so that an option is what it was, whatever type it has
        place = trial.suggest_categorical(name, list(range(len(space.options))))
        return space.options[int(place or 0)]
    if isinstance(space, Int):
        return int(trial.suggest_int(name, space.low, space.high, log=space.log))
    return float(trial.suggest_float(name, space.low, space.high, log=space.log))
