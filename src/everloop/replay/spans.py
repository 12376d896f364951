"""Before, drifted, after: the spans of a demo, and what an arm did in each, as the log and the outcomes say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from everloop.replay.world import WorldPlan
from everloop.stats import Interval, wilson

__all__ = ["AFTER", "Measured", "Span", "measured", "spans_of"]

AFTER: Final = timedelta(days=14)
Times = np.ndarray[Any, np.dtype[np.datetime64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The half-open span [start, end) of event time."""

    name: str
    start: datetime
    end: datetime

    def among(self, times: Times) -> Flags:
        """Which of the times (UTC, naive as NumPy has them) lie in the span."""
        low, high = (np.datetime64(at.replace(tzinfo=None), "us") for at in (self.start, self.end))
        inside: Flags = (times >= low) & (times < high)
        return inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an arm did in a span: None where there was nothing to measure it on."""

    rows: int
    positives: int
    flagged: int
    recall: Interval | None
    precision: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "rows": self.rows,
            "positives": self.positives,
            "flagged": self.flagged,
            "recall": None if self.recall is None else self.recall.to_dict(),
            "precision": None if self.precision is None else self.precision.to_dict(),
        }


def measured(truth: Flags, decision: Flags) -> Measured:
    """Recall and precision with their 95 % intervals (Wilson). truth, decision: shape (n,)."""
    positives, flagged, hits = int(truth.sum()), int(decision.sum()), int((truth & decision).sum())
    return Measured(
        rows=len(truth),
        positives=positives,
        flagged=flagged,
        recall=wilson(hits, positives) if positives else None,
        precision=wilson(hits, flagged) if flagged else None,
    )


def spans_of(plan: WorldPlan, *, first_exposure_at: datetime | None) -> tuple[Span, ...]:
    """before: start to change. drifted: change to the first answer of a challenger given to a customer (its first
    canary step; in the shadow nobody sees it). after: the last 14 days, whose outcomes are all known at the plan's end.

    Without a change, or where no challenger was exposed, what would begin with it goes on to where `after` begins.
    """
    after = Span(name="after", start=max(plan.opens_at, plan.closes_at - AFTER), end=plan.closes_at)
    if plan.change_at is None or plan.change_at >= after.start:
        return (Span(name="before", start=plan.opens_at, end=after.start), after)
    exposed = first_exposure_at if first_exposure_at is not None else after.start
    return (
        Span(name="before", start=plan.opens_at, end=plan.change_at),
        Span(name="drifted", start=plan.change_at, end=max(plan.change_at, min(exposed, after.start))),
        after,
    )
