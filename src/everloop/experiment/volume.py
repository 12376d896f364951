"""How much traffic the data has in a day, of how many users, and how much less their rows say for being theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from everloop.data import EVENT_TIME, TARGET, Rows
from everloop.errors import NotEnoughData
from everloop.project import Model

__all__ = ["Volume", "volume"]

_DAY: Final = timedelta(days=1)
_NEARLY: Final = 0.9
"""A last day of which so much is covered is a whole one."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A day of traffic, by the median day of the data, and what rows of one user are worth.

    span_days: what the data covers. rows_per_day: of traffic, where rows have weights all that they stand for.
    rate: of positives among them, in [0, 1]; 1 of a regression, whose every row tells something.
    entity: the column of the user, None where the model has none.
    alike: the correlation of the outcomes of one user's rows, in [0, 1]; 0 without users.
    row_effect: the design effect of means over rows, their variance against that of as many users' single rows.
    positive_effect: the same of means over positives, where all of a user's are taken to be caught or missed together.
    """

    span_days: float
    rows_per_day: float
    rate: float
    users_per_day: float | None
    entity: str | None
    alike: float
    row_effect: float
    positive_effect: float

    @property
    def users(self) -> str:
        """Whom a rollout's share is taken of, as a word."""
        return "rows" if self.entity is None else "users"


def volume(model: Model, rows: Rows, *, horizon_days: float) -> Volume:
    """The volume of rows in order of time. horizon_days: how long users may come back in one comparison.

    Users' sizes are those in the newest `horizon_days` of the data, or in all of it where it is shorter.
    Source of the design effect: Kish (1965), "Survey Sampling", for users of unequal size.
    Raises NotEnoughData where all rows have one time.
    """
    frame, (start, end) = rows.frame, rows.span
    span_days = (end - start) / _DAY
    if span_days <= 0:
        raise NotEnoughData(
            f"all {frame.height:,} rows of {rows.source} have one time, {start:%Y-%m-%d %H:%M}, which does not say how "
            f"many come in a day; check data.time in {model.name}/model.yaml"
        )
    day = ((frame[EVENT_TIME] - start).dt.total_microseconds() // 86_400_000_000).to_numpy()
    entity = model.data.entity
    found = Volume(
        span_days=span_days,
        rows_per_day=_median_day(day, rows.weight, span_days),
        rate=1.0 if rows.numeric else float(np.average(rows.y, weights=rows.weight)),
        users_per_day=None,
        entity=entity,
        alike=0.0,
        row_effect=1.0,
        positive_effect=1.0,
    )
    if entity is None:
        return found
    return _with_users(found, frame, day, entity, newest=frame[EVENT_TIME] > end - horizon_days * _DAY)


def _median_day(day: Integers, often: Floats, span_days: float) -> float:
    """The median over whole days of the sums of `often`; the mean where most days are empty or none is whole.

    day: shape (n,), the days since the beginning of the data, of which `span_days` are covered. often: shape (n,).
    """
    whole = int(span_days + 1 - _NEARLY)
    counts = np.bincount(day, weights=often)
    counts = np.pad(counts, (0, max(whole - counts.size, 0)))
    median = float(np.median(counts[:whole])) if whole else 0.0
    return median if median > 0 else float(counts.sum()) / max(span_days, _NEARLY if whole else span_days)


def _with_users(found: Volume, frame: pl.DataFrame, day: Integers, entity: str, *, newest: pl.Series) -> Volume:
    table = frame.select(pl.col(entity).alias("user"), pl.col(TARGET).alias("y")).with_columns(
        pl.Series("day", day), newest.alias("newest")
    )
    table = table.filter(pl.col("user").is_not_null())
    if table.height == 0:
        return found
    daily = table.group_by("day").agg(pl.col("user").n_unique().alias("users")).sort("day")
    alike = _alike(table)
    recent = table.filter("newest")
    return replace(
        found,
        users_per_day=_median_day(daily["day"].to_numpy(), daily["users"].cast(pl.Float64).to_numpy(), found.span_days),
        alike=alike,
        row_effect=1 + alike * (_size(recent) - 1),
        positive_effect=_size(recent.filter(pl.col("y") > 0)),
    )


def _size(table: pl.DataFrame) -> float:
    """Rows of one user, as a row meets them: Σ n² / Σ n; 1 without rows."""
    counts = table.group_by("user").len()["len"].cast(pl.Float64).to_numpy()
    return float(np.square(counts).sum() / counts.sum()) if counts.size else 1.0


def _alike(table: pl.DataFrame) -> float:
    """The correlation of the outcome between two rows of one user, by the spread of the users' own sums."""
    mean = float(table["y"].mean())  # type: ignore[arg-type]
    size = _size(table)
    within = float((table["y"] - mean).pow(2).sum())
    if size <= 1 or within == 0:
        return 0.0
    sums = table.group_by("user").agg((pl.col("y") - mean).sum().alias("sum"))["sum"].to_numpy()
    return float(np.clip((np.square(sums).sum() / within - 1) / (size - 1), 0.0, 1.0))
