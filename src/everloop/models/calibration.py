"""Which map, if any, makes probabilities of a model's scores: asked of the validation rows, part of what is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np

from everloop.errors import ConfigurationError, NotEnoughData
from everloop.models.isotonic_map import IsotonicMap
from everloop.models.learner import Validation
from everloop.models.logistic_map import LogisticMap
from everloop.models.score_map import ScoreMap

__all__ = ["CALIBRATIONS", "Calibrated", "Calibration", "calibrated", "check_calibration"]

CALIBRATIONS: Final = ("none", "logistic", "isotonic", "auto")
"""What a spec may say. `auto` takes the map that the validation rows surely ask for, and none where they do not."""

_SPANS: Final = 5
_SURE: Final = 1.645  # standard errors: 95 % of one side, for nobody asks whether a map surely harms


class _Fit(Protocol):
    def __call__(self, scores: np.ndarray, y: np.ndarray, weight: np.ndarray) -> ScoreMap: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    """least: how many rows of each class it takes to fit the map, and to see what it is worth."""

    fit: _Fit
    least: int


_METHODS: Final[Mapping[str, _Method]] = MappingProxyType(
    {"logistic": _Method(fit=LogisticMap.fit, least=30), "isotonic": _Method(fit=IsotonicMap.fit, least=100)}
)
"""The simpler first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How scores became probabilities.

    method: `none`, `logistic` or `isotonic`. parameters: of the map, {} for none.
    log_loss_before, log_loss_after: weighted means on the validation rows, in nats; after is out of fold: each span
        of the rows, a fifth of the rarer class, by a map that was fitted on the others.
    """

    method: str
    parameters: dict[str, list[float]]
    log_loss_before: float
    log_loss_after: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "method": self.method,
            "parameters": self.parameters,
            "log_loss_before": self.log_loss_before,
            "log_loss_after": self.log_loss_after,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibrated:
    """What was found on the validation rows.

    map: fitted on all of them; None where none is called for. held: float32, shape (n,), their probabilities to judge
    by, each span by a map that was fitted on the others; None without a map. said: for people.
    """

    map: ScoreMap | None
    held: np.ndarray | None
    said: Calibration


def check_calibration(method: str, validation: Validation | None, *, task: str = "classification") -> None:
    """Raise ConfigurationError where `method` is none of ours, of no probability, or has no rows to be fitted on."""
    if method not in CALIBRATIONS:
        raise ConfigurationError([f"calibration: {method!r} is not one of {', '.join(CALIBRATIONS)}"])
    if method != "none" and task != "classification":
        raise ConfigurationError([f"calibration: a {task} answers no probability that could be calibrated; say none"])
    if method != "none" and validation is None:
        raise ConfigurationError(
            [f"calibration: {method} asks the validation rows and the fit has none; give it some, or say none"]
        )


def calibrated(method: str, scores: np.ndarray, validation: Validation) -> Calibrated:
    """The map that `method`, not `none`, finds for the graph's scores on the validation rows, and what it is worth.

    scores: float32, shape (n,), of rows in order of time. Raises NotEnoughData where a map was asked for by name and a
    class has too few rows.
    """
    from everloop.tasks.metrics import log_losses

    y, weight = np.asarray(validation.y), validation.weights
    before = log_losses(y, scores)
    rarer = int(min((y == 1).sum(), (y != 1).sum()))
    chosen, held, after = None, None, before
    for name, candidate in _METHODS.items():
        if method not in (name, "auto"):
            continue
        if rarer < candidate.least:
            _refuse_few(method, candidate.least, rarer)
            continue
        others = _out_of_fold(candidate.fit, scores, y, weight)
        found = log_losses(y, others)
        if method == name or _surely_gains(after - found, weight):
            chosen, held, after = name, others.astype(np.float32), found
    fitted = None if chosen is None else _METHODS[chosen].fit(scores, y, weight)
    said = Calibration(
        method="none" if fitted is None else fitted.method,
        parameters={} if fitted is None else fitted.parameters,
        log_loss_before=float(np.average(before, weights=weight)),
        log_loss_after=float(np.average(after, weights=weight)),
    )
    return Calibrated(map=fitted, held=held, said=said)


def _refuse_few(method: str, least: int, rarer: int) -> None:
    if method != "auto":
        raise NotEnoughData(
            f"calibration: {method} needs {least} rows of each class among the validation rows, and the rarer has "
            f"{rarer}; hold out more, or take calibration: auto"
        )


def _out_of_fold(fit: _Fit, scores: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Every row's probability by a map that was fitted on the other spans."""
    span, found = _spans(y == 1), np.empty(len(y))
    for number in range(_SPANS):
        rest, part = span != number, span == number
        found[part] = fit(scores[rest], y[rest], weight[rest]).apply(scores[part])
    return found


def _spans(positive: np.ndarray) -> np.ndarray:
    """The span of every row, shape (n,): runs of neighbours, each with a fifth of the rarer class.

    Rows come in order of time. Were they dealt at random, a map would have seen how many positives there were in the
    very hours of the rows that it is judged by, which no map does that is served.
    """
    rarer = positive if positive.sum() * 2 <= len(positive) else ~positive
    span = _fifths(rarer)
    if np.bincount(span[~rarer], minlength=_SPANS).max() == (~rarer).sum():  # rows in order of their class
        span[~rarer] = _fifths(np.ones((~rarer).sum(), dtype=bool))
    return span


def _fifths(counted: np.ndarray) -> np.ndarray:
    """In which fifth of the `counted` rows each row lies, from 0, shape (n,); others lie with the one before them."""
    before: np.ndarray = np.maximum(np.cumsum(counted) - 1, 0)
    return before * _SPANS // int(counted.sum())


def _surely_gains(gain: np.ndarray, weight: np.ndarray) -> bool:
    """Whether the weighted mean of the rows' gains lies above 0, with 95 % certainty."""
    mean = float(np.average(gain, weights=weight))
    error = float(np.sqrt(np.sum(np.square(weight * (gain - mean))))) / float(weight.sum())
    return mean > _SURE * error
