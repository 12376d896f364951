"""Ready for an experiment online: from baseline and traffic to rows and days, judged once or looked at whenever.

Two ways to compare are planned side by side. *Arms*: a share of users sees the challenger's answers, the others the
champion's; needed where the answer changes what happens. *Paired*: both versions score every row, as in everloop's
rollouts, and a row on which they agree says nothing, so all traffic counts, and what both share cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.data import Rows, load_rows, read_contract
from everloop.errors import UsageError
from everloop.experiment.measured import TARGET_RATE, Known, Measured, known_metrics, measured
from everloop.experiment.online_plan import Asked, Course, Effect, Need, OnlinePlan, Point
from everloop.experiment.online_words import arms_sentence, notes, paired_sentence, verdict
from everloop.experiment.volume import Volume, volume
from everloop.ledger import Ledger
from everloop.project import Model, Project, parse_share
from everloop.stats import (
    Discordance,
    Sides,
    Stopping,
    discordance,
    paired_mean_rows,
    paired_rate_rows,
    stopping_gains,
    stopping_signs,
    stopping_two_means,
    two_means,
    two_rates,
)

__all__ = ["GAIN_ALPHA", "plan_online"]

GAIN_ALPHA: Final = 0.8
"""Of a live comparison's error the part that the gain gets where the objective has a constraint."""
_DEFAULT_EFFECT: Final = 0.02
_DEFAULT_RELATIVE: Final = 0.05
_DEFAULT_SHARE: Final = 0.5
_CURVE: Final = 25
_LOWEST_SHARE: Final = 1e-5


def plan_online(
    project: Project,
    model: Model,
    *,
    ledger: Ledger | None = None,
    clock: Clock | None = None,
    metric: str | None = None,
    effect: str | float | None = None,
    share: str | float | None = None,
    days: float = 30.0,
    level: float = 0.95,
    power: float = 0.8,
    correlation: float = 0.5,
    out: Path | None = None,
) -> OnlinePlan:
    """What a comparison of a challenger with today's model would take, from the model's matured rows.

    metric: the objective's where None; `target_rate` is the share of positives itself.
    effect: in the metric's unit, or `5%` of its value; None takes the rollout's least gain, else 0.02 of a share and
    5 % of anything else. share: of users; None the rollout's first above shadow. days: for the answer, with the delay.
    ledger: knows the champion, whose metrics are the baseline. out: where to write the HTML page; None writes none.

    Raises UsageError for what cannot be asked; what loading rows raises; NotEnoughData where all rows have one time.
    """
    asked = _asked(model, share, days=days, level=level, power=power, correlation=correlation)
    now = (project.clock() if clock is None else clock).now()
    rows = load_rows(model, read_contract(model), as_of=now)
    known = known_metrics(model, ledger, bundles=BundleStore.of(project) if rows.numeric else None)
    plan = _plan(model, rows, known, metric=metric, effect=effect, asked=asked)
    if out is None:
        return plan
    from everloop.experiment.online_page import online_page
    from everloop.pages import write_whole

    plan = replace(plan, page=str(out))
    write_whole(out, online_page(plan))
    return plan


def _asked(
    model: Model, share: str | float | None, *, days: float, level: float, power: float, correlation: float
) -> Asked:
    given, origin = _share(model, share)
    if not 0 < days < math.inf:
        raise UsageError(f"--days {days:g} is no time to wait; say a number above 0")
    if not 0.5 <= level < 1:
        raise UsageError(f"--level {level:g} is not a level (0.5 ≤ level < 1), such as 0.95")
    if not 0.5 <= power < 1:
        raise UsageError(f"--power {power:g} is not a power (0.5 ≤ power < 1), such as 0.8")
    if not 0 <= correlation <= 1:
        raise UsageError(f"--correlation {correlation:g} is not a correlation of two versions (0 ≤ correlation ≤ 1)")
    return Asked(
        share=given,
        share_origin=origin,
        days=days,
        delay_days=model.outcome.delay / timedelta(days=1),
        level=level,
        power=power,
        correlation=correlation,
    )


def _share(model: Model, share: str | float | None) -> tuple[float, str]:
    if share is None:
        steps = [step.share for step in model.rollout.steps if step.kind != "shadow" and step.share < 1]
        return (steps[0], "the rollout's first step") if steps else (_DEFAULT_SHARE, "no step of the rollout says one")
    try:
        given = parse_share(_number(share))
    except ValueError as error:
        raise UsageError(f"--share: {error}") from None
    if given == 1:
        raise UsageError(f"--share {share} leaves nobody with the champion to compare with; say less than 100 %")
    return given, "asked for"


def _number(value: str | float) -> str | float:
    """`0.01` as a number, `1%` as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traffic:
    """Comparisons of one metric on one traffic: rows into days."""

    model: Model
    base: Measured
    volume: Volume
    asked: Asked

    @property
    def alpha(self) -> float:
        return 1 - self.asked.level

    @property
    def design(self) -> float:
        """How many rows say as much as one of a user's own."""
        return self.volume.row_effect if self.base.counted == "rows" else self.volume.positive_effect

    def days(self, counted: float) -> float:
        return counted / (self.volume.rows_per_day * self.base.part) + self.asked.delay_days

    def need(self, sides: Sides, design: float) -> Need:
        counted = sides.rows * design
        return Need(
            challenger=math.ceil(sides.challenger * design),
            champion=math.ceil(sides.champion * design),
            rows=math.ceil(counted / self.base.part),
            days=self.days(counted),
        )

    def gap(self, gain: float) -> float:
        """What one row gains on average where it lies in [0, 1]."""
        base = self.base
        return abs(base.scaled(base.better_by(gain)) - base.scaled(base.value))

    def once(self, gain: float, share: float) -> Need:
        """Arms of the share and the rest, judged at their end."""
        base, better, asked = self.base, self.base.better_by(gain), self.asked
        if base.is_rate:
            one, two = base.scaled(base.value), base.scaled(better)
            sides = two_rates(one, two, share=share, level=asked.level, power=asked.power)
        else:
            sides = two_means(
                self.gap(gain),
                base.variance_at(base.value),
                share=share,
                variance_challenger=base.variance_at(better),
                level=asked.level,
                power=asked.power,
            )
        return self.need(sides, self.design)

    def whenever(self, gain: float, share: float) -> tuple[Need | None, Need | None]:
        """The same arms looked at whenever: by when half and nine in ten have ended."""
        base, better = self.base, self.base.better_by(gain)
        found = stopping_two_means(
            base.scaled(base.value),
            base.scaled(better),
            share=share,
            variance=base.variance_at(base.value),
            variance_challenger=base.variance_at(better),
            alpha=self.alpha,
        )
        half, most = (None if sides is None else self.need(sides, self.design) for sides in found.sides(share))
        return half, most

    def point(self, gain: float, share: float) -> Point:
        half, most = (None if need is None else need.days for need in self.whenever(gain, share))
        return Point(share=share, once=self.once(gain, share).days, half=half, most=most)

    def differ(self, gain: float) -> Discordance:
        """Rows on which exactly one version is right; of losses of other sizes the same mean and mean square."""
        base, better, alike = self.base, self.base.better_by(gain), self.asked.correlation
        if base.is_rate:
            return discordance(base.scaled(base.value), base.scaled(better), correlation=alike)
        gap = self.gap(gain)
        square = min(max(self.gap_variance(gain) + gap**2, gap), 1.0)
        return Discordance(wins=(square + gap) / 2, losses=(square - gap) / 2)

    def gap_variance(self, gain: float) -> float:
        """The variance of one row's difference between the versions, where it lies in [0, 1]."""
        one, two = self.base.variance_at(self.base.value), self.base.variance_at(self.base.better_by(gain))
        return one + two - 2 * self.asked.correlation * math.sqrt(one * two)

    def paired_once(self, gain: float) -> int:
        level, power = self.asked.level, self.asked.power
        if self.base.is_rate:
            return paired_rate_rows(self.differ(gain), level=level, power=power)
        return max(paired_mean_rows(self.gap(gain), self.gap_variance(gain), level=level, power=power), 1)

    def paired_whenever(self, gain: float) -> Stopping:
        """As a rollout's comparison would end: recall by signs, anything else by the gains themselves."""
        alpha = self.alpha * (1.0 if self.model.objective.constraint is None else GAIN_ALPHA)
        differ = self.differ(gain)
        if self.base.metric == "recall":
            return stopping_signs(differ, alpha=alpha)
        return stopping_gains(differ, alpha=alpha)

    def of_both(self, counted: int | None) -> Need | None:
        """What `counted` rows that both versions score take: no user is of one side, so rows count as they are."""
        if counted is None:
            return None
        rows = math.ceil(counted / self.base.part)
        return Need(challenger=counted, champion=counted, rows=rows, days=self.days(counted))


def _plan(
    model: Model, rows: Rows, known: Known | None, *, metric: str | None, effect: str | float | None, asked: Asked
) -> OnlinePlan:
    seen = volume(model, rows, horizon_days=asked.days)
    base = measured(
        model, model.objective.metric if metric is None else metric, rate=seen.rate, known=known, outcomes=rows.y
    )
    found = _effect(model, base, effect)
    traffic = _Traffic(model=model, base=base, volume=seen, asked=asked)
    once = traffic.once(found.absolute, asked.share)
    half, most = traffic.whenever(found.absolute, asked.share)
    shares = sorted({*np.geomspace(0.001, 0.5, _CURVE).tolist(), asked.share})
    plan = OnlinePlan(
        model=model.name,
        source=rows.source,
        baseline=base,
        effect=found,
        asked=asked,
        volume=seen,
        arms=Course(kind="arms", once=once, half=half, most=most, sentence=""),
        paired=_paired(traffic, found.absolute),
        enough=once.days <= asked.days,
        share_needed=_share_needed(traffic, found.absolute),
        effect_seen=_effect_seen(traffic, asked.share),
        effect_seen_half=_effect_seen(traffic, 0.5),
        effect_seen_paired=_effect_seen_paired(traffic),
        sentence="",
        notes=(),
        curve=tuple(traffic.point(found.absolute, share) for share in shares),
    )
    return _told(model, plan, blocked=rows.left_out.get("blocked", 0))


def _told(model: Model, plan: OnlinePlan, *, blocked: int) -> OnlinePlan:
    """The plan with its sentences."""
    paired = None if plan.paired is None else replace(plan.paired, sentence=paired_sentence(plan))
    plan = replace(plan, arms=replace(plan.arms, sentence=arms_sentence(plan)), paired=paired)
    return replace(plan, sentence=verdict(plan), notes=notes(model, plan, blocked=blocked))


def _effect(model: Model, base: Measured, effect: str | float | None) -> Effect:
    if base.room <= 0:
        raise UsageError(f"{base.metric} is {base.value:.3g} and cannot be better ({base.origin}); say --metric NAME")
    gain, origin = _default_effect(model, base) if effect is None else (_gain(base, effect), "asked for")
    if not base.room >= gain:
        raise UsageError(
            f"--effect {effect} leads from {base.metric} {base.value:.3g} to {base.better_by(gain):.3g}, and it lies "
            f"from {base.lowest:.3g} to {base.highest:.3g}; say at most {base.room:.3g}"
        )
    return Effect(absolute=gain, relative=gain / base.value if base.value else None, origin=origin)


def _gain(base: Measured, effect: str | float) -> float:
    text = str(effect).strip()
    try:
        gain = float(text[:-1]) / 100 * base.value if text.endswith("%") else float(text)
    except ValueError:
        raise UsageError(f"--effect {text!r} is no difference; say it as 0.05, or as 5% of what it is today") from None
    if not 0 < gain < math.inf:
        raise UsageError(f"--effect {text} is nothing that could be seen; say a difference above 0, such as 0.05 or 5%")
    return gain


def _default_effect(model: Model, base: Measured) -> tuple[float, str]:
    """The least gain as a rollout reads it: of a share as it is, of anything else a share of the champion's loss."""
    least = model.rollout.least_gain
    if base.metric == TARGET_RATE:
        gain, origin = _DEFAULT_RELATIVE, "taken; say --effect"
    elif least > 0:
        gain, origin = least, "the rollout's least gain"
    else:
        gain = _DEFAULT_RELATIVE if base.counted == "rows" else _DEFAULT_EFFECT
        origin = "taken, as the rollout has no least gain"
    if base.gain_of(gain) > base.room:
        return base.room / 2, f"half of what is left to gain, as {gain:g} is more than that"
    return base.gain_of(gain), origin


def _paired(traffic: _Traffic, gain: float) -> Course | None:
    if not traffic.base.pairs:
        return None
    found = traffic.paired_whenever(gain)
    once = traffic.of_both(traffic.paired_once(gain))
    assert once is not None
    return Course(
        kind="paired", once=once, half=traffic.of_both(found.half), most=traffic.of_both(found.most), sentence=""
    )


def _share_needed(traffic: _Traffic, gain: float) -> float | None:
    """The smallest share, rounded up to two digits, with which arms judged once answer in time."""

    def in_time(share: float) -> bool:
        return traffic.once(gain, share).days <= traffic.asked.days

    if not in_time(0.5):
        return None
    share = _least(in_time, _LOWEST_SHARE, 0.5)
    return min(_rounded_up(share), 0.5)


def _effect_seen(traffic: _Traffic, share: float) -> float | None:
    """The smallest effect, rounded up to two digits, that arms of this share see in time, judged once."""

    return _least_gain(traffic, lambda gain: traffic.once(gain, share).days)


def _effect_seen_paired(traffic: _Traffic) -> float | None:
    """The smallest effect, rounded up to two digits, that nine in ten paired comparisons see in time."""
    if not traffic.base.pairs:
        return None

    def days(gain: float) -> float:
        need = traffic.of_both(traffic.paired_whenever(gain).most)
        return math.inf if need is None else need.days

    return _least_gain(traffic, days)


def _least_gain(traffic: _Traffic, days: Callable[[float], float]) -> float | None:
    """The smallest gain, rounded up to two digits, for which `days` are in time; None where there is none."""
    room, limit = traffic.base.room, traffic.asked.days
    if days(room) > limit:
        return None
    return min(_rounded_up(_least(lambda gain: days(gain) <= limit, room * 1e-6, room)), room)


def _least(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest number from which on it holds, to within 0.1 %; it holds at `high`."""
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _rounded_up(value: float) -> float:
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step - 1e-9) * step, 12)
