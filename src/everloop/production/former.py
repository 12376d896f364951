"""What is usual: the trainings of a model that became versions, as the ledger has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from everloop.ledger import Version

__all__ = ["FormerTraining", "Usual", "former_trainings"]

MOST_FORMER = 10
_DAY = timedelta(days=1)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerTraining:
    """The rows of one training.

    span: from the first row to the last. window: `train.window` then, None where all was taken. target_mean: of the
    target as numbers, None where it was not kept.
    """

    version: int
    rows: int
    positives: float
    span: timedelta
    window: timedelta | None
    target_mean: float | None

    @property
    def per_day(self) -> float:
        """Rows a day of its span; of a span of no length, the rows."""
        return self.rows / (self.span / _DAY) if self.span > timedelta(0) else float(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "version": self.version,
            "rows": self.rows,
            "positives": self.positives,
            "days": round(self.span / _DAY, 3),
            "target_mean": self.target_mean,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """The median of former trainings, and of how many."""

    value: float
    trainings: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Usual | None:
        """None where there is no former training."""
        return cls(value=float(median(values)), trainings=len(values)) if values else None

    @property
    def said(self) -> str:
        """`the median of 4 trainings`."""
        return f"the median of {self.trainings} trainings" if self.trainings > 1 else "the only training before"


def former_trainings(versions: Sequence[Version]) -> tuple[FormerTraining, ...]:
    """Those of the newest ten versions, oldest first."""
    found = (_former(version) for version in versions[-MOST_FORMER:])
    return tuple(training for training in found if training is not None)


def _former(version: Version) -> FormerTraining | None:
    data, details = version.data, version.record.get("details") or {}
    if data is None or not data.get("start") or not data.get("end"):
        return None
    start, end = (datetime.fromisoformat(data[name]) for name in ("start", "end"))
    window_us, positives = details.get("window_us"), data.get("positives")
    return FormerTraining(
        version=version.number,
        rows=data["rows"],
        positives=data["rows"] if positives is None else positives,
        span=end - start,
        window=None if window_us is None else window_us * _US,
        target_mean=details.get("target_mean"),
    )
