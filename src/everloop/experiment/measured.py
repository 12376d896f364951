"""What a comparison of two versions averages, as it stands before the comparison begins: value, variance, bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from everloop.bundle import BundleStore
from everloop.errors import UsageError
from everloop.ledger import Ledger
from everloop.project import MetricGate, Model, Objective, did_you_mean
from everloop.tasks import error_bound, get_task, numeric_losses
from everloop.tasks.loss import CERTAINTY
from everloop.tasks.metrics import DEFAULT_COSTS
from everloop.tasks.task import Array

__all__ = ["TARGET_RATE", "Known", "Measured", "known_metrics", "measured"]

TARGET_RATE: Final = "target_rate"
"""The share of positive rows itself: what an answer may change, such as how many buy."""

Counted = Literal["rows", "positives", "flagged rows"]
_OF_POSITIVES: Final = ("recall", "average_precision", "roc_auc")
_OF_ERRORS: Final = ("mae", "mape", "rmse")
_MEANS: Final = (*_OF_POSITIVES, "precision", "accuracy", "cost", "log_loss", "brier", *_OF_ERRORS)
_UNKNOWN: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Metrics that were measured: name → value, and on what, as a clause for people.

    error_bound: where a rollout cuts errors, in the target's unit; of a regression that has a champion alone.
    """

    values: Mapping[str, float]
    origin: str
    error_bound: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A mean over rows: what two versions would be compared by.

    value: today's, in the metric's own unit, as are `lowest` and `highest`, what one row may be.
    counted: which rows it is a mean over; part: how many of all rows those are, in (0, 1].
    variance: of one row; `at_most` says that it is the largest that value and bounds allow.
    is_rate: whether a row is either lowest or highest. origin: where the value is from, a clause for people.
    squared: whether it is the root of a mean of squares, as rmse; then `variance` is of a row's square.
    """

    metric: str
    value: float
    maximise: bool
    counted: Counted
    part: float
    variance: float
    origin: str
    lowest: float = 0.0
    highest: float = 1.0
    is_rate: bool = False
    at_most: bool = False
    squared: bool = False

    @property
    def pairs(self) -> bool:
        """Whether two versions have it on the same rows, whoever's answer was given."""
        return self.metric not in (TARGET_RATE, "precision")

    @property
    def range(self) -> float:
        """highest − lowest."""
        return self.highest - self.lowest

    @property
    def room(self) -> float:
        """How much better it could be."""
        return self.highest - self.value if self.maximise else self.value - self.lowest

    def gain_of(self, part: float) -> float:
        """A rollout's gain of `part`, below 1, in the metric's unit: of what is over all rows a part of its loss."""
        if self.counted != "rows":
            return part
        return self.room * (1 - math.sqrt(1 - part) if self.squared else part)

    def better_by(self, gain: float) -> float:
        """The value of a version that is better by `gain`, in the metric's unit."""
        return self.value + gain if self.maximise else self.value - gain

    def scaled(self, value: float) -> float:
        """The mean of rows that each lie in [0, 1], where the metric is `value`."""
        return min(max((value - self.lowest) / self.range, 0.0), 1.0) ** self._power

    def variance_at(self, value: float) -> float:
        """The variance of a row in [0, 1] where the metric is `value`; never more than the bounds allow."""
        mean = self.scaled(value)
        most = mean * (1 - mean)
        return most if self.is_rate or self.at_most else min(self.variance / self.range ** (2 * self._power), most)

    @property
    def _power(self) -> int:
        return 2 if self.squared else 1


def known_metrics(model: Model, ledger: Ledger | None, *, bundles: BundleStore | None = None) -> Known | None:
    """What the champion did on its test rows; without one what the newest spec expects; None without either.

    bundles: where the champion says how far errors count, which a regression's rollout compares by.
    """
    routing = None if ledger is None else ledger.routing(model.name)
    if ledger is not None and routing is not None and routing.champion is not None:
        version = ledger.version(model.name, routing.champion)
        values = _points(version.metrics)
        if values:
            bound = None if bundles is None else bundles.manifest(version.bundle).error_bound
            cut = bound if isinstance(bound, float) else None
            return Known(values=values, origin=f"v{version.number} on its test rows", error_bound=cut)
    for spec in reversed(model.specs()):
        values = _points(spec.expected)
        if values:
            return Known(values=values, origin=f"{spec.name} expects it")
    return None


def _points(metrics: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    points = {name: value.get("point") for name, value in metrics.items()}
    return {name: float(point) for name, point in points.items() if point is not None}


def measured(model: Model, metric: str, *, rate: float, known: Known | None, outcomes: Array | None = None) -> Measured:
    """The metric before the comparison.

    rate: of positives in the data, in (0, 1). outcomes: a regression's, shape (n,).
    Without `known`, what is a mean over all rows is taken as a constant has it on the data; a share of positives or of
    flagged rows as the model's gate asks it, else 0.5, where a share varies most.
    Raises UsageError for a metric that the task does not have, or that is no mean over rows.
    """
    _refuse_unknown(model, metric)
    if metric == TARGET_RATE:
        variance = rate * (1 - rate)
        return Measured(metric=metric, value=rate, maximise=True, counted="rows", part=1.0, variance=variance,
                        origin="the data", is_rate=True)  # fmt: skip
    if metric in (*_OF_POSITIVES, "precision"):
        return _share(model, metric, rate=rate, known=known)
    if metric in _OF_ERRORS:
        assert outcomes is not None
        return _of_errors(metric, outcomes, known=known)
    return _over_rows(model.objective, metric, rate=rate, known=known)


def _refuse_unknown(model: Model, metric: str) -> None:
    task = get_task(model.task)
    means = [name for name in task.metrics if name in _MEANS]
    names = [*means, TARGET_RATE] if task.decides else means
    if metric in names:
        return
    if metric in task.metrics:
        raise UsageError(f"{metric} is no mean over rows that can be planned for; say --metric {' | '.join(names)}")
    if metric == TARGET_RATE:
        raise UsageError(
            f"{metric} is the share of positives, and a {task.name} has none; say --metric {' | '.join(names)}"
        )
    hint = did_you_mean(metric, names) or f"; plan for one of {', '.join(names)}"
    raise UsageError(f"{metric!r} is not a metric of {model.task}{hint}")


def _of_errors(metric: str, outcomes: Array, *, known: Known | None) -> Measured:
    """A mean of errors as a rollout compares them, cut at the champion's bound; of mape at 1.

    What was measured was not cut, and is taken as it is where it lies below the bound.
    """
    cut = None if known is None else known.error_bound
    bound = error_bound(outcomes) if cut is None else cut
    losses = numeric_losses(outcomes, np.median(outcomes), objective=Objective(metric=metric), bound=bound)
    told = losses[np.isfinite(losses)]
    power, highest = 2 if metric == "rmse" else 1, 1.0 if metric == "mape" else bound
    value, variance = float(told.mean()) ** (1 / power) * highest, float(told.var()) * highest ** (2 * power)
    constant, at_most = f"a constant has it on this data, cut at {highest:.3g}", False
    origin = f"no spec says it yet; {constant}"
    said = None if known is None else known.values.get(metric)
    if known is not None and said is not None and said < highest:
        value, origin = said, known.origin
        mean = (value / highest) ** power
        root = known.values.get("rmse") if metric == "mae" else None
        at_most = root is None
        variance = mean * (1 - mean) * highest ** (2 * power) if root is None else max(root**2 - value**2, 0.0)
    elif known is not None and said is not None:
        origin = f"{known.origin}, and {said:.3g} is more than a rollout counts; {constant}"
    return Measured(
        metric=metric,
        value=value,
        maximise=False,
        counted="rows",
        part=told.size / outcomes.size,
        variance=variance,
        origin=origin,
        highest=highest,
        at_most=at_most,
        squared=metric == "rmse",
    )


def _share(model: Model, metric: str, *, rate: float, known: Known | None) -> Measured:
    """A share of positives or of flagged rows; a ranking metric is the mean of one in [0, 1] per positive."""
    value, origin = _asked(model, metric)
    if known is not None and metric in known.values:
        value, origin = known.values[metric], known.origin
    flagged = metric == "precision"
    return Measured(
        metric=metric,
        value=value,
        maximise=True,
        counted="flagged rows" if flagged else "positives",
        part=_flagged(rate, known) if flagged else rate,
        variance=value * (1 - value),
        origin=origin,
        is_rate=metric in ("recall", "precision"),
        at_most=metric not in ("recall", "precision"),
    )


def _asked(model: Model, metric: str) -> tuple[float, str]:
    for gate in model.gates:
        if isinstance(gate, MetricGate) and gate.metric == metric and gate.segment is None:
            return gate.bound, f"no spec says it yet; the gate '{gate}' asks for it"
    constraint = model.objective.constraint
    if constraint is not None and constraint.metric == metric:
        return constraint.bound, f"no spec says it yet; the objective asks for {constraint}"
    return _UNKNOWN, "no spec says it yet; where a share varies most"


def _flagged(rate: float, known: Known | None) -> float:
    """The share of rows that is flagged; as many as are positive where nobody knows."""
    cells = None if known is None else _cells(rate, known)
    return rate if cells is None else max(cells["tp"] + cells["fp"], 1e-12)


def _cells(rate: float, known: Known) -> dict[str, float] | None:
    """The shares of tp, fp, fn and tn that recall and precision leave of these rows; None where those are not known."""
    recall, precision = known.values.get("recall"), known.values.get("precision")
    if recall is None or not precision:
        return None
    caught = rate * recall
    wrong = min(caught * (1 / precision - 1), 1 - rate)
    return {"tp": caught, "fp": wrong, "fn": rate - caught, "tn": 1 - rate - wrong}


def _over_rows(objective: Objective, metric: str, *, rate: float, known: Known | None) -> Measured:
    prices = {**dict.fromkeys(("tp", "fp", "fn", "tn"), 0.0), **(objective.costs or DEFAULT_COSTS)}
    lowest, highest = {
        "cost": (min(prices.values()), max(prices.values())),
        "log_loss": (0.0, -math.log(CERTAINTY)),
    }.get(metric, (0.0, 1.0))
    value = None if known is None else known.values.get(metric)
    if known is None or value is None:
        value, variance = _constant(metric, rate, prices)
        origin, at_most = "no spec says it yet; a constant has it on this data", False
    else:
        origin, cells = known.origin, _cells(rate, known)
        at_most = metric != "accuracy" and (metric != "cost" or cells is None)
        variance = (value - lowest) * (highest - value)
        if metric == "cost" and cells is not None:
            mean = sum(cells[kind] * prices[kind] for kind in cells)
            variance = sum(cells[kind] * prices[kind] ** 2 for kind in cells) - mean**2
    return Measured(
        metric=metric,
        value=value,
        maximise=metric == "accuracy",
        counted="rows",
        part=1.0,
        variance=max(variance, 0.0),
        origin=origin,
        lowest=lowest,
        highest=highest,
        is_rate=metric == "accuracy",
        at_most=at_most,
    )


def _constant(metric: str, rate: float, prices: Mapping[str, float]) -> tuple[float, float]:
    """Mean and variance of what a constant gets per row, which is one of two values: a positive's or a negative's."""
    flags = {"tp": (prices["tp"], prices["fp"]), "fn": (prices["fn"], prices["tn"])}
    cheapest = min(flags.values(), key=lambda pair: rate * pair[0] + (1 - rate) * pair[1])
    positive, negative = {
        "accuracy": (1.0, 0.0) if rate > 0.5 else (0.0, 1.0),
        "cost": cheapest,
        "log_loss": (-math.log(rate), -math.log(1 - rate)),
        "brier": ((1 - rate) ** 2, rate**2),
    }[metric]
    return rate * positive + (1 - rate) * negative, rate * (1 - rate) * (positive - negative) ** 2
