"""Traffic as the checks read it: each version's own scores, and matured rows with their truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from everloop.monitoring.flagged import Flagged, seen_as_often
from everloop.project import Model
from everloop.tasks import get_task
from everloop.traffic import TrafficLog, Window

__all__ = ["Matured", "VersionScores", "champion_of", "matured_rows", "span_words", "version_scores", "window_name"]

Array = np.ndarray[Any, Any]
_KEPT = ("prediction_id", "event_time", "side", "answered_version", "decision", "scores")
_ACTED = ("event_time", "side", "answered_version", "decision")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionScores:
    """What one version said of rows it may or may not have scored.

    score: shape (n,), Float32, NaN where it gave none. decision: shape (n,), bool, false where it gave none.
    asked: shape (n,), bool: whether it was live for the row, score or not.
    """

    score: Array
    decision: Array
    asked: Array

    @property
    def known(self) -> Array:
        """Which rows it scored, shape (n,), bool."""
        return np.isfinite(self.score)


def version_scores(scores: pl.Series, version: int) -> VersionScores:
    """One version's scores out of the log's column `scores`, which holds every live version's."""
    n = len(scores)
    score = np.full(n, np.nan, dtype=np.float32)
    decision, asked = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    lengths = scores.list.len().fill_null(0).to_numpy()
    flat = scores.filter(pl.Series(lengths > 0)).explode()
    if len(flat):
        rows = np.repeat(np.arange(n), lengths)
        mine = flat.struct.field("version").to_numpy() == version
        asked[rows[mine]] = True
        score[rows[mine]] = flat.struct.field("score").fill_null(float("nan")).to_numpy()[mine]
        decision[rows[mine]] = flat.struct.field("decision").fill_null(False).to_numpy()[mine]
    return VersionScores(score=score, decision=decision & np.isfinite(score), asked=asked)


def champion_of(frame: pl.DataFrame) -> int | None:
    """The version that answered most of the champion's side of these rows, the newer one where two did as many.

    The rows say it, not the ledger's calendar: so a window is judged against whoever served it, also where
    traffic of other years is sent through. Rows of a challenger's side alone give the version most of them had.
    """
    answered = frame.filter(pl.col("side") == "champion")
    answered = frame if answered.height == 0 else answered
    counts = answered["answered_version"].drop_nulls().value_counts()
    if counts.height == 0:
        return None
    return int(counts.sort("count", "answered_version", descending=True)["answered_version"][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Matured:
    """A matured cohort: rows whose outcome was due and could happen.

    frame: `prediction_id, event_time, side, answered_version, decision, scores, outcome, outcome_text`.
    y: shape (n,), bool; of a regression the outcomes themselves, float64.
    acted: where answers act on their outcome, every row that was due, with its outcome or without: `event_time, side,
    answered_version, decision, blocked`; else empty. thinned: rows left out by `as_often`.
    """

    frame: pl.DataFrame
    y: Array
    acted: pl.DataFrame
    thinned: int = 0

    @property
    def rows(self) -> int:
        """How many rows are judged."""
        return self.frame.height

    @property
    def positives(self) -> int:
        """How many of them are positive; all of them where outcomes are numbers."""
        return int(self.y.sum()) if self.y.dtype == bool else self.rows

    @property
    def blocked(self) -> int:
        """Rows left out because the answer given kept their outcome from happening."""
        return int(self.acted["blocked"].sum())

    @property
    def flagged(self) -> Flagged:
        """What was answered positively, by whether it was let through."""
        blocked = self.acted.filter("decision")["blocked"]
        stopped = int(blocked.sum())
        return Flagged(passed=len(blocked) - stopped, blocked=stopped)

    @property
    def version(self) -> int | None:
        """The champion of the rows that can be judged, or of all where none can."""
        version = champion_of(self.frame)
        return champion_of(self.acted) if version is None else version

    def of_positive(self, positive: bool | int | float | str | None) -> Matured:
        """The cohort with another value as the positive class; as it is where outcomes are numbers."""
        return replace(self, y=_truth(self.frame, positive)) if self.y.dtype == bool else self

    def as_often(self, share: float) -> Matured:
        """The cohort, with this share of the rows answered negatively: as often as the others were let through."""
        if share >= 1.0:
            return self
        kept = seen_as_often(self.frame["prediction_id"], self.frame["decision"], share)
        thinned = self.thinned + int((~kept).sum())
        return replace(self, frame=self.frame.filter(kept), y=self.y[kept], thinned=thinned)

    def cut(self, ends: Sequence[datetime]) -> Iterator[Matured]:
        """The cohort, before any row is thinned, in parts: what is before the first end, before the second …"""
        at = pl.Series(ends, dtype=pl.Datetime("us", "UTC"))
        places = [frame["event_time"].search_sorted(at).to_list() for frame in (self.frame, self.acted)]
        begin = begin_acted = 0
        for place, place_acted in zip(*places, strict=True):
            yield Matured(
                frame=self.frame[begin:place], y=self.y[begin:place], acted=self.acted[begin_acted:place_acted]
            )
            begin, begin_acted = place, place_acted


def matured_rows(
    log: TrafficLog,
    model: Model,
    *,
    start: datetime | None,
    end: datetime | None,
    as_of: datetime,
    positive: bool | int | float | str | None = None,
) -> Matured:
    """The rows of [start, end) whose outcome was due at `as_of`, with what was known of it then and nothing later.

    positive: the target's value that is the positive class; None means 1 or true. A regression has none.
    Rows that were blocked (outcome.acts) are left out: silence says nothing about them. The random holdout was let
    through and is in. For shares and comparisons take `Matured.as_often` of them.
    """
    outcome, acts = model.outcome, model.outcome.acts
    # a blocked row has no outcome, so the silent ones are left out only after the blocked ones were counted
    absent = outcome.absent if acts is None else "negative"
    lazy = log.labelled(start, end, as_of=as_of, delay=outcome.delay, absent=absent, target=model.data.target)
    frame = lazy.select(*_KEPT, "outcome", "outcome_text").collect()
    stopped = pl.Series(np.zeros(frame.height, dtype=bool))
    if acts is not None and frame.height:
        said = pl.col("outcome_text").is_in([str(value) for value in acts.blocked])
        known = log.known(as_of, name=acts.column, within=(start, end))
        ids = known.filter(said).select("prediction_id").collect()
        stopped = frame["prediction_id"].is_in(ids["prediction_id"].implode())
    acted = frame.select(*_ACTED, blocked=stopped) if acts is not None else frame.clear().select(*_ACTED, blocked=False)
    frame = frame.filter(~stopped)
    if acts is not None and outcome.absent == "unknown":
        frame = frame.filter(pl.col("outcome_text").is_not_null())
    if not get_task(model.task).decides:
        frame = frame.filter(pl.col("outcome").is_finite().fill_null(False))
        return Matured(frame=frame, y=frame["outcome"].cast(pl.Float64).to_numpy(), acted=acted)
    return Matured(frame=frame, y=_truth(frame, positive), acted=acted)


def _truth(frame: pl.DataFrame, positive: bool | int | float | str | None) -> Array:
    if isinstance(positive, str):
        hit = frame["outcome_text"] == positive
    else:
        hit = frame["outcome"] == (1.0 if positive is None else float(positive))
    truth: Array = hit.fill_null(False).to_numpy()
    return truth


def window_name(window: Window) -> str:
    """How a window is called in keys: its start, to the minute or as fine as it needs."""
    start = window.start
    return start.strftime("%Y-%m-%dT%H:%MZ" if start.second == start.microsecond == 0 else "%Y-%m-%dT%H:%M:%S.%fZ")


def span_words(windows: Sequence[Window]) -> str:
    """`2026-03-04 to 2026-03-09` for whole days, else with hours; one window alone has one name."""
    first, last = windows[0], windows[-1]
    days = all(at.hour == at.minute == at.second == 0 for at in (first.start, last.end))
    if days:
        begin, end = f"{first.start:%Y-%m-%d}", f"{last.end - timedelta(days=1):%Y-%m-%d}"
        return begin if begin == end else f"{begin} to {end}"
    return f"{first.start:%Y-%m-%d %H:%M} to {last.end:%Y-%m-%d %H:%M}"
