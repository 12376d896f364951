"""The sentences of a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator

from everloop.experiment.measured import TARGET_RATE
from everloop.experiment.online_plan import Need, OnlinePlan, lasting, percent, plain
from everloop.project import Model

__all__ = ["arms_sentence", "notes", "paired_sentence", "verdict"]


def change(plan: OnlinePlan) -> str:
    """`recall 0.75 against 0.80`, with as many digits as the difference has."""
    base, gain = plan.baseline, plan.effect.absolute
    digits = max(2, -math.floor(math.log10(gain)))
    digits += abs(round(gain, digits) - gain) > gain / 10
    return f"{base.metric} {base.value:.{digits}f} against {base.better_by(gain):.{digits}f}"


def _when(need: Need | None) -> str:
    return "in no time that can be said" if need is None else f"within {lasting(need.days)}"


def arms_sentence(plan: OnlinePlan) -> str:
    """What the arms take, judged once and looked at whenever."""
    once, asked, base = plan.arms.once, plan.asked, plan.baseline
    return (
        f"An A/B of {change(plan)} needs {once.challenger:,} {base.counted} on {percent(asked.share)} of the "
        f"{plan.volume.users} and {once.champion:,} on the others: {lasting(once.days)}, judged once at the end. "
        f"Looked at whenever, half of them end {_when(plan.arms.half)}, nine in ten {_when(plan.arms.most)}."
    )


def paired_sentence(plan: OnlinePlan) -> str:
    """What the paired comparison takes."""
    assert plan.paired is not None
    once = plan.paired.once
    return (
        f"Paired, with both versions scoring every row, {once.challenger:,} {plan.baseline.counted} of all traffic are "
        f"enough: {lasting(once.days)}, judged once. Looked at whenever, as a rollout does it, half end "
        f"{_when(plan.paired.half)}, nine in ten {_when(plan.paired.most)}."
    )


def verdict(plan: OnlinePlan) -> str:
    """Whether the share is enough, and what would be."""
    asked, seen, base = plan.asked, plan.volume, plan.baseline
    rows = seen.rows_per_day * asked.share
    with_counted = "" if base.counted == "rows" else f" with {plain(rows * base.part)} {base.counted}"
    head = (
        f"{percent(asked.share)} of {seen.users} is {plain(rows)} rows a day{with_counted}: "
        f"an A/B of {change(plan)} takes {lasting(plan.arms.once.days)}."
    )
    return f"{head} {_judged(plan)}{_other_way(plan)}"


def _judged(plan: OnlinePlan) -> str:
    asked, users = plan.asked, plan.volume.users
    limit, delay = lasting(asked.days), lasting(asked.delay_days)
    if plan.enough:
        return f"Enough: the answer is there within {limit}."
    if asked.delay_days >= asked.days:
        return f"Too few at any share: outcomes take {delay} to be known, and an answer is asked for within {limit}."
    if plan.share_needed is not None and plan.share_needed > asked.share:
        return (
            f"Too few: at least {percent(plan.share_needed)} of {users} are needed for an answer within {limit}; "
            f"with {percent(asked.share)} {_shows(plan.effect_seen)} by then."
        )
    if plan.share_needed is not None:
        return f"Too many, so that too few keep the champion: {percent(plan.share_needed)} of {users} is enough."
    return (
        f"Too few: no share is enough within {limit}; with half of the {users} {_shows(plan.effect_seen_half)} by then."
    )


def _shows(effect: float | None) -> str:
    return "no effect shows" if effect is None else f"only effects from {plain(effect)} on show"


def _other_way(plan: OnlinePlan) -> str:
    if plan.paired is None:
        return ""
    most, seen, limit = plan.paired.most, plan.effect_seen_paired, lasting(plan.asked.days)
    told = "is out of reach" if most is None else f"takes {lasting(most.days)} at most in nine of ten rollouts"
    if most is not None and most.days <= plan.asked.days:
        return f" Paired on all traffic the same {told}."
    return f" Paired on all traffic the same {told}; within {limit} {_shows(seen)}."


def notes(model: Model, plan: OnlinePlan, *, blocked: int) -> tuple[str, ...]:
    """What was taken for granted, so that a reader can take something else."""
    return (*_of_users(plan), *_of_pairs(model, plan), *_of_the_baseline(plan), *_of_blocked(model, blocked))


def _of_users(plan: OnlinePlan) -> Iterator[str]:
    seen = plan.volume
    if seen.span_days < 0.9:
        yield f"the data covers {lasting(seen.span_days)}; a day is what that comes to"
    if seen.entity is None:
        yield "the model has no data.entity: shares are of rows, and each row counts as a user of its own"
        return
    drawn = f"users ({seen.entity}) are drawn, not rows, and rows of one user resemble each other"
    if plan.baseline.counted == "rows":
        alike = f"their outcomes correlate by {plain(seen.alike)}"
        yield f"{drawn}: {alike}, so an A/B needs {plain(seen.row_effect)} times the rows (design effect)"
    else:
        together = "a user's are taken to be caught or missed together"
        yield f"{drawn}: {together}, so an A/B needs {plain(seen.positive_effect)} times the {plan.baseline.counted}"
    yield "an A/B that goes on much longer meets the same users again, and learns less than is said here"


def _of_pairs(model: Model, plan: OnlinePlan) -> Iterator[str]:
    base = plan.baseline
    if base.metric == TARGET_RATE:
        yield "whose answer was given changes the target rate, so nothing can be paired"
        return
    if plan.paired is None:
        yield (
            f"two versions flag different rows, so {base.metric} cannot be paired; a rollout compares it by wrong "
            "decisions over all rows, and --metric accuracy plans for those"
        )
        return
    counted = ", and in a shadow 'everloop rollout show' counts where they differ" if base.is_rate else ""
    yield (
        f"paired, rows count as they are, as in a rollout; the two versions are taken to be alike by a correlation of "
        f"{plan.asked.correlation:g}, row by row; --correlation says another{counted}"
    )
    if base.metric != model.objective.metric:
        yield f"rollouts compare by the objective, {model.objective}; this plan is for {base.metric}"
        return
    least = model.rollout.least_gain
    if least > 0 and plan.effect.absolute <= base.gain_of(least) * (1 + 1e-9):
        yield (
            f"a rollout promotes by itself only what surely gains more than the least gain of {least:g}: a challenger "
            "that gains just this effect is told from the champion, and left to a person"
        )


def _of_the_baseline(plan: OnlinePlan) -> Iterator[str]:
    base = plan.baseline
    if base.origin.startswith("no spec"):
        yield f"{base.metric} {plain(base.value)}: {base.origin}; 'everloop search' measures it"
    if base.metric in ("mae", "rmse"):
        yield f"an error counts up to {plain(base.highest)}, where a rollout cuts it"
    if base.at_most:
        yield f"how much {base.metric} varies from row to row is not known, and taken as the most it can be"
    if plan.arms.half is None:
        yield "an effect this small against the rows' spread is never told at any time one looks; judge it once"
    if base.metric == TARGET_RATE:
        yield "an effect on the target rate is planned as a rise; a fall as large needs about as many rows"


def _of_blocked(model: Model, blocked: int) -> Iterator[str]:
    acts = model.outcome.acts
    if acts is None:
        return
    yield (
        f"{blocked:,} rows whose answer kept their outcome from happening (outcome.acts) are left out; where rows are "
        "blocked for being flagged, a comparison sees the others only as often as those are let through"
    )
