"""How much of the differences between one learner's trials each hyperparameter explains."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from everloop.experiment.space import LearnerSpace
from everloop.experiment.trials import Trial
from everloop.models import Choice, Distribution, Int, defaults

if TYPE_CHECKING:
    import optuna

__all__ = ["LEAST_TRIALS", "parameter_importance"]

LEAST_TRIALS: Final = 10
"""Fewer trials of one learner tell nothing of its hyperparameters."""


def parameter_importance(trials: Sequence[Trial], space: LearnerSpace, *, seed: int) -> dict[str, float]:
    """Each searched hyperparameter's share of the variance of the objective, alone, the largest first.

    By functional ANOVA over a random forest that is fitted on the learner's trials, as Optuna does it; what the shares
    lack of 1 is what hyperparameters do together. Trials that were given up are left out: their values are of fewer
    folds. {} below `LEAST_TRIALS`, and where all trials are worth the same. Source: Hutter, Hoos, Leyton-Brown (2014),
    "An Efficient Approach for Assessing Hyperparameter Importance".
    """
    unsaid = defaults(space.learner)
    told = [
        (trial.value, unsaid | trial.hyperparameters)
        for trial in sorted(trials, key=lambda one: one.number)
        if (trial.kind, trial.learner, trial.status) == ("trial", space.learner.name, "done")
        and trial.value is not None
        and space.holds(unsaid | trial.hyperparameters)
    ]
    if len(told) < LEAST_TRIALS or np.ptp([value for value, _ in told]) == 0:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution(item) for name, item in space.searched.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "argument normalize is an experimental feature"
        study = optuna.create_study()
        for value, had in told:
            params = {name: _told(item, had[name]) for name, item in space.searched.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed), normalize=False
        )
    return {name: float(share) for name, share in sorted(found.items(), key=lambda item: -item[1])}


def _told(space: Distribution, value: Any) -> Any:
    """An option by its place, whatever type it has."""
    return space.options.index(value) if isinstance(space, Choice) else value


def _distribution(space: Distribution) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(space, Choice):
        return CategoricalDistribution(list(range(len(space.options))))
    if isinstance(space, Int):
        return IntDistribution(space.low, space.high, log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)
