"""What "best" means, as the business says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from everloop.project.condition import BOUND, METRIC, OPERATOR, Condition
from everloop.project.metrics import metric_name

__all__ = ["Objective"]

_AT: Final = re.compile(rf"({METRIC})\s+at\s+({METRIC})\s*({OPERATOR})\s*({BOUND})")
_COST: Final = re.compile(r"cost\s*\((.*)\)")
_COST_ITEM: Final = re.compile(r"(fn|fp|tp|tn)\s*=\s*(-?\d+(?:\.\d+)?)")
_EXAMPLES: Final = "such as 'recall at precision >= 0.80', 'cost(fn=100, fp=1)' or 'average_precision'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A metric, alone, under a constraint on another one, or a cost per kind of answer.

    costs: the price of a false negative (`fn`), false positive (`fp`), and so on; only for `cost(...)`.
    """

    metric: str
    constraint: Condition | None = None
    costs: Mapping[str, float] | None = None

    @classmethod
    def parse(cls, text: object) -> Objective:
        """Read the sentence. Raises ValueError that names the likely word or shows an example."""
        if isinstance(text, Objective):
            return text
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is not an objective, {_EXAMPLES}")
        words = " ".join(text.split())
        if match := _AT.fullmatch(words):
            metric_name(match[1])
            return cls(metric=match[1], constraint=Condition.of(match[2], match[3], match[4]))
        if match := _COST.fullmatch(words):
            return cls(metric="cost", costs=_costs(match[1], words))
        if re.fullmatch(METRIC, words) and words != "cost":
            metric_name(words)
            return cls(metric=words)
        raise ValueError(f"{text!r} is not an objective, {_EXAMPLES}")

    @property
    def maximise(self) -> bool:
        """Whether more of the metric is better."""
        return metric_name(self.metric).maximise

    def __str__(self) -> str:
        if self.costs is not None:
            return "cost(" + ", ".join(f"{kind}={price:.12g}" for kind, price in self.costs.items()) + ")"
        return self.metric if self.constraint is None else f"{self.metric} at {self.constraint}"


def _costs(inside: str, sentence: str) -> Mapping[str, float]:
    costs: dict[str, float] = {}
    for part in inside.split(","):
        match = _COST_ITEM.fullmatch(part.strip())
        if match is None or match[1] in costs:
            raise ValueError(
                f"{sentence!r} is not a cost: prices once each for fn, fp, tp, tn, as in cost(fn=100, fp=1)"
            )
        costs[match[1]] = float(match[2])
    if not ({"fn", "fp"} <= costs.keys() and costs["fn"] > 0 and costs["fp"] > 0):
        raise ValueError(f"{sentence!r} needs a price above 0 for fn and for fp, as in cost(fn=100, fp=1)")
    return costs
