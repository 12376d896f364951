"""When a fit that goes on round by round has learned enough: by its log-loss on validation rows.

Log-loss and no metric of ranks: what is served is a probability, and with a few dozen positives average precision jumps
from round to round, where a sum over all rows does not. Positives count `scale_pos_weight` times in it, as they do in
what is learned: else it would stop as soon as that begins to show. It is added up here and not by the libraries, whose
sums differ in their last bits with the number of threads, and with them the round that is best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from everloop.errors import ConfigurationError
from everloop.models.learner import Training, Validation, upweighted
from everloop.models.log_loss import log_loss
from everloop.models.space import Hyperparameter, Int, Value

__all__ = [
    "EARLY_STOPPING",
    "Patience",
    "ValidationLoss",
    "check_validation",
    "stops_early",
    "validation_log_loss",
    "validation_weight",
]

_NAME: Final = "early_stopping_rounds"

EARLY_STOPPING: Final = Hyperparameter(
    name=_NAME,
    search=Int(5, 50),
    default=0,
    minimum=0,
    maximum=10_000,
    aliases=("early_stopping_round", "n_iter_no_change"),
    searched=False,
)
"""Rounds without a better validation log-loss after which a fit ends; 0 is never."""


ValidationLoss = Callable[[np.ndarray], float]
"""The loss of the validation rows' scores, shape (n,), by which a fit ends."""


def validation_log_loss(training: Training) -> ValidationLoss | None:
    """What a fit of classes ends by; None without validation rows."""
    validation = training.validation
    if validation is None:
        return None
    weight = validation_weight(training, validation)
    return lambda scores: log_loss(validation.y, scores, weight)


def validation_weight(training: Training, validation: Validation) -> np.ndarray:
    """The weights of the validation rows with positives counted as in training; shape (n,)."""
    return upweighted(validation.y, validation.weights, training.params)


def stops_early(params: Mapping[str, Value]) -> bool:
    """Whether a fit with these hyperparameters, by canonical name, asks validation rows when to end.

    A blend's are its members', of which one is enough.
    """
    return any(int(value) > 0 for name, value in params.items() if name.rpartition(".")[2] == _NAME)


def check_validation(learner: str, params: Mapping[str, Value], validation: Validation | None) -> None:
    """Raise ConfigurationError where a fit is to stop early and there is nothing to stop it by."""
    if stops_early(params) and validation is None:
        raise ConfigurationError(
            [
                f"hyperparameters.{_NAME}: {learner} is to stop early by its loss on validation rows and has none; "
                f"give the fit `validation` rows, or say {_NAME}: 0"
            ]
        )


class Patience:
    """One fit's losses, round by round, until too many in a row were not its best."""

    def __init__(self, rounds: int) -> None:
        """Wait for `rounds` rounds, > 0, without a better loss."""
        self._patience = rounds
        self._seen = 0
        self._least = np.inf
        self.best = 0
        """The round with the least loss, from 1; 0 before the first."""

    def better(self, loss: float) -> bool:
        """Whether the next round's `loss` is the least so far."""
        self._seen += 1
        if not loss < self._least:
            return False
        self._least, self.best = loss, self._seen
        return True

    @property
    def is_over(self) -> bool:
        """Whether no better round is waited for any more."""
        return self._seen - self.best >= self._patience
