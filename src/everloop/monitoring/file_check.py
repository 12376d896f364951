"""`everloop check FILE`: past predictions of any model, judged as the monitor would have done. No project needed.

The first part of the file is the reference: what the model did while it was new. Every later window is judged once
its outcomes were due, with the checks, the detector and the one budget of the monitor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from everloop.data import EVENT_TIME, SCORE, Baseline, scan
from everloop.errors import NotEnoughData, UsageError
from everloop.monitoring.file_options import Called, as_argument, as_flag
from everloop.monitoring.file_rows import PastRows, past_rows
from everloop.monitoring.label_free import (
    LiveColumn,
    LiveScores,
    QuietWindow,
    drift_verdict,
    schema_verdict,
    score_verdict,
)
from everloop.monitoring.labelled import NEAR, SHARES, TOLERANCE, Counted, share_counts, share_verdict
from everloop.monitoring.monitor import is_whole
from everloop.monitoring.reference import WEEKDAYS, ColumnReference, Expected, column_reference
from everloop.monitoring.report import Check
from everloop.project import Budget, Objective, format_duration
from everloop.stats import Interval, OnlineBudget, binomial_drop_p, overdispersion, wilson
from everloop.tasks import choose_threshold, decided
from everloop.traffic import Window, windows

__all__ = ["Cost", "FileAlert", "FileCheck", "FileWindow", "check_file"]

Array = np.ndarray[Any, Any]
EvidenceKind = Literal["labels", "no labels"]

FALSE_ALARMS: Final = Budget.parse("1 per 10y")
REFERENCE_SHARE: Final = 0.3
THE_FRAME: Final = "the frame given"
_SPANS: Final = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 24 * 7, 24 * 28))
# A window should hold so many rows of the rarer class, and a file so many windows at most, to be read by people.
_LEAST_POSITIVES: Final = 20
_MOST_WINDOWS: Final = 200
_MOST_ASKED_WINDOWS: Final = 10_000
_LEAST_REFERENCE_WINDOWS: Final = 5
_RARE: Final = 0.1
_NINE_IN_TEN: Final = 0.9
_PASSED_IN_A_ROW: Final = 7
_UNSTEADY: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWindow:
    """One judged window. shares: recall, precision, accuracy, each with its interval, where it has rows for them.

    Of numbers the share that is near, and mean_error: how far off the scores were on average, in their unit.
    """

    window: Window
    rows: int
    positives: int
    mean_score: float
    shares: Mapping[str, Interval]
    counts: Mapping[str, tuple[int, int]]
    checks: tuple[Check, ...]
    mean_error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            **({} if self.mean_error is None else {"mean_error": self.mean_error}),
            "start": self.window.start.isoformat(),
            "end": self.window.end.isoformat(),
            "rows": self.rows,
            "positives": self.positives,
            "mean_score": self.mean_score,
            "shares": {name: one.to_dict() for name, one in self.shares.items()},
            "checks": [{"check": check.name, **check.verdict.to_dict()} for check in self.checks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What went wrong beyond the expected since a change: `excess` of `n`, such as positives missed."""

    what: str
    excess: float
    n: float

    def __str__(self) -> str:
        return f"{self.excess:,.0f} more {self.what} than expected"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"what": self.what, "excess": self.excess, "n": self.n}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAlert:
    """An alert that would have been raised.

    at: when; window: the one that raised it; since: when what it tells began, as far as the data says.
    until_alert, until_end: what it cost meanwhile, and up to the end of the file.
    """

    check: str
    evidence_kind: EvidenceKind
    at: datetime
    window: Window
    since: datetime
    sentence: str
    until_alert: Cost
    until_end: Cost

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "check": self.check,
            "evidence_kind": self.evidence_kind,
            "at": self.at.isoformat(),
            "window": {"start": self.window.start.isoformat(), "end": self.window.end.isoformat()},
            "since": self.since.isoformat(),
            "sentence": self.sentence,
            "until_alert": self.until_alert.to_dict(),
            "until_end": self.until_end.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """Past predictions judged. reference_end: windows from here on were judged; expected: of the reference.

    threshold: of decisions; of numbers, how far an outcome may lie from its score and be near.
    """

    path: str
    rows: int
    positives: int
    start: datetime
    end: datetime
    every: timedelta
    delay: timedelta
    false_alarms: Budget
    reference_end: datetime
    threshold: float
    threshold_from: str
    expected: Mapping[str, Interval]
    windows: tuple[FileWindow, ...]
    alerts: tuple[FileAlert, ...]
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        judged = f"{len(self.windows)} windows of {format_duration(self.every)}"
        if not self.alerts:
            return f"no alert in {judged} after the reference"
        first = self.alerts[0]
        kind = "on outcomes" if first.evidence_kind == "labels" else "without a label"
        return f"it would have alerted on {first.at:%Y-%m-%d %H:%M} UTC, {kind}: {first.sentence}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "path": self.path,
            "rows": self.rows,
            "positives": self.positives,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "every": format_duration(self.every),
            "delay": format_duration(self.delay),
            "false_alarms": str(self.false_alarms),
            "reference_end": self.reference_end.isoformat(),
            "threshold": self.threshold,
            "threshold_from": self.threshold_from,
            "expected": {name: one.to_dict() for name, one in self.expected.items()},
            "sentence": self.sentence,
            "alerts": [alert.to_dict() for alert in self.alerts],
            "windows": [window.to_dict() for window in self.windows],
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: the answer, the shares over time, the alerts, the windows."""
        from everloop.monitoring.file_page import file_check_fragment

        return file_check_fragment(self)


def check_file(
    rows: str | Path | pl.DataFrame,
    *,
    time: str,
    score: str,
    outcome: str,
    positive: str | None = None,
    threshold: float | None = None,
    every: timedelta | None = None,
    delay: timedelta = timedelta(0),
    false_alarms: Budget = FALSE_ALARMS,
    reference_share: float = REFERENCE_SHARE,
    columns: tuple[str, ...] = (),
    timezone: str = "UTC",
    time_unit: str | None = None,
    time_origin: str | None = None,
    absent_negative: bool = False,
) -> FileCheck:
    """When monitoring would have alerted on these predictions, and what it cost until then.

    rows: a CSV, Parquet or Delta file, or a frame of them, of which sentences name options as Python does.
    Outcomes that are fractions, or of more than twenty values, are numbers: then the share of them that is near the
    score is followed, and `threshold` is how near that is, None as near as nine in ten were in the reference.
    time, score, outcome: column names. positive: the outcome that counts as positive; None for 1, true, yes.
    threshold: a score from it on is a positive decision; None takes 0.5 for probabilities of a balanced problem, else
    what gives the best f1 on the reference. every: a window's length; None chooses one that holds some 20 of the
    rarer class. delay: how long after the prediction its outcome was known. false_alarms: over everything together.
    reference_share: of the file's span, at its start, in which the model is taken to have been right.
    columns: inputs to watch for drift as well. absent_negative: whether a missing outcome means negative.
    Raises UsageError, SourceError, ContractViolation, NotEnoughData, each one sentence.
    """
    source, called = (THE_FRAME, as_argument) if isinstance(rows, pl.DataFrame) else (str(rows), as_flag)
    asked = _Asked(
        threshold=threshold,
        every=every,
        delay=delay,
        false_alarms=false_alarms,
        reference_share=reference_share,
        columns=columns,
        called=called,
    )
    past = past_rows(
        rows.lazy() if isinstance(rows, pl.DataFrame) else scan(source, root=Path.cwd()),
        source=source,
        time=time,
        score=score,
        outcome=outcome,
        positive=positive,
        columns=columns,
        timezone=timezone,
        time_unit=time_unit,
        time_origin=time_origin,
        absent_negative=absent_negative,
        called=called,
    )
    return _checked(past, asked, source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is asked of the rows. called: how sentences name the options."""

    threshold: float | None
    every: timedelta | None
    delay: timedelta
    false_alarms: Budget
    reference_share: float
    columns: tuple[str, ...]
    called: Called

    def __post_init__(self) -> None:
        if not 0 < self.reference_share < 1:
            raise UsageError(f"the reference is a share between 0 and 1 of the file, not {self.reference_share:g}")


def _checked(past: PastRows, asked: _Asked, *, source: str) -> FileCheck:
    plan = _Plan.of(past, asked, source=source)
    if past.outcome is not None:
        cut, threshold_from = _near(past, plan, asked)
        past = past.near(cut)
    else:
        cut, threshold_from = _threshold(past, plan, asked)
    judge = _Judge.of(past, plan, threshold=cut, delay=asked.delay, budget=asked.false_alarms, columns=asked.columns)
    judged = judge.run()
    return FileCheck(
        path=source,
        rows=past.rows,
        positives=int(past.y.sum()),
        start=past.frame[EVENT_TIME][0],
        end=past.frame[EVENT_TIME][-1],
        every=plan.every,
        delay=asked.delay,
        false_alarms=asked.false_alarms,
        reference_end=plan.live[0].start,
        threshold=cut,
        threshold_from=threshold_from,
        expected={name: wilson(one.successes, one.n) for name, one in judge.expected.items() if name in judge.names},
        windows=tuple(judged),
        alerts=tuple(judge.alerts(judged)),
        notes=(*past.notes, *_unsteady(judge.reference_counts, asked)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Which rows are the reference, and the windows. Places are row numbers, [begin, end)."""

    every: timedelta
    reference: tuple[Window, ...]
    live: tuple[Window, ...]
    times_us: Array

    @classmethod
    def of(cls, past: PastRows, asked: _Asked, *, source: str) -> _Plan:
        every, reference_share = asked.every, asked.reference_share
        times = past.frame[EVENT_TIME]
        first, last = times[0], times[-1]
        span = last - first
        chosen = _window_length(past, span, reference_share) if every is None else every
        # The last row's own step belongs to the file: half-hourly rows end half an hour after the last.
        step = span / max(1, past.rows - 1)
        if chosen < span / _MOST_ASKED_WINDOWS:
            raise UsageError(
                f"{source} spans {_length(span)}, which is more than {_MOST_ASKED_WINDOWS:,} windows of "
                f"{format_duration(chosen)}; give longer ones ({asked.called('every', '')})"
            )
        laid = windows(first - step / 2, last + 1.5 * step, chosen)
        border = first + (span + step) * reference_share
        reference = tuple(one for one in laid if one.end <= border)
        live = tuple(one for one in laid if one.end > border)
        if len(reference) < _LEAST_REFERENCE_WINDOWS or not live:
            raise NotEnoughData(
                f"{source} spans {_length(span)}: its first "
                f"{reference_share:.0%} holds {len(reference)} whole windows of {format_duration(chosen)} and "
                f"{_LEAST_REFERENCE_WINDOWS} are needed; give a longer file, shorter windows "
                f"({asked.called('every', '')}) or a larger reference"
            )
        return cls(every=chosen, reference=reference, live=live, times_us=times.to_physical().to_numpy())

    def rows(self, window: Window) -> slice:
        """The rows of a window."""
        edges = [int(at.timestamp() * 1_000_000) for at in (window.start, window.end)]
        begin, end = np.searchsorted(self.times_us, edges, side="left").tolist()
        return slice(begin, end)

    @property
    def reference_rows(self) -> slice:
        """All rows of the reference windows."""
        return slice(self.rows(self.reference[0]).start, self.rows(self.reference[-1]).stop)


def _length(span: timedelta) -> str:
    return format_duration(timedelta(seconds=round(span.total_seconds())))


def _window_length(past: PastRows, span: timedelta, reference_share: float) -> timedelta:
    """The shortest of an hour, 6 hours, a day, a week, 4 weeks that holds enough of the rarer class.

    Shorter again where the reference would hold too few of them to show how windows differ.
    """
    rarer = past.rarer
    place = len(_SPANS) - 1
    for index, length in enumerate(_SPANS):
        count = span / length
        if rarer / max(1.0, count) >= _LEAST_POSITIVES and count <= _MOST_WINDOWS:
            place = index
            break
    while place > 0 and span * reference_share / _SPANS[place] < _LEAST_REFERENCE_WINDOWS + 2:
        place -= 1
    return _SPANS[place]


def _near(past: PastRows, plan: _Plan, asked: _Asked) -> tuple[float, str]:
    """How far off a score may be, where nobody says: as far as nine in ten of the reference were."""
    if asked.threshold is not None:
        return asked.threshold, "given"
    off = past.off[plan.reference_rows]
    off = off[np.isfinite(off)]
    if off.size == 0:
        raise NotEnoughData("no row of the reference part has an outcome; give a larger reference, or rows that have")
    return float(
        np.quantile(off, _NINE_IN_TEN)
    ), f"as nine in ten of the reference; {asked.called('threshold', '')} sets another"


def _threshold(past: PastRows, plan: _Plan, asked: _Asked) -> tuple[float, str]:
    if asked.threshold is not None:
        return asked.threshold, "given"
    another = f"{asked.called('threshold', '')} sets another"
    rows = plan.reference_rows
    known = past.known[rows]
    y, score = past.y[rows][known], past.score[rows][known]
    balanced = y.size > 0 and _RARE <= float(y.mean()) <= 1 - _RARE
    if balanced and past.score.min() >= 0 and past.score.max() <= 1:
        return 0.5, f"0.5, as neither class is rare; {another}"
    try:
        found = choose_threshold(Objective.parse("f1"), y, score)
    except NotEnoughData as error:
        raise NotEnoughData(f"the reference part has one class only, so no threshold can be chosen: {error}") from error
    return found, f"best f1 on the reference; {another}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Everything the windows are judged by, made from the reference alone. names: of the shares that are followed."""

    names: tuple[str, ...]
    past: PastRows
    plan: _Plan
    decision: Array
    delay: timedelta
    baseline: Baseline
    columns: tuple[ColumnReference, ...]
    score: ColumnReference
    expected: Mapping[str, Expected]
    reference_counts: Mapping[str, tuple[Counted, ...]]
    quiet: tuple[QuietWindow, ...]
    usual_rows: float
    budgets: Mapping[str, OnlineBudget]

    @classmethod
    def of(
        cls,
        past: PastRows,
        plan: _Plan,
        *,
        threshold: float,
        delay: timedelta,
        budget: Budget,
        columns: tuple[str, ...],
    ) -> _Judge:
        numeric, rows = past.outcome is not None, plan.reference_rows
        names = (NEAR,) if numeric else SHARES
        decision = decided(past.score, None if numeric else threshold)
        frame = past.frame.with_columns(pl.Series(SCORE, past.score))
        baseline = Baseline.build(_aligned(frame[rows], plan), window=plan.every)
        weights = {"score": 1.0} | dict.fromkeys(names, 3.0) | ({"schema": 1.0, "drift": 2.0} if columns else {})
        counts: dict[str, list[Counted]] = {name: [] for name in names}
        quiet = []
        for window in plan.reference:
            inside = plan.rows(window)
            for name, of in _shares(past, decision, inside).items():
                counts[name].append(Counted(window=window, successes=of[0], n=of[1]))
            if inside.stop > inside.start:
                quiet.append(_quiet(past, decision, inside, window))
        expected = {
            name: Expected(successes=sum(one.successes for one in of), n=sum(one.n for one in of))
            for name, of in counts.items()
        }
        flagged = Expected(successes=float(decision[rows].sum()), n=float(decision[rows].size))
        known = {name: one for name, one in expected.items() if one.n > 0}
        return cls(
            names=names,
            past=past,
            plan=plan,
            decision=decision,
            delay=delay,
            baseline=baseline,
            columns=tuple(column_reference(baseline, baseline.column(name), of_time=False) for name in columns),
            score=column_reference(baseline, baseline.column(SCORE), of_time=False),
            expected=known if numeric else known | {"decisions": flagged},
            reference_counts={name: tuple(of) for name, of in counts.items()},
            quiet=tuple(quiet),
            usual_rows=float(
                np.median([plan.rows(window).stop - plan.rows(window).start for window in plan.reference])
            ),
            budgets=OnlineBudget.of(count=budget.count, per_days=budget.per / timedelta(days=1)).split(weights),
        )

    def run(self) -> list[FileWindow]:
        """Every window after the reference, in order."""
        judged: list[FileWindow] = []
        for window in self.plan.live:
            inside = self.plan.rows(window)
            if inside.stop == inside.start:
                continue
            counts = _shares(self.past, self.decision, inside)
            checks = [*self._label_free(window, inside, judged), *self._labelled(window, counts, judged)]
            judged.append(
                FileWindow(
                    window=window,
                    rows=inside.stop - inside.start,
                    positives=int(self.past.y[inside].sum()),
                    mean_score=float(self.past.score[inside].mean()),
                    shares={name: wilson(*of) for name, of in counts.items() if of[1]},
                    counts=counts,
                    checks=tuple(checks),
                    mean_error=_mean_error(self.past, inside),
                )
            )
        return judged

    @property
    def _days(self) -> float:
        return self.plan.every / timedelta(days=1)

    def _label_free(self, window: Window, inside: slice, judged: Sequence[FileWindow]) -> list[Check]:
        rows, weekday = inside.stop - inside.start, WEEKDAYS[window.start.weekday()]
        frame = self.past.frame[inside].with_columns(pl.Series(SCORE, self.past.score[inside]))
        profile = self.baseline.profile(frame)
        live = {
            one.name: LiveColumn(
                reference=one,
                counts=one.column.coarsened(profile.counts[one.name].astype(np.float64)),
                nulls=float(profile.nulls[one.name]),
            )
            for one in (*self.columns, self.score)
        }
        whole = is_whole(frame[EVENT_TIME], window, usual_rows=self.usual_rows)
        alphas = {name: budget.allot(self._days)[0] for name, budget in self.budgets.items()}
        checks = []
        columns = [live[one.name] for one in self.columns]
        if columns:
            schema = schema_verdict(columns, alpha=alphas["schema"], rows=rows)
            drift = drift_verdict(columns, alpha=alphas["drift"], weekday=weekday, whole=whole, rows=rows)
            checks += [Check(name="schema", verdict=schema), Check(name="drift", verdict=drift)]
        scores = LiveScores(
            rows=rows,
            decisions=int(self.decision[inside].sum()),
            mean=float(self.past.score[inside].mean()),
            column=live[SCORE],
        )
        expected = self.expected.get("decisions")
        verdict = score_verdict(
            scores, self.quiet, expected=expected, alpha=alphas["score"], weekday=weekday, whole=whole
        )
        return [*checks, Check(name="score", verdict=verdict)]

    def _labelled(
        self, window: Window, counts: Mapping[str, tuple[int, int]], judged: Sequence[FileWindow]
    ) -> list[Check]:
        checks = []
        for name in self.names:
            seen = [Counted(window=one.window, successes=one.counts[name][0], n=one.counts[name][1]) for one in judged]
            seen.append(Counted(window=window, successes=counts[name][0], n=counts[name][1]))
            verdict = share_verdict(
                name,
                seen,
                self.expected.get(name),
                windows_per_alarm=self.budgets[name].windows_per_alarm(self._days),
                quiet=self.reference_counts[name],
            )
            checks.append(Check(name=name, verdict=verdict))
        return checks

    def alerts(self, judged: Sequence[FileWindow]) -> list[FileAlert]:
        """The alerts, each check's first until it has passed seven windows in a row, in the order they came."""
        found: list[FileAlert] = []
        passed: dict[str, int] = {}
        for place, one in enumerate(judged):
            for check in one.checks:
                if check.verdict.is_failed and passed.get(check.name, _PASSED_IN_A_ROW) >= _PASSED_IN_A_ROW:
                    found.append(self._alert(check, one, judged, place))
                passed[check.name] = 0 if check.verdict.is_failed else passed.get(check.name, _PASSED_IN_A_ROW) + 1
        return sorted(found, key=lambda alert: (alert.at, alert.evidence_kind))

    def _alert(self, check: Check, one: FileWindow, judged: Sequence[FileWindow], place: int) -> FileAlert:
        labels = check.name in self.names
        since = datetime.fromisoformat(str(check.verdict.evidence["since"])) if labels else one.window.start
        name = check.name if labels else self.names[0]
        after = [(index, other) for index, other in enumerate(judged) if other.window.start >= since]
        return FileAlert(
            check=check.name,
            evidence_kind="labels" if labels else "no labels",
            at=one.window.end + (self.delay if labels else timedelta(0)),
            window=one.window,
            since=since,
            sentence=check.verdict.sentence,
            until_alert=self._cost(name, [other for index, other in after if index <= place]),
            until_end=self._cost(name, [other for _, other in after]),
        )

    def _cost(self, name: str, part: Sequence[FileWindow]) -> Cost:
        what = {"recall": "missed positives", "precision": "false alarms of the model", "accuracy": "wrong decisions"}
        what |= {NEAR: "outcomes far from the score"}
        right, n = sum(one.counts[name][0] for one in part), sum(one.counts[name][1] for one in part)
        expected = self.expected.get(name)
        excess = 0.0 if expected is None else max(0.0, expected.point * n - right)
        return Cost(what=what[name], excess=excess, n=n)


def _unsteady(counts: Mapping[str, Sequence[Counted]], asked: _Asked) -> Iterator[str]:
    """A word for each share that fell within the reference already: how it differs there hides what comes after."""
    for name, of in counts.items():
        first, second = of[: len(of) // 2], of[len(of) // 2 :]
        (before, rows), (after, later) = (
            (sum(one.successes for one in half), sum(one.n for one in half)) for half in (first, second)
        )
        if rows == 0 or later == 0:
            continue
        spread = max(
            overdispersion([one.successes for one in half], [one.n for one in half]) for half in (first, second)
        )
        p = binomial_drop_p(after, later, expected_successes=before, expected_n=rows, dispersion=spread)
        if p < _UNSTEADY and after / later < before / rows - TOLERANCE:
            yield (
                f"the reference is not steady: {name} {before / rows:.2f} in its first half, {after / later:.2f} in "
                f"its second; hold the rest against less of it with "
                f"{asked.called('reference', f'{asked.reference_share / 2:.2g}')}"
            )


def _aligned(frame: pl.DataFrame, plan: _Plan) -> pl.DataFrame:
    """The reference's rows with times moved so that the plan's windows are the baseline's, which count from 1970."""
    every_us = plan.every // timedelta(microseconds=1)
    start_us = int(plan.reference[0].start.timestamp() * 1_000_000)
    shift = -(start_us % every_us)
    return frame.with_columns(pl.col(EVENT_TIME) + pl.duration(microseconds=shift)) if shift else frame


def _shares(past: PastRows, decision: Array, rows: slice) -> dict[str, tuple[int, int]]:
    known = past.known[rows]
    if past.outcome is not None:
        return {NEAR: (int(past.y[rows].sum()), int(known.sum()))}
    return share_counts(past.y[rows][known], decision[rows][known])


def _mean_error(past: PastRows, rows: slice) -> float | None:
    if past.outcome is None or not past.known[rows].any():
        return None
    return float(np.nanmean(past.off[rows]))


def _quiet(past: PastRows, decision: Array, rows: slice, window: Window) -> QuietWindow:
    return QuietWindow(
        weekday=WEEKDAYS[window.start.weekday()],
        rows=rows.stop - rows.start,
        decisions=int(decision[rows].sum()),
        mean=float(past.score[rows].mean()),
    )
