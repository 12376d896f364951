"""Two versions on the same rows: what guardrails count, and what a comparison weighs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from everloop.monitoring.reading import version_scores
from everloop.traffic import TrafficLog

__all__ = ["PairedRows", "paired_rows"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRows:
    """The rows that both of two versions were asked; all arrays have shape (n,).

    champion_score, challenger_score: Float32, NaN where that side gave none.
    champion_decision, challenger_decision: bool, false where that side gave none.
    first, last: the span of their event times; None without rows.
    """

    champion_score: Array
    challenger_score: Array
    champion_decision: Array
    challenger_decision: Array
    first: datetime | None
    last: datetime | None

    def __len__(self) -> int:
        return len(self.champion_score)


def paired_rows(
    log: TrafficLog,
    *,
    challenger: int,
    champion: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> PairedRows:
    """What both versions said of the traffic in [since, until) that both were asked.

    No outcome is looked at. Rows of before the challenger was live, or after it was taken back, are not in; a row
    that it was asked and gave no score for is, with NaN: that is the error a guardrail counts.
    """
    frame = log.predictions(since, until).select("event_time", "scores").collect()
    one, two = version_scores(frame["scores"], champion), version_scores(frame["scores"], challenger)
    asked = one.asked & two.asked
    times = frame["event_time"].filter(asked)
    return PairedRows(
        champion_score=one.score[asked],
        challenger_score=two.score[asked],
        champion_decision=one.decision[asked],
        challenger_decision=two.decision[asked],
        first=times[0] if len(times) else None,
        last=times[-1] if len(times) else None,
    )
