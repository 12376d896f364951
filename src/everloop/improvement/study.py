"""What an investigation finds, before anything is written: from an alert and what is known to findings in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from everloop.bundle import Bundle
from everloop.clock import Clock
from everloop.data import EVENT_TIME, Rows
from everloop.improvement.change import Change
from everloop.improvement.compared import Compared, compared_rows, matured, with_features
from everloop.improvement.cost import Cost, cost_since
from everloop.improvement.drift import Drifted
from everloop.improvement.examine import Examined, Focus, RuleCounts, examine, rule_counts
from everloop.improvement.inputs import InputsExamined, examine_inputs, live_rows, profiled_rows
from everloop.improvement.numeric import error_limit, numeric_cost, numeric_repair
from everloop.improvement.retrain import Repair, retrain_estimate
from everloop.improvement.rule import Rule
from everloop.ledger import AlertState, Version
from everloop.project import Model, Objective, Spec
from everloop.tasks import get_task
from everloop.traffic import TrafficLog

__all__ = ["ErrorStudy", "InputStudy", "Scene", "known_data", "study_errors", "study_inputs"]

COMPARED_ROWS: Final = 60_000
# False alarms are among the rows that are not positive, which cannot be sampled then.
FALSE_ALARM_ROWS: Final = 250_000
PROFILED_ROWS: Final = 30_000
LIVE_ROWS: Final = 120_000
LOOK_BACK: Final = timedelta(days=28)
# A first version is fitted on 70 % of its rows; what is newer it has not learnt by heart.
_FIRST_HELD: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What an investigation looks at.

    bundle, version, spec: of the champion the alert is about. known: labelled rows. now: nothing is used that was
    not known then.
    """

    model: Model
    alert: AlertState
    version: Version
    bundle: Bundle
    spec: Spec
    known: Rows
    log: TrafficLog
    clock: Clock
    now: datetime

    @property
    def window_start(self) -> datetime:
        """The start of the window that the alert was opened for."""
        return datetime.fromisoformat(self.alert.window["start"])

    @property
    def subject(self) -> str:
        """What a positive row is called; of a regression one that the champion is far off on."""
        if not self.decides:
            return "large error"
        label = self.model.positive_label
        return label if label.isalpha() else "positive"

    @property
    def decides(self) -> bool:
        """Whether the model answers a decision, and no number."""
        return get_task(self.model.task).decides

    @property
    def focus(self) -> Focus:
        """Which errors the alert is about."""
        if not self.decides:
            return "large errors"
        return "false alarms" if "precision" in self.alert.check else "missed"

    def fresh_from(self, first: datetime) -> datetime:
        """From when on the champion has not been fitted on rows, about; `first` where nothing says."""
        data: Mapping[str, Any] = {} if self.version.data is None else self.version.data
        if not data.get("start") or not data.get("end"):
            return first
        start, end = datetime.fromisoformat(data["start"]), datetime.fromisoformat(data["end"])
        held = _FIRST_HELD if self.version.number == 1 else self.model.train.holdout
        return max(first, end - (end - start) * held)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorStudy:
    """Found with outcomes: the pattern of the errors, its counts, its cost, its repair."""

    compared: Compared
    examined: Examined
    since: datetime
    fresh_from: datetime
    counts: RuleCounts | None
    cost: Cost
    repair: Repair
    drifted: tuple[Drifted, ...]
    upcoming: int | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputStudy:
    """Found without outcomes: which columns moved."""

    rows: pl.DataFrame
    examined: InputsExamined
    since: datetime | None
    decided: tuple[float, float] | None
    sentence: str


def study_errors(scene: Scene) -> ErrorStudy:
    """Why the champion's answers got worse. Raises NotEnoughData where nothing has matured."""
    known = matured(scene.known.frame, as_of=scene.now, delay=scene.model.outcome.delay)
    focus = scene.focus
    most = COMPARED_ROWS
    if focus == "false alarms":
        most = FALSE_ALARM_ROWS
        known = known.tail(most)
    fresh_from = scene.fresh_from(known[EVENT_TIME][0])
    begin = min(scene.window_start, known[EVENT_TIME][-1])
    far_off = None
    if not scene.decides:
        far_off = error_limit(known, scene.bundle, fresh_from=fresh_from, begin=begin, most=COMPARED_ROWS)
    compared = compared_rows(known, scene.bundle, most=most, seed=scene.spec.seed, far_off=far_off)
    examined = examine(compared, focus=focus, fresh_from=fresh_from, begin=begin)
    since = begin if examined.change is None else examined.change.at
    rule, counts = examined.rule, None
    if rule is not None:
        rows = with_features(known, scene.bundle.features, rule.columns)
        counts = rule_counts(rule, compared, rows, focus=focus, since=since)
    cost = _cost(scene, compared, since, fresh_from, far_off)
    recent = profiled_rows(known.filter(pl.col(EVENT_TIME) >= since), scene.bundle, most=PROFILED_ROWS)
    repair = _repair(scene, known, since)
    return ErrorStudy(
        compared=compared,
        examined=examined,
        since=since,
        fresh_from=fresh_from,
        counts=counts,
        cost=cost,
        repair=repair,
        drifted=examine_inputs(scene.bundle.baseline, recent, begin=since).drifted,
        upcoming=None if rule is None else _upcoming(scene, rule, known[EVENT_TIME][-1]),
        sentence=_told(scene, examined, counts, since),
    )


def _cost(scene: Scene, compared: Compared, since: datetime, fresh_from: datetime, far_off: float | None) -> Cost:
    objective, promised = Objective.parse(scene.spec.objective), scene.version.metrics
    if far_off is not None:
        expected = promised.get(objective.metric, {}).get("point")
        return numeric_cost(compared, objective=objective, since=since, expected=expected, limit=far_off)
    return cost_since(
        compared,
        objective=objective,
        threshold=scene.bundle.threshold,
        since=since,
        fresh_from=fresh_from,
        promised=promised,
        subject=scene.subject,
    )


def _repair(scene: Scene, known: pl.DataFrame, since: datetime) -> Repair:
    own, clock = scene.model.own_learners, scene.clock
    if not scene.decides:
        return numeric_repair(known, scene.bundle, scene.spec, since=since, clock=clock, own=own)
    return retrain_estimate(known, scene.bundle, scene.spec, since=since, subject=scene.subject, clock=clock, own=own)


def _upcoming(scene: Scene, rule: Rule, after: datetime) -> int | None:
    """Traffic inside the rule whose outcome is not known yet; None where the log does not hold its columns."""
    moment = timedelta(microseconds=1)
    lazy = scene.log.predictions(after + moment, scene.now + moment).filter(pl.col("recorded_at") <= scene.now)
    names = lazy.collect_schema().names()
    prefixes = {column: prefix for column in rule.columns for prefix in ("f_", "in_") if f"{prefix}{column}" in names}
    if set(prefixes) != set(rule.columns):
        return None
    found: int = lazy.filter(rule.expression(prefixes)).select(pl.len()).collect().item()
    return found


def _told(scene: Scene, examined: Examined, counts: RuleCounts | None, since: datetime) -> str:
    errors = f"missed {scene.subject}s" if examined.focus == "missed" else examined.focus
    hits = f"{scene.subject}s" if examined.focus == "missed" else examined.focus
    if examined.rule is None or counts is None:
        dated = "" if examined.change is None else f" since {_dated(examined.change)}"
        return f"the {errors}{dated} have no pattern in common that a readable rule could tell"
    said = f"{examined.rule}: {counts.covered} of {counts.errors} {errors} since {_day(since)}"
    if examined.is_new:
        return f"{said}; {counts.hits_before:.1f} such {hits} a day before, {counts.hits_after:.1f} since"
    return f"{said}; such {hits} were as frequent before"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def _dated(change: Change) -> str:
    return str(change)


def study_inputs(scene: Scene) -> InputStudy:
    """What moved in the inputs, with no outcome asked."""
    start = min(scene.window_start, scene.now) - LOOK_BACK
    rows = live_rows(scene.log, scene.bundle, start=start, as_of=scene.now, most=LIVE_ROWS)
    if rows.filter(pl.col(EVENT_TIME) >= scene.window_start).height == 0:
        known = scene.known.frame.filter(pl.col(EVENT_TIME) <= scene.now - scene.model.outcome.delay)
        rows = profiled_rows(known, scene.bundle, most=LIVE_ROWS) if known.height else rows
    segments = [column.name for column in scene.bundle.contract.segment_columns]
    baseline = scene.bundle.baseline
    examined = examine_inputs(baseline, rows, begin=scene.window_start, segments=segments)
    change = examined.change
    since = None if change is None else change.at
    decided = _decided(scene, rows, scene.window_start if since is None else since)
    return InputStudy(rows=rows, examined=examined, since=since, decided=decided, sentence=_moved(examined))


def _decided(scene: Scene, rows: pl.DataFrame, since: datetime) -> tuple[float, float] | None:
    """The share of rows decided positive before and since; None where nothing is decided."""
    if scene.bundle.threshold is None:
        return None
    at = pl.col(EVENT_TIME)
    shares = [
        rows.filter(part).select((pl.col("__score") >= scene.bundle.threshold).mean()).item()
        for part in (at < since, at >= since)
    ]
    return None if None in shares else (float(shares[0]), float(shares[1]))


def _moved(examined: InputsExamined) -> str:
    if not examined.drifted:
        return "no column is farther from the reference than such windows usually are"
    since = "" if examined.change is None else f", since {_dated(examined.change)}"
    others = len(examined.drifted) - 1
    also = f"; {others} more columns moved" if others > 1 else "; one more column moved" if others else ""
    where = "" if examined.segment is None else f" ({examined.segment})"
    return f"{examined.drifted[0].sentence}{since}{where}{also}"


def known_data(known: Rows) -> dict[str, Any]:
    """The rows that were known, for a spec and its reader."""
    start, end = known.span
    return {
        "source": known.source,
        "rows": known.frame.height,
        "positives": known.positives,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "hash": known.content,
    }
