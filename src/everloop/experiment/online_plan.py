"""What an experiment online would take, as one record: for the screen, for JSON, for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from everloop.experiment.measured import Measured
from everloop.experiment.volume import Volume

__all__ = ["Asked", "Course", "Effect", "Need", "OnlinePlan", "Point", "cells", "lasting", "percent", "plain"]

_UNITS: Final = (("years", 730, 365.0), ("days", 2, 1.0), ("hours", 0, 1 / 24))
"""A unit's name, from how many days on it is used, and its length in days."""
_LONGEST: Final = 365_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The smallest difference worth seeing, in the metric's unit and as a part of its value, if that is not 0."""

    absolute: float
    relative: float | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of the experiment. share: of users that see the challenger; days: until the answer, delay included.

    correlation: how alike two versions are in what they get right, row by row.
    """

    share: float
    share_origin: str
    days: float
    delay_days: float
    level: float
    power: float
    correlation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an answer takes. challenger, champion: counted rows of each side, the same ones in a paired comparison.

    rows: of traffic in all; days: until they have come and their outcomes are known.
    """

    challenger: int
    champion: int
    rows: int
    days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One way to compare. once: judged at its end; half, most: looked at whenever, as so many of them have ended.

    half and most are None where no traffic would ever be enough. sentence: for people.
    """

    kind: Literal["arms", "paired"]
    once: Need
    half: Need | None
    most: Need | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The days that the arms need at a share."""

    share: float
    once: float
    half: float | None
    most: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlinePlan:
    """Whether an experiment online is ready, and what it would take.

    arms: the share of users sees the challenger's answers, the others the champion's. paired: both versions score every
    row, as everloop's rollouts compare; None where whose answer was given changes the metric, and of precision, which
    each version has on rows of its own.
    enough: whether the share answers in time, judged once at the end.
    share_needed: the smallest that does, None where none does. effect_seen, effect_seen_half, effect_seen_paired: the
    smallest effect that is seen in time with the asked share, with half of the users, and by nine in ten paired
    comparisons; None where none is. sentence: the verdict. notes: what was assumed.
    curve: the arms over shares, ascending. page: where the HTML page was written.
    """

    model: str
    source: str
    baseline: Measured
    effect: Effect
    asked: Asked
    volume: Volume
    arms: Course
    paired: Course | None
    enough: bool
    share_needed: float | None
    effect_seen: float | None
    effect_seen_half: float | None
    effect_seen_paired: float | None
    sentence: str
    notes: tuple[str, ...]
    curve: tuple[Point, ...]
    page: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    @property
    def title(self) -> str:
        """The question, for a heading."""
        return f"{self.model}: is an experiment online ready?"


def cells(need: Need | None) -> tuple[str, str, str, str]:
    """The challenger's rows, the champion's, all of them, and the time, each as short as a column needs it."""
    if need is None:
        return ("–", "–", "–", "never")
    span = lasting(need.days) if need.days < _LONGEST else "> 1,000 years"
    return (_count(need.challenger), _count(need.champion), _count(need.rows), span)


def _count(count: int) -> str:
    """Every digit up to a hundred million, then in millions: a column stays a column."""
    return f"{count:,}" if count < 1e8 else f"{count / 1e6:,.0f} m"


def percent(share: float) -> str:
    """A share to three digits, `12 %`."""
    return f"{100 * share:.3g} %"


def plain(value: float) -> str:
    """A number to three digits, without an exponent where people write none; `0.60` where two decimals say it all."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    short = f"{value:.2f}"
    return short if abs(value) < 1 and math.isclose(float(short), value) else f"{value:.3g}"


def lasting(days: float) -> str:
    """A span as people say it, rounded up: `18 hours`, `12 days`, `11 years`."""
    if days >= _LONGEST:
        return "more than 1,000 years"
    unit, _, size = next(one for one in _UNITS if days >= one[1])
    count = max(math.ceil(days / size - 1e-9), 1)
    return f"{count:,} {unit if count > 1 else unit[:-1]}"
