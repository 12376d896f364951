"""Where a replay's traffic comes from: rows hour by hour, and what turned out to be true, when it was known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import polars as pl

from everloop.templates.fraud.generator import Payments

__all__ = ["Feed", "PaymentsFeed", "Requests", "requests_of"]


class Feed(Protocol):
    """Traffic to replay. Two calls with one span give the same frames."""

    def rows(self, start: datetime, end: datetime) -> pl.DataFrame:
        """What is sent in [start, end): one row per prediction, its first column the id, by time."""
        ...

    def outcomes(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The outcomes that become known in [start, end), as the endpoint takes them: id, target, `observed_at`."""
        ...


class PaymentsFeed:
    """The template's payments as they come in; whoever they turn out to be, the bank hears of frauds `delay` later."""

    def __init__(self, payments: Payments, *, delay: timedelta, since: datetime) -> None:
        """since: when the endpoint opened; of what was paid before, the source has the outcomes."""
        self._payments = payments
        self._delay = delay
        self._since = since

    def rows(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The payments of the span, without what is only known later."""
        return self._payments.between(start, end).drop("action", "Class")

    def outcomes(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The frauds of a week ago. Silence is an outcome too: a payment nobody complains of was the customer's."""
        first = max(start - self._delay, self._since)
        if first >= end - self._delay:
            return pl.DataFrame(schema={"id": pl.String, "Class": pl.Int64, "observed_at": pl.String})
        paid = self._payments.between(first, end - self._delay).filter(pl.col("Class") == 1)
        known = pl.lit(self._payments.start + self._delay) + pl.duration(seconds=pl.col("Time"))
        return paid.select("id", "Class", observed_at=known.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Rows as bodies of requests. ids: the first column of each body's rows."""

    bodies: Sequence[bytes]
    ids: Sequence[pl.Series]

    @property
    def rows(self) -> int:
        """Rows in all bodies."""
        return sum(len(ids) for ids in self.ids)


def requests_of(frame: pl.DataFrame, *, rows_per_request: int) -> Requests:
    """The frame's rows, in order, as bodies of at most so many rows."""
    lines = frame.write_ndjson().encode().split(b"\n")[: frame.height]
    starts = range(0, frame.height, rows_per_request)
    return Requests(
        bodies=[b'{"rows":[' + b",".join(lines[at : at + rows_per_request]) + b"]}" for at in starts],
        ids=[frame.to_series(0)[at : at + rows_per_request] for at in starts],
    )
