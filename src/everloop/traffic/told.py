"""Outcomes that were told by entity and event time: whose id they are of is looked up where they are read.

So it matters to nobody in which order predictions and outcomes came, and a log without such outcomes is read as ever.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, TypeAlias

import polars as pl

from everloop.traffic.delta import DeltaLog

__all__ = ["Span", "ToldByEntity", "with_ids", "without_keys"]

Span: TypeAlias = tuple[datetime | None, datetime | None]
"""From a time until before another; None is open."""

_KEYS: Final = ("entity", "event_time")
_US: Final = timedelta(microseconds=1)


class ToldByEntity:
    """Whether a table of outcomes has some that were told so. A file never changes, and is asked once."""

    def __init__(self, outcomes: DeltaLog) -> None:
        self._log = outcomes
        self._without: set[str] = set()
        self._some = False

    def span(self, rows: pl.LazyFrame) -> tuple[datetime, datetime] | None:
        """Between which event times [start, end) those among these rows of the table lie; None where there is none."""
        if not self._any():
            return None
        keyed = rows.filter(pl.col("prediction_id").is_null())
        times = keyed.select(first=pl.col("event_time").min(), last=pl.col("event_time").max())
        ((first, last),) = times.collect(engine="streaming").rows()
        return None if first is None else (first, last + _US)

    def _any(self) -> bool:
        if self._some or "entity" not in self._log.schema:  # a table of an earlier version has no such column
            return self._some
        new = [file for path, file in self._log.files.items() if path not in self._without]
        if new:
            some = pl.col("entity").is_not_null().any()
            self._some = bool(self._log.scan(new).select(some).collect(engine="streaming").item())
            if not self._some:
                self._without = set(self._log.files)
        return self._some


def with_ids(outcomes: pl.LazyFrame, predictions: pl.LazyFrame) -> pl.LazyFrame:
    """The outcomes, each under the id of its prediction, without `entity` and `event_time`.

    One that was told by these is there once for each such prediction; where there is none, it is not there.
    """
    keys = predictions.select(*_KEYS, of="prediction_id")
    found = outcomes.join(keys, on=_KEYS, how="left").with_columns(pl.coalesce("prediction_id", "of"))
    return without_keys(found.filter(pl.col("prediction_id").is_not_null()).drop("of"))


def without_keys(outcomes: pl.LazyFrame) -> pl.LazyFrame:
    """The outcomes with the columns of those that were told by id."""
    return outcomes.drop(_KEYS, strict=False)
