"""What the change costs: the objective then and as promised, and what is missed a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np

from everloop.data import EVENT_TIME, SCORE
from everloop.errors import NotEnoughData
from everloop.improvement.compared import Compared
from everloop.project import Objective
from everloop.stats import Interval, jsonable
from everloop.tasks import Evaluation

__all__ = ["Cost", "cost_since", "per_day"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """metric: what the objective names. now: since the change, with its interval; expected: what the version promised.

    missed, missed_before: positives missed, or rows that a regression is far off on, per day since the change and
    before it. money, money_before: per day, for an objective of costs, else None.
    """

    sentence: str
    metric: str
    now: Interval | None
    expected: float | None
    missed: float
    missed_before: float
    missed_total: int
    money: float | None = None
    money_before: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        found: dict[str, Any] = jsonable({item.name: getattr(self, item.name) for item in fields(self)})  # type: ignore[assignment]
        return found


def cost_since(
    compared: Compared,
    *,
    objective: Objective,
    threshold: float | None,
    since: datetime,
    fresh_from: datetime,
    promised: Mapping[str, Mapping[str, Any]],
    subject: str,
) -> Cost:
    """What is lost since `since`. promised: a version's metrics; before it, days from `fresh_from` on count."""
    after = compared.since(since)
    before = compared.since(fresh_from) & ~after
    metric = objective.metric
    now = _interval(compared, after, metric, threshold, objective)
    estimate = promised.get(metric)
    expected = None if estimate is None else estimate.get("point")
    if expected is None and (earlier := _interval(compared, before, metric, threshold, objective)) is not None:
        expected = earlier.point
    missed, missed_before = (per_day(compared, compared.missed, part) for part in (after, before))
    total = int((compared.missed & after).sum())
    money = money_before = None
    if objective.costs is not None:
        price = _price(compared, objective.costs)
        money, money_before = (per_day(compared, price, part) for part in (after, before))
    told = f"{missed:.1f} {subject}s a day are missed, {missed_before:.1f} before; {total} since {since:%Y-%m-%d}"
    if now is not None and expected is not None:
        told = f"{metric} is {now:.2f}, {expected:.2f} was expected; {told}"
    if money is not None and money_before is not None:
        told += f"; errors cost {money:,.0f} a day, {money_before:,.0f} before"
    return Cost(
        sentence=told,
        metric=metric,
        now=now,
        expected=expected,
        missed=missed,
        missed_before=missed_before,
        missed_total=total,
        money=money,
        money_before=money_before,
    )


def _interval(
    compared: Compared, part: np.ndarray, metric: str, threshold: float | None, objective: Objective
) -> Interval | None:
    if not part.any():
        return None
    evaluation = Evaluation(
        y=compared.positive[part],
        score=compared.frame[SCORE].to_numpy()[part],
        weight=compared.weight[part],
        threshold=threshold,
        costs=objective.costs,
    )
    try:
        return evaluation.interval(metric)
    except NotEnoughData:
        return None


def per_day(compared: Compared, mass: np.ndarray, part: np.ndarray) -> float:
    """The sum over the rows of a part, by the days they span."""
    if not part.any():
        return 0.0
    times = compared.frame.filter(part)[EVENT_TIME]
    first: datetime = times[0]
    last: datetime = times[-1]
    days = max(1 / 24, (last - first).total_seconds() / 86_400)
    total = float(np.sum(np.asarray(mass, np.float64), where=part))
    return total / days


def _price(compared: Compared, costs: Mapping[str, float]) -> np.ndarray:
    """What each row's answer costs, by how many rows it stands for."""
    positive, flagged = compared.positive, compared.flagged
    kinds = {"tp": positive & flagged, "fp": ~positive & flagged, "fn": positive & ~flagged, "tn": ~positive & ~flagged}
    price = np.zeros(len(positive))
    for kind, rows in kinds.items():
        price[rows] = costs.get(kind, 0.0)
    price *= compared.weight
    return price
