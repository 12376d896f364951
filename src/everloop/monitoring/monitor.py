"""The monitor of one model: finds the windows that are due, judges each once, opens and closes alerts.

All it knows lies in the ledger and the traffic log, so a killed worker's monitor goes on where it stopped: a window's
fact has the key ("check:MODEL", "traffic:START", 0), and the alerts it opens or closes are written with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.bundle import BundleStore
from everloop.clock import Clock
from everloop.data import SCORE, read_contract
from everloop.ledger import AlertClosed, Estimate, Ledger
from everloop.monitoring.alerts import alerts_to_close, alerts_to_open, counted
from everloop.monitoring.external import (
    decision_share,
    first_metric,
    first_windows,
    of_external,
    parts_of_external,
    recorded_rows,
    told_threshold,
)
from everloop.monitoring.flagged import Flagged
from everloop.monitoring.label_free import (
    LEAST_ROWS,
    LiveColumn,
    LiveScores,
    QuietWindow,
    drift_verdict,
    schema_verdict,
    score_verdict,
)
from everloop.monitoring.labelled import SHARES, Counted, metric_verdict, share_counts, share_verdict
from everloop.monitoring.reading import Matured, champion_of, matured_rows, version_scores
from everloop.monitoring.reference import WEEKDAYS, Expected, Reference, reference_of
from everloop.monitoring.report import Check, DueWindow, PastWindow, WindowReport, estimate, past_windows
from everloop.project import METRICS, Model
from everloop.stats import OnlineBudget, Verdict, wilson
from everloop.tasks import Evaluated, get_task, risk_shares
from everloop.traffic import TrafficLog, Window, windows

__all__ = ["Monitor"]

_ACTOR: Final = "monitor"
# Of the budget, a check with labels gets the most: it is what an alert is for.
_WEIGHTS: Final[Mapping[str, float]] = {"schema": 1.0, "drift": 2.0, "score": 1.0}
_METRIC_WEIGHT: Final = 3.0
# Traffic that stopped for so long has come in whole, wherever its calendar is.
_SETTLED: Final = timedelta(minutes=1)
_US: Final = timedelta(microseconds=1)


class Monitor:
    """Judges one model's windows. Cheap to keep: it reads only facts that are new, and each version's baseline once."""

    def __init__(self, model: Model, *, ledger: Ledger, log: TrafficLog, bundles: BundleStore, clock: Clock) -> None:
        self._model = model
        self._ledger = ledger
        self._log = log
        self._bundles = bundles
        self._clock = clock
        self._past: list[PastWindow] = []
        self._seq = 0
        self._references: dict[int, Reference] = {}
        self._empty: dict[str, tuple[int, int]] = {}

    def due(self, now: datetime | None = None, *, settled: bool = False) -> list[DueWindow]:
        """The windows to judge at `now` (the clock's by default), in the order in which they came due.

        settled: take the log as complete, and so judge also what, in another year's calendar, may be on its way.
        """
        now = self._clock.now() if now is None else now
        self._refresh()
        span = self._log.span(now)
        if span is None:
            return []
        delay = self._model.outcome.delay
        found = [
            DueWindow(kind="traffic", window=window, due_at=window.end) for window in self._open("traffic", span)
        ] + [
            DueWindow(kind="outcomes", window=window, due_at=window.end + delay)
            for window in self._open("outcomes", span)
        ]
        found = [one for one in found if one.due_at <= now]
        if not settled:
            found = self._complete(found, now)
        books = self._log.count()
        return sorted(
            (one for one in found if self._empty.get(one.name) != books),
            key=lambda one: (one.due_at, one.kind == "outcomes", one.window.start),
        )

    def judge(self, now: datetime | None = None, *, settled: bool = False) -> list[WindowReport]:
        """Judge what is due, in order, each window once; windows without rows say nothing and leave no fact."""
        now = self._clock.now() if now is None else now
        reports = []
        for one in self.due(now, settled=settled):
            report = self._traffic(one) if one.kind == "traffic" else self._outcomes(one, now)
            if report is None:
                self._empty[one.name] = self._log.count()
            else:
                reports.append(self._write(one, report))
        return reports

    def _refresh(self) -> None:
        facts = self._ledger.facts(kind="check.done", subject=self._model.name, after=self._seq)
        if facts:
            self._past.extend(past_windows(facts))
            self._seq = facts[-1].seq

    def _open(self, kind: str, span: tuple[datetime, datetime]) -> list[Window]:
        """The windows of this kind that may hold rows and come after the newest judged one."""
        every = self._model.monitor.every
        judged = [one.window.end for one in self._past if one.kind == kind]
        begin = max(judged) if judged else span[0] - every + _US
        days = self._log.days()
        # one row of another age must not cost a look at every day since
        return [one for one in windows(begin, span[1] + every, every) if _holds_a_day(one, days)]

    def _complete(self, due: list[DueWindow], now: datetime) -> list[DueWindow]:
        """Those to which nothing more that is to be judged is on its way; the clock says it, never a row's own time.

        Traffic of another year comes in at any speed. It is whole once nothing comes any more, and at the latest when
        as much time has passed since its first row came as passes between a window's start and when it is due.
        """
        usual = self._model.monitor.every + self._model.outcome.delay
        if all(now - one.window.end < usual for one in due):
            return due
        last = self._log.last_recorded()
        if last is None or now - last >= _SETTLED:
            return due
        return [one for one in due if now - one.window.end < usual or self._had_its_time(one, now)]

    def _had_its_time(self, due: DueWindow, now: datetime) -> bool:
        first = self._log.first_recorded(due.window.start, due.window.end)
        return first is None or now - first >= due.due_at - due.window.start

    def _reference(self, version: int) -> Reference:
        if version not in self._references:
            registered = self._ledger.version(self._model.name, version)
            bundle = self._bundles.load(registered.bundle)
            # an external version's share of decisions was counted on its own traffic, row by row
            weighted = self._model.data.weight is not None and registered.trigger != "traffic"
            self._references[version] = reference_of(bundle, registered, weighted=weighted)
        return self._references[version]

    def _budgets(self) -> dict[str, OnlineBudget]:
        """Each check's part of the one budget, over all columns, checks and windows together."""
        budget = self._model.monitor.false_alarms
        weights = {name: _WEIGHTS.get(name, _METRIC_WEIGHT) for name in self._model.monitor.checks}
        whole = OnlineBudget.of(count=budget.count, per_days=budget.per / timedelta(days=1))
        return whole.split(weights)

    @property
    def _window_days(self) -> float:
        return self._model.monitor.every / timedelta(days=1)

    def _traffic(self, due: DueWindow) -> WindowReport | None:
        frame = self._log.predictions(due.window.start, due.window.end).collect()
        version = champion_of(frame)
        if version is None:
            return None
        if not self._knows(version):
            return self._first_window(due, frame, version)
        reference, budgets = self._reference(version), self._budgets()
        weekday = WEEKDAYS[due.window.start.weekday()]
        scores = version_scores(frame["scores"], version)
        score = scores.score[scores.known]
        columns, live = live_window(frame, score, int(scores.decision.sum()), reference)
        whole = is_whole(frame["event_time"], due.window, usual_rows=reference.usual_rows)
        alphas = {name: budget.allot(self._window_days)[0] for name, budget in budgets.items()}
        checks = []
        if "schema" in budgets:
            unknown = _unknown_columns(frame, columns)
            verdict = schema_verdict(columns, alpha=alphas["schema"], rows=frame.height, unknown=unknown)
            checks.append(Check(name="schema", verdict=verdict))
        if "drift" in budgets:
            verdict = drift_verdict(columns, alpha=alphas["drift"], weekday=weekday, whole=whole, rows=frame.height)
            checks.append(Check(name="drift", verdict=verdict))
        if "score" in budgets:
            quiet = self._quiet(version)
            flagged = reference.expected.get("decisions")
            verdict = score_verdict(live, quiet, expected=flagged, alpha=alphas["score"], weekday=weekday, whole=whole)
            checks.append(Check(name="score", verdict=verdict))
        return WindowReport(
            model=self._model.name,
            kind="traffic",
            window=due.window,
            version=version,
            rows=frame.height,
            checks=tuple(checks),
            metrics=score_metrics(score, live.decisions, reference.threshold, decides=reference.decides),
            numbers={
                "score": {"rows": live.rows, "decisions": live.decisions, "mean": live.mean if live.rows else None},
                "whole": whole,
            },
        )

    def _knows(self, version: int) -> bool:
        return version in self._references or any(
            one.number == version for one in self._ledger.versions(self._model.name)
        )

    def _first_window(self, due: DueWindow, frame: pl.DataFrame, version: int) -> WindowReport:
        """A window of a version that nobody registered: something else serves it, and the window is its reference."""
        scores = version_scores(frame["scores"], version)
        mine = frame.filter(scores.known)
        name = f"v{version}, which something else serves"
        if mine.height < LEAST_ROWS:
            why = f"{mine.height} rows of {name}, are too few to be its reference ({LEAST_ROWS} are the least)"
        else:
            self._register(mine, version)
            why = f"this window is the reference of {name}; the next is held against it"
        checks = [check for check in self._model.monitor.checks if check not in METRICS]
        known = scores.score[scores.known]
        decides = get_task(self._model.task).decides
        return WindowReport(
            model=self._model.name,
            kind="traffic",
            window=due.window,
            version=version,
            rows=frame.height,
            checks=tuple(Check(name=check, verdict=Verdict.undecided(f"{check}: {why}")) for check in checks),
            metrics=score_metrics(known, int(scores.decision.sum()), told_threshold(frame, version), decides=decides),
        )

    def _register(self, mine: pl.DataFrame, version: int) -> None:
        """Give an external version its baseline, of the rows of `mine`, all of which it scored."""
        scores, contract = version_scores(mine["scores"], version), read_contract(self._model)
        rows, threshold = recorded_rows(mine, contract), told_threshold(mine, version)
        decides = get_task(self._model.task).decides
        parts = parts_of_external(self._model, contract, rows, scores.score, threshold=threshold)
        payload = of_external(
            self._model,
            self._bundles.write(parts),
            rows,
            source="its own traffic",
            trigger="traffic",
            threshold=threshold,
            metrics=decision_share(scores) if decides else {},
        )
        key = (f"external:{self._model.name}", f"v{version}", 0)
        self._ledger.register_version(self._model.name, payload, actor=_ACTOR, key=key, number=version)

    def _quiet(self, version: int) -> list[QuietWindow]:
        """Earlier whole windows of the version in which the score check did not fail."""
        found = []
        for one in self._past:
            score = one.numbers.get("score")
            if one.kind != "traffic" or one.version != version or score is None or not one.numbers.get("whole"):
                continue
            if one.outcomes.get("score") != "failed" and score["rows"]:
                weekday = WEEKDAYS[one.window.start.weekday()]
                found.append(QuietWindow(weekday=weekday, **score))
        return found

    def _outcomes(self, due: DueWindow, now: datetime) -> WindowReport | None:
        start, end = due.window.start, due.window.end
        cohort = matured_rows(self._log, self._model, start=start, end=end, as_of=now)
        version = cohort.version
        if version is None:
            return None
        flagged = cohort.flagged.with_earlier(_flagged(one) for one in reversed(self._served(version)))
        share = flagged.seen()
        cohort = cohort if share is None else cohort.as_often(share)
        numbers: dict[str, Any] = {
            "blocked": cohort.blocked,
            "flagged": [cohort.flagged.passed, cohort.flagged.blocked],
        }
        if cohort.rows == 0 and cohort.blocked + cohort.thinned:
            return _nothing_seen(self._model, due.window, version, cohort, numbers)
        if not self._knows(version):
            return _unknown(self._model, due.window, version, cohort)
        reference = self._reference(version)
        cohort = cohort.of_positive(reference.positive)
        scores = version_scores(cohort.frame["scores"], version)
        y = cohort.y[scores.known]
        if y.size == 0:
            return None
        task = get_task(self._model.task)
        shares = share_counts(y, scores.decision[scores.known]) if task.decides else {}
        evaluation = task.evaluate(
            y, scores.score[scores.known], threshold=reference.threshold, costs=self._model.objective.costs
        )
        if share is None:
            checks, metrics = _untold(self._model, flagged), dict[str, Estimate]()
        else:
            checks, metrics = self._label_checks(due.window, version, reference, shares, evaluation)
            numbers["shares"] = {name: list(counts) for name, counts in shares.items()}
            if not task.decides or reference.external:
                numbers["metrics"] = {name: [one.point, _error(one)] for name, one in metrics.items()}
        return WindowReport(
            model=self._model.name,
            kind="outcomes",
            window=due.window,
            version=version,
            rows=cohort.rows + cohort.blocked + cohort.thinned,
            checks=checks,
            metrics=metrics,
            numbers=numbers,
            matured=int(y.size),
            positives=evaluation.positives,
        )

    def _label_checks(
        self,
        window: Window,
        version: int,
        reference: Reference,
        shares: Mapping[str, tuple[int, int]],
        evaluation: Evaluated,
    ) -> tuple[tuple[Check, ...], dict[str, Estimate]]:
        counts = {"rows": evaluation.rows, "positives": evaluation.positives}
        metrics = {name: estimate(wilson(*of), **counts) for name, of in shares.items() if of[1]}
        checks = []
        budgets = self._budgets()
        objective = [self._model.objective.metric] if self._model.objective.metric not in SHARES else []
        for name in dict.fromkeys([*self._model.monitor.checks, *objective]):
            budget = budgets.get(name)
            if name in SHARES and budget is not None:
                seen = [*counted(name, self._served(version)), _counted(window, shares[name])]
                per_alarm = budget.windows_per_alarm(self._window_days)
                expected: Expected | None = reference.expected.get(name)
                told: Sequence[Counted] = seen
                if expected is None and reference.external:
                    expected, told = first_windows(seen)
                if told:
                    verdict = share_verdict(name, told, expected, windows_per_alarm=per_alarm)
                else:
                    verdict = Verdict.undecided(f"{name}: {_reference_words(expected, version)}")
            elif name in METRICS and name not in SHARES:
                alpha = 0.0 if budget is None else budget.allot(self._window_days)[0]
                if METRICS[name].of_decisions and reference.threshold is None:
                    why = f"{name}: by which threshold v{version} decides is not known"
                    checks += [] if budget is None else [Check(name=name, verdict=Verdict.undecided(why))]
                    continue
                quiet = None
                if not reference.decides:  # every row of a regression tells, and still days are unlike each other
                    served = self._served(version)
                    quiet = [one.numbers["metrics"][name] for one in served if _has_metric(one, name)]
                registered = reference.metrics.get(name)
                if registered is None and reference.external:
                    registered = first_metric(name, [one.numbers for one in self._served(version)])
                interval, verdict = metric_verdict(name, evaluation, registered, alpha=alpha, quiet=quiet)
                if interval is not None:
                    metrics[name] = estimate(interval, **counts)
            else:
                continue
            if budget is not None:
                checks.append(Check(name=name, verdict=verdict))
        return tuple(checks), metrics

    def _served(self, version: int) -> list[PastWindow]:
        """The matured windows of a version, oldest first."""
        return [one for one in self._past if one.kind == "outcomes" and one.version == version]

    def _write(self, due: DueWindow, report: WindowReport) -> WindowReport:
        """The window's fact, and the alerts it opens and closes, in one transaction; a window judged before stays."""
        key = (f"check:{self._model.name}", due.name, 0)
        with self._ledger.transaction() as transaction:
            existing = transaction.keyed(*key)
            if existing is not None:
                report = replace(report, seq=existing.seq)
            else:
                fact = transaction.append("check.done", self._model.name, report.payload(), actor=_ACTOR, key=key)
                past = [*self._past, *past_windows([fact])]
                alerts = transaction.alerts(self._model.name, open_only=True)
                closings = alerts_to_close(report, alerts, past)
                openings = alerts_to_open(report, alerts, policy=self._model.on_alert)
                known = {alert.alert for alert in transaction.alerts(self._model.name)}
                openings = [one for one in openings if one.alert not in known]
                for closing in closings:
                    closed = AlertClosed(alert=closing.alert, model=self._model.name, reason=closing.reason)
                    transaction.append("alert.closed", closing.alert, closed, actor=_ACTOR, cause=fact.seq)
                for opening in openings:
                    transaction.append("alert.opened", opening.alert, opening, actor=_ACTOR, cause=fact.seq)
                report = replace(
                    report,
                    seq=fact.seq,
                    opened=tuple(one.alert for one in openings),
                    closed=tuple(one.alert for one in closings),
                )
        self._refresh()
        return report


def _nothing_seen(
    model: Model, window: Window, version: int, cohort: Matured, numbers: Mapping[str, Any]
) -> WindowReport:
    """A window of which no row can be judged: what was flagged was blocked, all of it, and is not known."""
    why = "no row can be judged, as nothing that was flagged was let through; let a share of it through"
    return WindowReport(
        model=model.name,
        kind="outcomes",
        window=window,
        version=version,
        rows=cohort.blocked + cohort.thinned,
        checks=_undecided(model, why),
        numbers=numbers,
    )


def _unknown(model: Model, window: Window, version: int, cohort: Matured) -> WindowReport:
    """A matured window of a version that something else serves and that has no reference yet."""
    why = f"v{version}, which something else serves, has no reference yet; 'everloop model add' gives it one"
    return WindowReport(
        model=model.name, kind="outcomes", window=window, version=version, rows=cohort.rows,
        checks=_undecided(model, why),
    )  # fmt: skip


def _reference_words(expected: Expected | None, version: int) -> str:
    if expected is None:
        return f"the first matured windows of v{version} are to be its reference, and hold too few rows yet"
    return f"{expected.point:.2f} in the first matured windows of v{version}, which are its reference"


def _untold(model: Model, flagged: Flagged) -> tuple[Check, ...]:
    """The checks with labels where too little was flagged to tell how often the other rows are to be seen."""
    why = f"{flagged.blocked} of {flagged.rows} flagged rows were blocked, too few to tell whether for being flagged"
    return _undecided(model, why)


def _undecided(model: Model, why: str) -> tuple[Check, ...]:
    names = [name for name in model.monitor.checks if name in METRICS]
    return tuple(Check(name=name, verdict=Verdict.undecided(f"{name}: {why}")) for name in names)


def _flagged(past: PastWindow) -> Flagged:
    """What was flagged in a matured window; nothing that is known in one judged before that was kept."""
    passed, blocked = past.numbers.get("flagged", (0, 0))
    return Flagged(passed=passed, blocked=blocked)


def _error(one: Estimate) -> float:
    """The standard error of an estimate that has an interval."""
    return 0.0 if one.low is None or one.high is None else (one.high - one.low) / (2 * 1.96)


def _has_metric(past: PastWindow, name: str) -> bool:
    """Whether an earlier window kept the metric, and it was not what its alert is about."""
    return name in past.numbers.get("metrics", {}) and past.outcomes.get(name) != "failed"


def _counted(window: Window, of: tuple[int, int]) -> Counted:
    return Counted(window=window, successes=of[0], n=of[1])


def live_window(
    frame: pl.DataFrame, score: np.ndarray[Any, Any], decisions: int, reference: Reference
) -> tuple[list[LiveColumn], LiveScores]:
    """A window's rows counted over a version's baseline: its columns, and what the version scored of them."""
    named = [_live_name(frame, column.name).alias(column.name) for column in reference.columns]
    profile = reference.baseline.profile(frame.select(named))
    columns = [
        LiveColumn(
            reference=column,
            counts=column.column.coarsened(profile.counts[column.name].astype(np.float64)),
            nulls=float(profile.nulls[column.name]),
        )
        for column in reference.columns
    ]
    column = None
    if reference.score is not None:
        scored = reference.baseline.profile(pl.DataFrame({SCORE: score})).counts[SCORE]
        counts = reference.score.column.coarsened(scored.astype(np.float64))
        column = LiveColumn(reference=reference.score, counts=counts, nulls=0.0)
    mean = float(score.mean(dtype=np.float64)) if score.size else 0.0
    scores = LiveScores(rows=int(score.size), decisions=decisions, mean=mean, column=column, decides=reference.decides)
    return columns, scores


def _live_name(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Where the log keeps a column: an input as it came, else a feature, else nowhere."""
    for place in (f"in_{name}", f"f_{name}"):
        if place in frame.columns:
            return pl.col(place)
    return pl.lit(None, dtype=pl.Float64)


def _unknown_columns(frame: pl.DataFrame, columns: Sequence[LiveColumn]) -> list[str]:
    """Inputs with values that came under another type than their column has."""
    known = {live.reference.name for live in columns}
    other = [name for name in frame.columns if name.startswith("in_") and "__" in name]
    return [
        name.removeprefix("in_")
        for name in other
        if name.removeprefix("in_").rpartition("__")[0] in known and frame[name].null_count() < frame.height
    ]


def is_whole(times: pl.Series, window: Window, *, usual_rows: float) -> bool:
    """Whether traffic covers the window as it covered the baseline's: else the hours of a day alone look shifted."""
    at = times.dt.epoch("us").to_numpy()
    covered = float(at.max() - at.min()) / ((window.end - window.start) / _US)
    return covered >= 0.75 or (covered >= 0.25 and len(times) >= 0.5 * usual_rows > 0)


def score_metrics(
    score: np.ndarray[Any, Any], decisions: int, threshold: float | None, *, decides: bool = False
) -> dict[str, Estimate]:
    """Mean score, shares of high, medium and low risk, and the share of positive decisions.

    The mean alone where nothing is decided; no shares of risk where the threshold is not known.
    """
    rows = int(score.size)
    if rows == 0:
        return {}
    found = {"mean_score": estimate(float(score.mean(dtype=np.float64)), rows=rows)}
    if threshold is None and not decides:
        return found
    shares = None if threshold is None else risk_shares(score, threshold)
    for name, share in ({} if shares is None else shares.to_dict()).items():
        found[f"{name}_risk_share"] = estimate(share, rows=rows)
    return found | {"decision_share": estimate(wilson(decisions, rows), rows=rows)}


def _holds_a_day(window: Window, days: Sequence[date]) -> bool:
    """Whether one of the days, sorted, has a part in the window."""
    at = bisect_left(days, window.start.date())
    return at < len(days) and days[at] <= (window.end - _US).date()
