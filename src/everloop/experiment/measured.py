"""What a comparison of two versions averages, as it stands before the comparison begins: value, variance, bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from everloop.errors import UsageError
from everloop.ledger import Ledger
from everloop.project import MetricGate, Model, Objective, did_you_mean
from everloop.tasks import get_task
from everloop.tasks.loss import CERTAINTY
from everloop.tasks.metrics import DEFAULT_COSTS

__all__ = ["TARGET_RATE", "Known", "Measured", "known_metrics", "measured"]

TARGET_RATE: Final = "target_rate"
"""The share of positive rows itself: what an answer may change, such as how many buy."""

Counted = Literal["rows", "positives", "flagged rows"]
_OF_POSITIVES: Final = ("recall", "average_precision", "roc_auc")
_MEANS: Final = (*_OF_POSITIVES, "precision", "accuracy", "cost", "log_loss", "brier")
_UNKNOWN: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Metrics that were measured: name → value, and on what, as a clause for people."""

    values: Mapping[str, float]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A mean over rows: what two versions would be compared by.

    value: today's, in the metric's own unit, as are `lowest` and `highest`, what one row may be.
    counted: which rows it is a mean over; part: how many of all rows those are, in (0, 1].
    variance: of one row; `at_most` says that it is the largest that value and bounds allow.
    is_rate: whether a row is either lowest or highest. origin: where the value is from, a clause for people.
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

    @property
    def range(self) -> float:
        """highest − lowest."""
        return self.highest - self.lowest

    @property
    def room(self) -> float:
        """How much better it could be."""
        return self.highest - self.value if self.maximise else self.value - self.lowest

    @property
    def gain_unit(self) -> float:
        """What a rollout's gain of 1 is in the metric's unit: 1 of a share of positives, else today's whole loss."""
        if self.counted != "rows":
            return 1.0
        return self.highest - self.value if self.metric == "accuracy" else self.value

    def better_by(self, gain: float) -> float:
        """The value of a version that is better by `gain`, in the metric's unit."""
        return self.value + gain if self.maximise else self.value - gain

    def scaled(self, value: float) -> float:
        """`value` on the scale on which a row lies in [0, 1]."""
        return min(max((value - self.lowest) / self.range, 0.0), 1.0)

    def variance_at(self, value: float) -> float:
        """The variance of a row where the mean is `value`; never more than the bounds allow."""
        most = max((value - self.lowest) * (self.highest - value), 0.0)
        return most if self.is_rate or self.at_most else min(self.variance, most)


def known_metrics(model: Model, ledger: Ledger | None) -> Known | None:
    """What the champion did on its test rows; without one what the newest spec expects; None without either."""
    routing = None if ledger is None else ledger.routing(model.name)
    if ledger is not None and routing is not None and routing.champion is not None:
        version = ledger.version(model.name, routing.champion)
        values = _points(version.metrics)
        if values:
            return Known(values=values, origin=f"v{version.number} on its test rows")
    for spec in reversed(model.specs()):
        values = _points(spec.expected)
        if values:
            return Known(values=values, origin=f"{spec.name} expects it")
    return None


def _points(metrics: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    points = {name: value.get("point") for name, value in metrics.items()}
    return {name: float(point) for name, point in points.items() if point is not None}


def measured(model: Model, metric: str, *, rate: float, known: Known | None) -> Measured:
    """The metric before the comparison. rate: of positives in the data, in (0, 1).

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
    return _over_rows(model.objective, metric, rate=rate, known=known)


def _refuse_unknown(model: Model, metric: str) -> None:
    known = get_task(model.task).metrics
    names = [*(name for name in known if name in _MEANS), TARGET_RATE]
    if metric in names:
        return
    if metric in known:
        raise UsageError(f"{metric} is no mean over rows that can be planned for; say --metric {' | '.join(names)}")
    hint = did_you_mean(metric, names) or f"; plan for one of {', '.join(names)}"
    raise UsageError(f"{metric!r} is not a metric of {model.task}{hint}")


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
