"""Traffic as the checks read it: each version's own scores, and matured rows with their truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from everloop.ids import routing_unit
from everloop.project import Model
from everloop.stats import wilson
from everloop.traffic import TrafficLog, Window

__all__ = ["Matured", "VersionScores", "champion_of", "matured_rows", "span_words", "version_scores", "window_name"]

Array = np.ndarray[Any, Any]
# Blocked by a rule that does not ask the model, few of the positive answers are; blocked for their answer, nearly all.
_MOSTLY = 0.5
_THINNING = "outcome.acts"
_KEPT = ("prediction_id", "event_time", "side", "answered_version", "decision", "scores")


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

    frame: `prediction_id, event_time, side, answered_version, decision, scores, outcome, outcome_text`. y: shape (n,),
    bool. blocked: rows left out because the answer given kept their outcome from happening. thinned: rows left out
    beside them, so that the others are not seen more often than those. flagged: of the rows answered positively, how
    many were let through and how many blocked.
    """

    frame: pl.DataFrame
    y: Array
    blocked: int
    thinned: int = 0
    flagged: tuple[int, int] = (0, 0)

    @property
    def rows(self) -> int:
        """How many rows are judged."""
        return self.frame.height

    @property
    def positives(self) -> int:
        """How many of them are positive."""
        return int(self.y.sum())

    def of_positive(self, positive: bool | int | float | str | None) -> Matured:
        """The cohort with another value as the positive class."""
        return replace(self, y=_truth(self.frame, positive))

    def cut(self, ends: Sequence[datetime]) -> Iterator[Matured]:
        """The cohort in parts: rows before the first end, before the second … ; none is blocked in the parts."""
        places = self.frame["event_time"].search_sorted(pl.Series(ends, dtype=pl.Datetime("us", "UTC"))).to_list()
        begin = 0
        for place in places:
            yield Matured(frame=self.frame[begin:place], y=self.y[begin:place], blocked=0)
            begin = place


def matured_rows(
    log: TrafficLog,
    model: Model,
    *,
    start: datetime | None,
    end: datetime | None,
    as_of: datetime,
    positive: bool | int | float | str | None = None,
    compared: bool = False,
    flagged: tuple[int, int] = (0, 0),
) -> Matured:
    """The rows of [start, end) whose outcome was due at `as_of`, with what was known of it then and nothing later.

    positive: the target's value that is the positive class; None means 1 or true.
    Rows that were blocked (outcome.acts) are left out: silence says nothing about them. The random holdout was let
    through and is in.
    compared: for shares and comparisons, where it counts how often each kind of row is seen. Where most of what was
    answered positively is blocked, the other rows are left out as often, at random by their id: else every positive
    that was missed is seen and hardly one that was caught. flagged: as `Matured.flagged`, of cohorts before this one.
    """
    outcome = model.outcome
    lazy = log.labelled(
        start, end, as_of=as_of, delay=outcome.delay, absent=outcome.absent, target=model.data.target
    ).select(*_KEPT, "outcome", "outcome_text")
    frame, blocked, thinned, through = lazy.collect(), 0, 0, (0, 0)
    if outcome.acts is not None and frame.height:
        acts = log.known(as_of, name=outcome.acts.column)
        values = [str(value) for value in outcome.acts.blocked]
        stopped = acts.filter(pl.col("outcome_text").is_in(values)).select("prediction_id").collect()
        kept = frame.join(stopped, on="prediction_id", how="anti", maintain_order="left")
        passed = int(kept["decision"].sum())
        through = passed, int(frame["decision"].sum()) - passed
        frame, blocked = kept, frame.height - kept.height
        if compared:
            frame = _as_often(frame, through[0] + flagged[0], through[1] + flagged[1])
            thinned = kept.height - frame.height
    return Matured(frame=frame, y=_truth(frame, positive), blocked=blocked, thinned=thinned, flagged=through)


def _as_often(rows: pl.DataFrame, passed: int, blocked: int) -> pl.DataFrame:
    """The rows, those answered negatively as often as those answered positively were let through, if few were."""
    if wilson(blocked, passed + blocked).low <= _MOSTLY:
        return rows
    limit = int(passed / (passed + blocked) * 2**64)
    ids = zip(rows["prediction_id"], rows["decision"], strict=True)
    keep = [decided or routing_unit(_THINNING, key) < limit for key, decided in ids]
    return rows.filter(pl.Series(keep, dtype=pl.Boolean))


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
