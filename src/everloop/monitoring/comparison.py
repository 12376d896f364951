"""Which of two versions is better, on the same matured rows, looked at as often as one likes (law 6).

Both versions scored every row, whoever's answer was given, so the comparison uses all traffic. It is paired: a row on
which the two agree says nothing. What it rests on, by the objective:

- `recall …`: matured positives that exactly one of the two caught, a fair coin under no difference, however rare
  positives are and however the scores are calibrated (`SignSequence`); within the margin by `BoundedSequence`.
- any other metric: the losses of `tasks.losses`, champion's minus challenger's (`BoundedSequence`); of a regression
  errors, cut at the bound that the champion's bundle has.
- `rollout.least gain`: a gain that is not surely larger (`BoundedSequence`) is `not_worse`, and not `better`.
- a constraint such as `precision >= 0.80`: each side's own share over the rows it flagged, with a sequence of its own.
  What is lacking counts as in a search (`tasks.Task.objective_value`): recall in proportion to the precision reached.

Where an answer acts on its own outcome (`outcome.acts`), the random holdout is compared, and as much of the other rows
(`monitoring.flagged`): else all that a champion missed would be seen, and hardly anything of what it caught.

The bound is what the owner promised, so the gain decides alone only where it is kept (to within the margin):

- surely below the bound, surely below the champion and worth less so counted is `worse`, whatever it catches;
- surely above a champion that is surely below the bound, and worth more so counted, is `better`, at a lower recall too:
  a champion that flags too much can be replaced;
- plainly below the bound is `undecided`, whatever it gains: only a person may promote it, on their name. Where the
  champion plainly misses the bound too, it is asked to be no farther from it than the champion: then one that gains
  is promoted, for waiting for a perfect one would keep the worse of the two.

Of `ALPHA` the gain gets four fifths and the constraint one; each of `better` and `worse` is wrong at most ALPHA of the
time, over all looks together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np

from everloop.clock import Clock
from everloop.monitoring.flagged import Flagged
from everloop.monitoring.reading import Matured, matured_rows, version_scores
from everloop.project import Model, NotWorseGate
from everloop.stats import BoundedSequence, Interval, SignSequence, wilson
from everloop.tasks import get_task, hits
from everloop.traffic import TrafficLog, windows

__all__ = ["ALPHA", "DEFAULT_MARGIN", "Compared", "PairedComparison", "Tally", "compare"]

Array = np.ndarray[Any, Any]
Standing = Literal["better", "not_worse", "worse", "undecided"]

ALPHA = 0.05
DEFAULT_MARGIN = 0.02
_GAIN_SHARE = 0.8
_STEP = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The challenger against the champion. `better` implies not worse; the sentence is for people."""

    outcome: Standing
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a comparison has seen so far; cohorts add to it, in any number of steps.

    rows, positives: judged by both. caught_champion, caught_challenger: positives each of them flagged.
    signs: discordant positives. gains: champion's loss minus challenger's. loss: the champion's summed loss, over
    `counted` rows. precision_champion, precision_challenger: of the rows each flagged, the positive ones.
    blocked, thinned, unscored: rows left out. bound: where errors of a regression are cut, in the target's unit.
    """

    signs: SignSequence
    gains: BoundedSequence
    constraint: BoundedSequence
    constraint_champion: BoundedSequence
    rows: int = 0
    positives: int = 0
    caught_champion: int = 0
    caught_challenger: int = 0
    loss: float = 0.0
    counted: int = 0
    flagged_champion: int = 0
    flagged_challenger: int = 0
    blocked: int = 0
    thinned: int = 0
    unscored: int = 0
    bound: float | None = None

    @classmethod
    def start(cls, *, alpha: float = ALPHA, constrained: bool = True, bound: float | None = None) -> Tally:
        """Nothing seen yet. constrained: whether a part of `alpha` goes to a constraint. bound: of errors."""
        gain = alpha * _GAIN_SHARE if constrained else alpha
        rest = BoundedSequence(lower=0.0, upper=1.0, alpha=max(alpha - gain, 1e-6))
        return cls(
            signs=SignSequence(alpha=gain),
            gains=BoundedSequence(alpha=gain),
            constraint=rest,
            constraint_champion=rest,
            bound=bound,
        )

    def seen(self, model: Model, y: Array, champion: Array, challenger: Array, decisions: tuple[Array, Array]) -> Tally:
        """The tally with a cohort's rows: truth, both scores, (champion's, challenger's) decisions; shape (n,) each."""
        if y.size == 0:
            return self
        objective, task = model.objective, get_task(model.task)
        first, second = (
            task.losses(y, score, decision, objective=objective, bound=self.bound)
            for score, decision in zip((champion, challenger), decisions, strict=True)
        )
        told = np.isfinite(first) & np.isfinite(second)
        gains = (first - second)[told]
        loss, counted = self.loss + float(first[told].sum()), self.counted + int(told.sum())
        if not task.decides:
            rows = self.rows + int(y.size)
            gained = self.gains.update(gains)
            return replace(self, gains=gained, rows=rows, positives=rows, loss=loss, counted=counted)
        one, two = (decision[y] for decision in decisions)
        return replace(
            self,
            signs=self.signs.update(wins=int((two & ~one).sum()), losses=int((one & ~two).sum())),
            gains=self.gains.update(gains),
            constraint=self.constraint.update(_constraint_hits(model, y, decisions[1])),
            constraint_champion=self.constraint_champion.update(_constraint_hits(model, y, decisions[0])),
            rows=self.rows + int(y.size),
            positives=self.positives + int(y.sum()),
            caught_champion=self.caught_champion + int(one.sum()),
            caught_challenger=self.caught_challenger + int(two.sum()),
            loss=loss,
            counted=counted,
            flagged_champion=self.flagged_champion + int(decisions[0].sum()),
            flagged_challenger=self.flagged_challenger + int(decisions[1].sum()),
        )


def _constraint_hits(model: Model, y: Array, decision: Array) -> Array:
    """1 and 0 for each row the constraint's share is taken over; nothing where there is no such constraint."""
    constraint = model.objective.constraint
    if constraint is None or constraint.metric not in ("precision", "recall", "accuracy"):
        return np.empty(0)
    return hits(constraint.metric, y, decision).astype(np.float64)


class PairedComparison:
    """One rollout's comparison, looked at again and again: each look reads only what has matured since the last.

    since: when the challenger was first asked; None for the beginning of the log. margin: how much worse still counts
    as `not_worse`, in the objective's metric (for cost, log_loss, brier and accuracy as a share of the champion's own
    loss; of a regression in the target's unit, or for rmse and r2 such a share); None takes the model's gate
    `not worse than champion by x`, else 0.02. bound: of errors, as the champion's bundle has it; of a regression alone.
    What was seen stays seen: a correction that comes after a row was counted does not change it.
    """

    def __init__(
        self,
        model: Model,
        log: TrafficLog,
        *,
        challenger: int,
        champion: int,
        since: datetime | None = None,
        positive: bool | int | float | str | None = None,
        margin: float | None = None,
        alpha: float = ALPHA,
        bound: float | None = None,
    ) -> None:
        self._model = model
        self._log = log
        self._versions = champion, challenger
        self._since = since
        self._positive = positive if positive is not None else model.data.positive
        self._margin = model_margin(model) if margin is None else margin
        self._tally = Tally.start(alpha=alpha, constrained=model.objective.constraint is not None, bound=bound)
        self._flagged = Flagged()
        self._held: list[Matured] = []
        self._until: datetime | None = None
        self._last: Compared | None = None

    @property
    def tally(self) -> Tally:
        """What has been seen so far."""
        return self._tally

    @property
    def has_matured(self) -> bool:
        """Whether the outcomes of any rows were due, also if none of them can be compared."""
        return bool(self._held) or self._tally.rows + self._tally.blocked + self._tally.thinned > 0

    def look(self, as_of: datetime, *, tail: bool = False) -> Compared:
        """The comparison over all cohorts whose outcome was due at `as_of`.

        tail: count the rows after the last whole step of six hours too, where no later ones are to come.
        """
        begin, ends = self._pending(as_of, tail=tail)
        if begin is not None and ends:
            rows = matured_rows(
                self._log,
                self._model,
                start=begin,
                end=ends[-1],
                as_of=as_of,
                positive=self._positive,
            )
            for cohort in rows.cut(ends):
                self._step(cohort)
            self._until = ends[-1]
            self._last = None
        if self._last is None:
            self._last = judged(
                self._model,
                self._tally,
                margin=self._margin,
                versions=self._versions,
                until=self._until,
                waiting=sum(cohort.rows for cohort in self._held),
            )
        return self._last

    def _pending(self, as_of: datetime, *, tail: bool) -> tuple[datetime | None, list[datetime]]:
        """Where the last look stopped, and the ends of the whole steps that are due since then.

        The clock says what is due; the newest row can only hold a step back, where traffic is of another year.
        """
        due, span = as_of - self._model.outcome.delay, self._log.span(as_of)
        if span is None:
            return None, []
        begin = span[0] if self._since is None else max(self._since, span[0])
        begin = begin if self._until is None else self._until
        step = min(_STEP, self._model.monitor.every)
        last = min(due, span[1] + timedelta(milliseconds=2))
        ends = [window.end for window in windows(begin - step, last, step) if window.end > begin]
        if tail and last > (ends[-1] if ends else begin):
            ends.append(last)
        return begin, ends

    def _step(self, cohort: Matured) -> None:
        """One step's rows; they wait while too little was flagged to tell how often they are to be seen.

        Step by step, so that what the comparison says does not depend on when it was looked at.
        """
        self._flagged += cohort.flagged
        self._held.append(cohort)
        share = self._flagged.seen()
        if share is not None:
            for held in self._held:
                self._tally = self._with(held.as_often(share))
            self._held = []

    def _with(self, cohort: Matured) -> Tally:
        scores = cohort.frame["scores"]
        one, two = (version_scores(scores, version) for version in self._versions)
        asked, known = one.asked & two.asked, one.known & two.known
        tally = replace(
            self._tally,
            blocked=self._tally.blocked + cohort.blocked,
            thinned=self._tally.thinned + cohort.thinned,
            unscored=self._tally.unscored + int((asked & ~known).sum()),
        )
        decisions = one.decision[known], two.decision[known]
        return tally.seen(self._model, cohort.y[known], one.score[known], two.score[known], decisions)


def compare(
    model: Model,
    log: TrafficLog,
    *,
    challenger: int,
    champion: int,
    as_of: datetime | None = None,
    clock: Clock | None = None,
    since: datetime | None = None,
    positive: bool | int | float | str | None = None,
    margin: float | None = None,
    alpha: float = ALPHA,
    bound: float | None = None,
) -> Compared:
    """One look at a `PairedComparison`; keep one of those where you look every hour. as_of: else the clock's now."""
    if as_of is None:
        if clock is None:
            raise ValueError("compare needs as_of or a clock")
        as_of = clock.now()
    comparison = PairedComparison(
        model,
        log,
        challenger=challenger,
        champion=champion,
        since=since,
        positive=positive,
        margin=margin,
        alpha=alpha,
        bound=bound,
    )
    return comparison.look(as_of, tail=True)


def model_margin(model: Model) -> float:
    """The margin of the gate `not worse than champion by x`, else `DEFAULT_MARGIN`."""
    whole = [gate for gate in model.gates if isinstance(gate, NotWorseGate) and gate.segment is None]
    margins = [gate.margin for gate in whole if gate.metric is None]
    return min(margins) if margins else DEFAULT_MARGIN


def judged(
    model: Model,
    tally: Tally,
    *,
    margin: float,
    versions: tuple[int, int],
    until: datetime | None = None,
    waiting: int = 0,
) -> Compared:
    """What a tally says. waiting: rows that count once enough was flagged to tell how often they are to be seen."""
    gain = _gain_standing(model, tally, margin=margin)
    promise = _Promise.of(model, tally, margin=margin)
    small = gain == "better" and not _gains_enough(model, tally)
    gain = "not_worse" if small else gain
    outcome = gain if promise is None else promise.standing(gain)
    held = outcome == "undecided" and gain in ("better", "not_worse")
    words = "held back from replacing" if held else _WORDS[outcome]
    asked = f", and not surely better by {model.rollout.least_gain:g}" if small and outcome == "not_worse" else ""
    said = "" if promise is None else promise.said
    sentence = f"v{versions[1]} is {words} v{versions[0]}{asked}: {_gain_words(model, tally)}{said}"
    sentence += _left_out(tally, waiting)
    evidence = _evidence(tally, margin, until) | {"least_gain": model.rollout.least_gain}
    return Compared(outcome=outcome, sentence=sentence, evidence=evidence)


_WORDS: Mapping[Standing, str] = {
    "better": "better than",
    "not_worse": "not worse than",
    "worse": "worse than",
    "undecided": "not yet told from",
}


def _gain_standing(model: Model, tally: Tally, *, margin: float) -> Standing:
    metric = model.objective.metric
    if metric == "recall":
        signs = tally.signs.standing()
        if signs != "undecided":
            return "not_worse" if signs == "worse" and _within(tally.gains, margin) else signs
        return "not_worse" if _within(tally.gains, margin) else "undecided"
    return tally.gains.standing(margin=margin * _margin_scale(model, tally))


def _margin_scale(model: Model, tally: Tally) -> float:
    """What a margin of 1 is, in losses; of a regression in the unit of its objective, where that is one of errors."""
    if tally.bound is not None and model.objective.metric in _IN_UNITS:
        return _IN_UNITS[model.objective.metric] / tally.bound
    return 1.0 if model.objective.metric == "mape" else _scale(model, tally)


# How many units of mean absolute error one of the metric is.
_IN_UNITS: Mapping[str, float] = {"mae": 1.0, "pinball": 2.0}


def _scale(model: Model, tally: Tally) -> float:
    """What a gain of 1 is, in losses: of a loss its own size, so that a margin is a share of it."""
    if model.objective.metric in ("recall", "roc_auc", "average_precision") or not tally.counted:
        return 1.0
    return max(tally.loss / tally.counted, 1e-9)


def _gains_enough(model: Model, tally: Tally) -> bool:
    """Whether the gain is known to be more than the project's least gain."""
    least = model.rollout.least_gain
    return least == 0 or tally.gains.surely_above(least * _scale(model, tally))


def _within(gains: BoundedSequence, margin: float) -> bool:
    return margin > 0 and gains.standing(margin=margin) in ("better", "not_worse")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    """How both sides stand to the objective's constraint, a share that is to reach a bound.

    floor: the bound less the margin. worth_more, worth_less: the challenger's metric against the champion's, each
    counted with what its side lacks of the bound. said: a clause for people.
    """

    floor: float
    challenger: BoundedSequence
    champion: BoundedSequence
    worth_more: bool
    worth_less: bool
    said: str

    @classmethod
    def of(cls, model: Model, tally: Tally, *, margin: float) -> _Promise | None:
        """None where nothing was promised, or the challenger has decided nothing that it could be broken by."""
        constraint = model.objective.constraint
        if constraint is None or tally.constraint.n == 0 or constraint.op not in (">=", ">"):
            return None
        bound = constraint.bound
        champion = 1.0 - tally.loss / tally.counted if tally.counted else 0.0
        mine = _worth(champion + tally.gains.mean, tally.constraint, bound)
        theirs = _worth(champion, tally.constraint_champion, bound)
        known = tally.constraint_champion.n > 0
        theirs_said = f" against {_share(tally.constraint_champion).point:.2f}" if known else ""
        return cls(
            floor=bound - margin,
            challenger=tally.constraint,
            champion=tally.constraint_champion,
            worth_more=mine > theirs,
            worth_less=mine < theirs,
            said=f"; {constraint.metric} {_share(tally.constraint):.2f}{theirs_said} where {constraint} is asked",
        )

    def standing(self, gain: Standing) -> Standing:
        """What the comparison says, `gain` being what it says of the metric alone."""
        mine, theirs = self.challenger, self.champion
        if self.worth_less and mine.surely_below(self.floor) and _surely_apart(mine, theirs):
            return "worse"
        if self.worth_more and theirs.surely_below(self.floor) and _surely_apart(theirs, mine):
            return "better"
        if gain == "worse":
            restores = self.worth_more and theirs.n > 0 and theirs.mean < self.floor
            return "undecided" if restores else "worse"
        return "undecided" if self._breaks() else gain

    def _breaks(self) -> bool:
        """Whether the challenger is plainly farther from the promise than it may be."""
        mine, theirs = _share(self.challenger), _share(self.champion)
        asked = theirs.point if theirs.high < self.floor else self.floor
        return mine.high < asked or (not self.worth_more and mine.point < min(self.floor, theirs.point))


def _worth(value: float, share: BoundedSequence, bound: float) -> float:
    """The metric less in proportion to what its constraint lacks; a side that decided nothing lacks nothing."""
    reached = min(1.0, share.mean / bound) if share.n and bound > 0 else 1.0
    return value * reached


def _share(share: BoundedSequence) -> Interval:
    return wilson(round(share.mean * share.n), share.n)


def _surely_apart(lower: BoundedSequence, higher: BoundedSequence) -> bool:
    """Whether the one share is known to lie below the other."""
    return lower.mean < higher.mean and lower.interval().high < higher.interval().low


def _gain_words(model: Model, tally: Tally) -> str:
    if model.objective.metric == "recall":
        n = tally.positives
        if n == 0:
            return "no matured positives yet"
        mine, theirs = tally.caught_challenger / n, tally.caught_champion / n
        return (
            f"recall {mine:.2f} against {theirs:.2f} on the same {n:,} matured positives "
            f"({tally.signs.wins} caught by it alone, {tally.signs.losses} by the champion alone)"
        )
    if tally.counted == 0:
        return "no matured rows yet"
    gain, metric = tally.gains.interval(), model.objective.metric
    if tally.bound is not None and metric in _IN_UNITS:
        of = tally.bound / _IN_UNITS[metric]
        gain = replace(gain, low=gain.low * of, point=gain.point * of, high=gain.high * of)
        return f"{metric} less by {gain:.3f} over {tally.counted:,} matured rows (errors above {tally.bound:.4g} cut)"
    return f"loss less by {gain:.5f} over {tally.counted:,} matured rows ({metric})"


def _left_out(tally: Tally, waiting: int) -> str:
    parts = []
    if tally.rows == 0 and tally.blocked and not waiting:
        parts.append("nothing that was flagged was let through; let a share of it through to compare on")
    if waiting:
        parts.append(f"{waiting:,} rows wait until enough was flagged to tell how often they are to be seen")
    if tally.blocked:
        parts.append(f"{tally.blocked:,} rows whose answer kept their outcome from happening are left out")
    if tally.thinned:
        parts.append(f"{tally.thinned:,} others are left out at random, as often as those")
    if tally.unscored:
        parts.append(f"{tally.unscored:,} rows that one of the two could not score are left out")
    return "".join(f"; {part}" for part in parts)


def _evidence(tally: Tally, margin: float, until: datetime | None) -> dict[str, Any]:
    return {
        "rows": tally.rows,
        "positives": tally.positives,
        "caught_champion": tally.caught_champion,
        "caught_challenger": tally.caught_challenger,
        "wins": tally.signs.wins,
        "losses": tally.signs.losses,
        "gain": tally.gains.interval().to_dict(),
        "flagged_champion": tally.flagged_champion,
        "flagged_challenger": tally.flagged_challenger,
        "blocked": tally.blocked,
        "thinned": tally.thinned,
        "unscored": tally.unscored,
        "margin": margin,
        "until": None if until is None else until.isoformat(),
    }
