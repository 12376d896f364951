"""Volume and target over time, in buckets a person would choose, by hour and weekday, and its two halves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Buckets", "Half", "Halves", "Period", "Season", "Span", "halves", "periods", "seasons"]

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
    """One bucket of time.

    rows and positives are counted; rate is the weighted share of positives, in [0, 1], or the weighted mean of a
    numeric target; None without a target.
    """

    start: datetime
    rows: int
    positives: int
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """The rows of one hour of the day (0 to 23), weekday (1 Monday to 7) or month (1 to 12), in the model's time zone.

    rows, rate: as in Period. share: of all rows, in [0, 1].
    """

    part: Literal["hour", "weekday", "month"]
    value: int
    rows: int
    share: float
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """The target in one half of the rows, in order of time.

    rows, positives: counted; rate: weighted; effective: how many equally weighted rows the half is worth (Kish).
    spread: standard deviation of a numeric target, None of two classes.
    """

    rows: int
    positives: int
    rate: float
    effective: float
    spread: float | None = None


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


_FINEST: Final = "5m"
_FAR: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Buckets:
    """Rows and target by five minutes: `a + b` are the buckets of both, so that a source is counted block by block.

    frame: `at` (UTC), `rows`, `positives` (counted), `sum` (weight · y), `known` (weight of rows with an outcome).
    """

    frame: pl.DataFrame
    numeric: bool = False

    @classmethod
    def none(cls, *, numeric: bool = False) -> Buckets:
        """The buckets of no rows."""
        return cls.of(pl.Series([], dtype=pl.Datetime("us", "UTC")), None, weight=np.zeros(0), numeric=numeric)

    @classmethod
    def of(cls, times: pl.Series, y: Floats | None, *, weight: Floats, numeric: bool = False) -> Buckets:
        """times: UTC, none missing; y: shape (n,), NaN where the outcome is missing; weight: shape (n,)."""
        target = np.full(len(times), np.nan) if y is None else y
        known = np.isfinite(target)
        counted = np.zeros(len(times)) if numeric else np.where(known, target, 0.0)
        frame = pl.DataFrame(
            {
                "at": times.dt.truncate(_FINEST),
                "positives": counted,
                "sum": np.where(known, target, 0.0) * weight,
                "known": np.where(known, weight, 0.0),
            }
        )
        return cls(frame=_added(frame.with_columns(pl.lit(1, pl.Int64).alias("rows"))), numeric=numeric)

    def __add__(self, other: Buckets) -> Buckets:
        return Buckets(
            frame=_added(pl.concat([self.frame, other.frame.select(self.frame.columns)])), numeric=self.numeric
        )

    def near(self) -> Buckets:
        """Without the rows that lie further from 99.8 % of the others than all of those span, as misdated ones do."""
        reached = self.frame["rows"].cum_sum() / max(self.rows, 1)
        among = self.frame["at"].filter((reached > _FAR) & (reached.shift(1, fill_value=0.0) < 1 - _FAR))
        low, high = among.min(), among.max()
        if not isinstance(low, datetime) or not isinstance(high, datetime) or low == high:
            return self
        there = pl.col("at").is_between(low - (high - low), high + (high - low))
        return Buckets(frame=self.frame.filter(there), numeric=self.numeric)

    @property
    def rows(self) -> int:
        """All rows."""
        return int(self.frame["rows"].sum())

    @property
    def positives(self) -> int:
        """All positives; 0 of a numeric target."""
        return int(self.frame["positives"].sum())

    @property
    def rate(self) -> float:
        """The weighted rate, or mean, over all; 0 without an outcome."""
        known = float(self.frame["known"].sum())
        return float(self.frame["sum"].sum()) / known if known > 0 else 0.0


def _added(frame: pl.DataFrame) -> pl.DataFrame:
    sums = [pl.col(name).sum() for name in ("rows", "positives", "sum", "known")]
    return frame.group_by("at").agg(sums).sort("at")


def periods(buckets: Buckets) -> tuple[Period, ...]:
    """Volume and weighted target rate of every bucket of a readable width that has rows, in order."""
    frame = buckets.frame
    if frame.is_empty():
        return ()
    start, end = frame["at"][0], frame["at"][-1]
    coarse = _added(frame.with_columns(pl.col("at").dt.truncate(bucket_of(end - start))))
    return tuple(
        Period(start=at, rows=rows, positives=int(positives), rate=part / known if known > 0 else None)
        for at, rows, positives, part, known in coarse.iter_rows()
    )


def seasons(buckets: Buckets, *, timezone: str) -> tuple[Season, ...]:
    """Hours of the day from two days on, weekdays from two weeks, months from two years; in the model's time zone."""
    frame = buckets.frame
    if frame.is_empty():
        return ()
    length = frame["at"][-1] - frame["at"][0]
    local = frame.with_columns(pl.col("at").dt.convert_time_zone(timezone))
    parts: tuple[tuple[Literal["hour", "weekday", "month"], int], ...] = (("hour", 2), ("weekday", 14), ("month", 730))
    found: list[Season] = []
    for part, days in parts:
        # a day less, so that 48 hours of rows, the last of them at 23:58, count as two days
        if length < timedelta(days=days) - timedelta(hours=1):
            continue
        grouped = _added(local.with_columns(getattr(pl.col("at").dt, part)().alias("at")))
        total = int(grouped["rows"].sum())
        found += [
            Season(part=part, value=int(at), rows=rows, share=rows / total, rate=into / known if known > 0 else None)
            for at, rows, _, into, known in grouped.iter_rows()
        ]
    return tuple(found)


def _half(y: Floats, weight: Floats, *, numeric: bool) -> Half:
    known = np.isfinite(y)
    y, weight = y[known], weight[known]
    total, squares = float(weight.sum()), float((weight**2).sum())
    rate = float((y * weight).sum()) / total if total else 0.0
    return Half(
        rows=int(y.size),
        positives=0 if numeric else int(y.sum()),
        rate=rate,
        effective=total**2 / squares if squares else 0.0,
        spread=float(np.sqrt(np.average((y - rate) ** 2, weights=weight))) if numeric and total else None,
    )


def halves(times: pl.Series, y: Floats, *, weight: Floats, numeric: bool = False) -> Halves | None:
    """The target in the earlier and the later half of the rows, by time; None below 100 rows or without a middle."""
    cut = times.median()
    if len(times) < 100 or not isinstance(cut, datetime):
        return None
    later = (times > cut).to_numpy()
    if not later.any() or later.all():
        return None
    earlier_half = _half(y[~later], weight[~later], numeric=numeric)
    return Halves(earlier=earlier_half, later=_half(y[later], weight[later], numeric=numeric), cut=cut)
