"""What a demo showed: measured from the traffic log and counted from the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from everloop.replay.spans import Measured, Span
from everloop.replay.story import Event, History, story_of
from everloop.replay.world import WorldPlan

__all__ = ["ArmResult", "DemoResult"]

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One arm, by span: `everloop`, `weekly` (retrained every week without gates) or `never` (retrained)."""

    name: str
    spans: Mapping[str, Measured]

    def recall(self, span: str) -> float | None:
        """The recall of a span, None where the arm or the span has none."""
        found = self.spans.get(span)
        return None if found is None or found.recall is None else found.recall.point


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """A finished demo. requests, rows: sent. failures: requests without a good answer to every row.

    lost: acknowledged rows that the traffic log does not have. duplicates: rows that it has twice. facts: of the chain,
    which verified. digest: of the history, the same for a seed on any machine. pattern: the new pattern as the
    generator draws it, to hold the investigation's rule against.
    """

    seed: int
    drift: bool
    root: Path
    plan: WorldPlan
    spans: tuple[Span, ...]
    arms: tuple[ArmResult, ...]
    history: History
    pattern: str | None
    requests: int
    rows: int
    failures: int
    acknowledged: int
    lost: int
    duplicates: int
    facts: int
    digest: str
    chart: Path
    seconds: float

    @property
    def story(self) -> list[Event]:
        """What happened, by time."""
        return story_of(self.history, self.plan)

    @property
    def first_alert_at(self) -> datetime | None:
        """When the first alert after the change was opened."""
        return self._first_after("alert.opened")

    @property
    def first_promotion_at(self) -> datetime | None:
        """When the first challenger after the change became champion."""
        return self._first_after("rollout.promoted")

    @property
    def last_promotion_at(self) -> datetime | None:
        """When the last challenger became champion."""
        promoted = self.history.promotions
        return promoted[-1].at if promoted else None

    def _first_after(self, kind: str) -> datetime | None:
        since = self.plan.change_at
        return next((fact.at for fact in self.history.of(kind) if since is None or fact.at >= since), None)

    def _hours(self, at: datetime | None) -> float | None:
        since = self.plan.change_at
        return None if at is None or since is None else (at - since) / _HOUR

    def arm(self, name: str) -> ArmResult | None:
        """The arm of that name."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def recall(self, arm: str, span: str) -> float | None:
        """An arm's recall in a span."""
        found = self.arm(arm)
        return None if found is None else found.recall(span)

    @property
    def recovered(self) -> float | None:
        """Which part of the recall that the change cost came back; None where it cost nothing."""
        before, drifted, after = (self.recall("everloop", span) for span in ("before", "drifted", "after"))
        if before is None or drifted is None or after is None or before <= drifted:
            return None
        return (after - drifted) / (before - drifted)

    @property
    def settled_days(self) -> float | None:
        """Days from the last promotion to the span `after`; 14 are asked for."""
        at = self.last_promotion_at
        return None if at is None else (self.spans[-1].start - at) / timedelta(days=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "seed": self.seed,
            "drift": self.drift,
            "recall_before": self.recall("everloop", "before"),
            "recall_drifted": self.recall("everloop", "drifted"),
            "recall_after": self.recall("everloop", "after"),
            "weekly_after": self.recall("weekly", "after"),
            "never_after": self.recall("never", "after"),
            "recovered": self.recovered,
            "hours_to_alert": self._hours(self.first_alert_at),
            "hours_to_promotion": self._hours(self.first_promotion_at),
            "hours_to_last_promotion": self._hours(self.last_promotion_at),
            "days_from_last_promotion_to_after": self.settled_days,
            "requests": self.requests,
            "rows": self.rows,
            "failures": self.failures,
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "duplicates": self.duplicates,
            "alerts": len(self.history.alerts),
            "promotions": len(self.history.promotions),
            "refusals": len(self.history.refusals),
            "rollbacks": len(self.history.rollbacks),
            "seconds": round(self.seconds, 1),
            "change_at": None if self.plan.change_at is None else self.plan.change_at.isoformat(),
            "pattern": self.pattern,
            "spans": [
                {"name": span.name, "start": span.start.isoformat(), "end": span.end.isoformat()} for span in self.spans
            ],
            "arms": {arm.name: {name: measured.to_dict() for name, measured in arm.spans.items()} for arm in self.arms},
            "story": [
                {
                    "day": round(self.plan.day_of(event.at), 2),
                    "at": event.at.isoformat(),
                    "kind": event.kind,
                    "text": event.text,
                }
                for event in self.story
            ],
            "facts": self.facts,
            "history_digest": self.digest,
            "project": str(self.root),
            "chart": str(self.chart),
        }
