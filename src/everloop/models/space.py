"""Search spaces of our own: what a hyperparameter may be, what it is called elsewhere, and where to look for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["Choice", "Distribution", "Float", "Hyperparameter", "Int", "Value"]

Value = float | int | str | bool
"""What a hyperparameter's value may be; every one is JSON."""


@dataclass(frozen=True, slots=True)
class Float:
    """Real numbers from `low` to `high`, both included; `log` looks at their logarithms."""

    low: float
    high: float
    log: bool = False

    def holds(self, value: Value) -> bool:
        """Whether the search may try `value`."""
        return not isinstance(value, str | bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Int:
    """Whole numbers from `low` to `high`, both included; `log` looks at their logarithms."""

    low: int
    high: int
    log: bool = False

    def holds(self, value: Value) -> bool:
        """Whether the search may try `value`."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`, which have no order."""

    options: tuple[Value, ...]

    def holds(self, value: Value) -> bool:
        """Whether the search may try `value`."""
        return value in self.options


Distribution = Float | Int | Choice
"""Where a search looks."""

_INFINITE: Final = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """One setting of a learner.

    name: the canonical name, the one that specs, leaderboards and diffs use.
    search: where the search looks; the space of a spec is wider, from `minimum` to `maximum`.
    default: the value where nothing is said.
    aliases: names that other tools have for the same thing.
    """

    name: str
    search: Distribution
    default: Value
    minimum: float = 0.0
    maximum: float = _INFINITE
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Our own tables must be right."""
        assert self.mistake(self.default) is None, (self.name, self.default)

    def mistake(self, value: object) -> str | None:
        """What is wrong with `value`, as the end of a sentence; None where it is fine."""
        if isinstance(self.search, Choice):
            if value in self.search.options:
                return None
            return f"is not one of {', '.join(map(str, self.search.options))}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return "is not a number"
        if isinstance(self.search, Int) and value != int(value):
            return "is not a whole number"
        if not self.minimum <= value <= self.maximum:
            return f"is not from {self.minimum:g} to {self.maximum:g}"
        return None

    def clean(self, value: Value) -> Value:
        """`value` in the one form that is hashed: 100.0 trees are 100 trees, a rate of 1 is 1.0."""
        if isinstance(self.search, Int):
            return int(value)
        if isinstance(self.search, Float):
            return float(value)
        return value
