"""Volume and target rate over time, in buckets a person would choose, and the two halves of the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Halves", "Period", "Span", "halves", "periods"]

_BUCKETS: Final = (
    ("5m", timedelta(minutes=5)),
    ("1h", timedelta(hours=1)),
    ("6h", timedelta(hours=6)),
    ("1d", timedelta(days=1)),
    ("7d", timedelta(days=7)),
    ("30d", timedelta(days=30)),
    ("365d", timedelta(days=365)),
)
_MOST_BUCKETS: Final = 60

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The first and the last event time, UTC."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How much time lies between the first and the last row."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One bucket of time. rows and positives are counted; rate is weighted, in [0, 1], None without a target."""

    start: datetime
    rows: int
    positives: int
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """The target in one half of the rows, in order of time.

    rows, positives: counted; rate: weighted; effective: how many equally weighted rows the half is worth (Kish).
    """

    rows: int
    positives: int
    rate: float
    effective: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """The earlier and the later half of the rows; both hold half of them, whatever time that took."""

    earlier: Half
    later: Half
    cut: datetime


def bucket_of(length: timedelta) -> str:
    """The finest bucket that gives at most 60 of them over `length`, in Polars' words."""
    for name, width in _BUCKETS:
        if length <= width * _MOST_BUCKETS:
            return name
    return _BUCKETS[-1][0]


def periods(times: pl.Series, y: Floats | None, *, weight: Floats) -> tuple[Period, ...]:
    """Volume and weighted target rate of every bucket that has rows, in order.

    times: event times, UTC, none missing; y: shape (n,), 0, 1 or NaN where the outcome is missing; weight: (n,).
    """
    if times.is_empty():
        return ()
    start, end = times.min(), times.max()
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    target = np.full(len(times), np.nan) if y is None else y
    known = np.isfinite(target)
    frame = pl.DataFrame(
        {
            "at": times,
            "positive": np.where(known, target, 0.0),
            "known_weight": np.where(known, weight, 0.0),
            "weight": weight,
        }
    )
    grouped = (
        frame.group_by(pl.col("at").dt.truncate(bucket_of(end - start)))
        .agg(
            pl.len().alias("rows"),
            pl.col("positive").sum(),
            (pl.col("positive") * pl.col("weight")).sum().alias("positive_weight"),
            pl.col("known_weight").sum(),
        )
        .sort("at")
    )
    return tuple(
        Period(start=at, rows=rows, positives=int(count), rate=part / whole if whole > 0 else None)
        for at, rows, count, part, whole in grouped.iter_rows()
    )


def _half(y: Floats, weight: Floats) -> Half:
    known = np.isfinite(y)
    y, weight = y[known], weight[known]
    total, squares = float(weight.sum()), float((weight**2).sum())
    return Half(
        rows=int(y.size),
        positives=int(y.sum()),
        rate=float((y * weight).sum()) / total if total else 0.0,
        effective=total**2 / squares if squares else 0.0,
    )


def halves(times: pl.Series, y: Floats, *, weight: Floats) -> Halves | None:
    """The target in the earlier and the later half of the rows, by time; None below 100 rows or without a middle."""
    cut = times.median()
    if len(times) < 100 or not isinstance(cut, datetime):
        return None
    later = (times > cut).to_numpy()
    if not later.any() or later.all():
        return None
    return Halves(earlier=_half(y[~later], weight[~later]), later=_half(y[later], weight[later]), cut=cut)
