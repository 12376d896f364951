"""`METRIC OP BOUND`, the core of objectives and gates."""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple, cast

from everloop.project.metrics import metric_name

__all__ = ["BOUND", "METRIC", "OPERATOR", "Condition", "Operator", "format_bound", "parse_bound"]

Operator = Literal[">=", "<=", ">", "<"]

METRIC: Final = r"[A-Za-z][A-Za-z0-9_]*(?:@\d+)?"
OPERATOR: Final = r">=|<=|>|<|≥|≤"
BOUND: Final = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?\s*%?"

_LARGEST_MAPE: Final = 2.0  # above it a percentage was meant
_ASCII: Final = {"≥": ">=", "≤": "<="}


class Condition(NamedTuple):
    """A metric on one side of a bound."""

    metric: str
    op: Operator
    bound: float

    @classmethod
    def of(cls, metric: str, op: str, bound: str) -> Condition:
        """From the three words of a sentence. Raises ValueError for a metric, or a bound of it, that cannot be."""
        number = parse_bound(bound)
        if metric_name(metric).is_share and not 0 <= number <= 1:
            likely = f"; did you mean {number:g}%?" if 1 < number <= 100 and "%" not in bound else ""
            raise ValueError(f"{metric} lies from 0 to 1 and is never {op} {bound.strip()}{likely}")
        if metric == "mape" and number > _LARGEST_MAPE and "%" not in bound:
            raise ValueError(
                f"mape is a share of the outcome, and {number:g} is {number:.0%}; did you mean {number:g}%?"
            )
        return cls(metric=metric, op=cast(Operator, _ASCII.get(op, op)), bound=number)

    def holds(self, value: float) -> bool:
        """Whether `value` is on the right side; not-a-number never is."""
        if math.isnan(value):
            return False
        match self.op:
            case ">=":
                return value >= self.bound
            case "<=":
                return value <= self.bound
            case ">":
                return value > self.bound
            case _:
                return value < self.bound

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {format_bound(self.bound)}"


def parse_bound(text: str) -> float:
    """A number, or a percentage as a fraction."""
    word = text.strip()
    return round(float(word[:-1]) / 100, 12) if word.endswith("%") else float(word)


def format_bound(bound: float) -> str:
    """Two decimals where they say it all, else every digit."""
    short = f"{bound:.2f}"
    return short if float(short) == bound else repr(bound)
