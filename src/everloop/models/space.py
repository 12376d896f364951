"""Search spaces of our own: what a hyperparameter may be, what it is called elsewhere, and where to look for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from everloop.errors import ConfigurationError

__all__ = ["Choice", "Distribution", "Float", "Hyperparameter", "Int", "Native", "Value"]

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
class Native:
    """A name that another tool has for the same thing, with values of its own.

    meanings: its value and ours, pair by pair: LightGBM's `is_unbalance: true` is `balanced`.
    """

    name: str
    meanings: tuple[tuple[object, Value], ...]

    def means(self, value: object) -> Value | None:
        """Our value for `value`; None where it has none."""
        return next((ours for theirs, ours in self.meanings if type(theirs) is type(value) and theirs == value), None)

    def mistake(self, ours: str) -> str:
        """The end of a sentence about a value that means nothing here; ours: the canonical name."""
        allowed = ", ".join(_yaml(theirs) for theirs, _ in self.meanings)
        return f"is not one of {allowed}; {ours} says it in other ways"


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """One setting of a learner.

    name: the canonical name, the one that specs, leaderboards and diffs use.
    search: where the search looks; the space of a spec is wider, from `minimum` to `maximum`.
    default: the value where nothing is said.
    aliases: names that other tools have for the same thing. natives: those whose values are said otherwise there.
    words: what may be said beside a number, such as `balanced`.
    searched: whether a search tries values of it; else it has its default unless a spec says another.
    suits: metric → where a search for it begins, in place of the default.
    ample: its value in a second start, of a model with room for much more than the default's; None adds none.
    Raises ConfigurationError where the default is none of the values it may have.
    """

    name: str
    search: Distribution
    default: Value
    minimum: float = 0.0
    maximum: float = _INFINITE
    aliases: tuple[str, ...] = ()
    natives: tuple[Native, ...] = ()
    words: tuple[str, ...] = ()
    searched: bool = True
    suits: Mapping[str, Value] = field(default_factory=dict)
    ample: Value | None = None

    def __post_init__(self) -> None:
        """A table that is wrong is told where it is written."""
        wrong = self.mistake(self.default)
        if wrong is None and self.searched and self.default in self.words:
            wrong = "is a word, and a search begins at a number"
        if wrong is not None:
            raise ConfigurationError([f"hyperparameter {self.name}: its default {self.default!r} {wrong}"])
        low, high = self._searched_span()
        if not self.minimum <= low <= high <= self.maximum:
            raise ConfigurationError(
                [
                    f"hyperparameter {self.name}: a search looks from {low:g} to {high:g}, which does not lie within "
                    f"{self.minimum:g} to {self.maximum:g}"
                ]
            )

    def _searched_span(self) -> tuple[float, float]:
        if isinstance(self.search, Choice):
            return self.minimum, self.minimum
        return self.search.low, self.search.high

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it may be said by, the canonical one first."""
        return (self.name, *self.aliases, *(native.name for native in self.natives))

    def said(self, name: str, value: object) -> tuple[object, str | None]:
        """What `value` under `name` is here, and what is wrong with it, as the end of a sentence."""
        for native in self.natives:
            if native.name == name:
                ours = native.means(value)
                return (ours, None) if ours is not None else (value, native.mistake(self.name))
        return value, self.mistake(value)

    def mistake(self, value: object) -> str | None:
        """What is wrong with `value`, as the end of a sentence; None where it is fine."""
        if isinstance(self.search, Choice):
            if value in self.search.options:
                return None
            return f"is not one of {', '.join(map(str, self.search.options))}"
        if isinstance(value, str) and value in self.words:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return " nor ".join(["is not a number", *self.words])
        if isinstance(self.search, Int) and value != int(value):
            return "is not a whole number"
        if not self.minimum <= value <= self.maximum:
            return f"is not from {self.minimum:g} to {self.maximum:g}"
        return None

    def begins(self, metric: str) -> Value:
        """Where a search for `metric` begins."""
        return self.clean(self.suits.get(metric, self.default))

    def clean(self, value: Value) -> Value:
        """`value` in the one form that is hashed: 100.0 trees are 100 trees, a rate of 1 is 1.0."""
        if isinstance(value, str) and value in self.words:
            return value
        if isinstance(self.search, Int):
            return int(value)
        if isinstance(self.search, Float):
            return float(value)
        return value
