"""The conditions a model must meet to be registered or exposed, one sentence each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from everloop.project.condition import BOUND, METRIC, OPERATOR, Condition, Operator, format_bound, parse_bound
from everloop.project.metrics import did_you_mean
from everloop.project.shares import format_share

__all__ = ["BeatsGate", "Gate", "MetricGate", "NotWorseGate", "parse_gate"]

_TAIL: Final = r"(?:\s+for\s+each\s+(?P<segment>\S.*))?"
_METRIC_GATE: Final = re.compile(
    rf"(?P<metric>{METRIC})\s*(?P<op>{OPERATOR})\s*(?P<bound>{BOUND})(?:\s+at\s+(?P<level>\d+(?:\.\d+)?)\s*%)?{_TAIL}"
)
_NOT_WORSE: Final = re.compile(rf"not worse than champion by\s+(?P<margin>{BOUND}){_TAIL}")
_BEATS: Final = re.compile(r"beats\s+(?P<reference>\w+)")
_EXAMPLES: Final = (
    "such as 'recall >= 0.75', 'recall >= 0.75 at 95%', 'beats yardstick', "
    "'not worse than champion by 0.01', 'recall >= 0.60 for each country'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricGate:
    """A metric against a bound, in every `segment` if one is given.

    at_level: None asks the point estimate, 0.95 the nearer end of the 95 % interval.
    """

    metric: str
    op: Operator
    bound: float
    at_level: float | None = None
    segment: str | None = None

    @property
    def condition(self) -> Condition:
        """The bare condition."""
        return Condition(metric=self.metric, op=self.op, bound=self.bound)

    def __str__(self) -> str:
        level = "" if self.at_level is None else f" at {format_share(self.at_level)}"
        return f"{self.condition}{level}{_each(self.segment)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatsGate:
    """Better at the objective than the yardsticks, or than the champion."""

    reference: Literal["yardstick", "champion"]

    def __str__(self) -> str:
        return f"beats {self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotWorseGate:
    """At the objective at most `margin` worse than the champion, per `segment` if given."""

    margin: float
    segment: str | None = None

    def __str__(self) -> str:
        return f"not worse than champion by {format_bound(self.margin)}{_each(self.segment)}"


Gate: TypeAlias = MetricGate | BeatsGate | NotWorseGate


def _each(segment: str | None) -> str:
    return "" if segment is None else f" for each {segment}"


def parse_gate(text: object) -> Gate:
    """Read one sentence. Raises ValueError that names the likely word or shows examples."""
    if isinstance(text, MetricGate | BeatsGate | NotWorseGate):
        return text
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a gate, {_EXAMPLES}")
    words = " ".join(text.split())
    if match := _BEATS.fullmatch(words):
        return _beats(match["reference"], words)
    if match := _NOT_WORSE.fullmatch(words):
        return NotWorseGate(margin=_margin(match["margin"], words), segment=match["segment"])
    if match := _METRIC_GATE.fullmatch(words):
        condition = Condition.of(match["metric"], match["op"], match["bound"])
        return MetricGate(
            metric=condition.metric,
            op=condition.op,
            bound=condition.bound,
            at_level=None if match["level"] is None else _level(match["level"], words),
            segment=match["segment"],
        )
    raise ValueError(f"{text!r} is not a gate, {_EXAMPLES}")


def _beats(reference: str, sentence: str) -> BeatsGate:
    allowed = ("yardstick", "champion")
    if reference not in allowed:
        hint = did_you_mean(reference, allowed)
        raise ValueError(f"{sentence!r} compares with {reference!r} (yardstick or champion){hint}")
    return BeatsGate(reference=cast(Literal["yardstick", "champion"], reference))


def _margin(word: str, sentence: str) -> float:
    margin = parse_bound(word)
    if margin < 0:
        raise ValueError(f"{sentence!r} has a margin below 0; to ask for more than the champion write 'beats champion'")
    return margin


def _level(word: str, sentence: str) -> float:
    level = parse_bound(word + "%")
    if not 0.5 <= level < 1:
        raise ValueError(f"{sentence!r} has the level {word}% (50% ≤ level < 100%)")
    return level
