"""Where a replay's traffic comes from: rows hour by hour, and what turned out to be true, when it was known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import polars as pl

from everloop.templates.fraud.generator import Payments

__all__ = ["Feed", "PaymentsFeed", "Requests", "requests_of"]


_DAY_S: Final = 86_400
_SECOND: Final = timedelta(seconds=1)


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
        self._day: tuple[int, pl.DataFrame] | None = None
        self._frauds: dict[int, pl.DataFrame] = {}

    def rows(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The payments of the span, without what is only known later."""
        return self._span(start, end, self._paid).drop("action", "Class")

    def outcomes(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The frauds of a week ago. Silence is an outcome too: a payment nobody complains of was the customer's."""
        paid = self._span(max(start - self._delay, self._since), end - self._delay, self._known)
        at = pl.lit(self._payments.start + self._delay) + pl.duration(seconds=pl.col("Time"))
        return paid.select("id", "Class", observed_at=at.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def _span(self, start: datetime, end: datetime, of_day: Callable[[int], pl.DataFrame]) -> pl.DataFrame:
        """What `of_day` has in [start, end); a slice of days that are sorted by time."""
        first_s = max(0, int((start - self._payments.start) / _SECOND))
        last_s = min(int((end - self._payments.start) / _SECOND), self._payments.days * _DAY_S)
        parts = []
        for day in range(first_s // _DAY_S, -(-last_s // _DAY_S)):
            frame = of_day(day)
            low, high = (int(frame["Time"].search_sorted(edge_s, "left")) for edge_s in (first_s, last_s))
            parts.append(frame[low:high])
        return pl.concat(parts) if parts else of_day(0).clear()

    def _paid(self, day: int) -> pl.DataFrame:
        """A day's payments; its frauds are kept for when they are known, so that no day is drawn twice."""
        if self._day is None or self._day[0] != day:
            self._day = (day, self._payments.day(day))
            self._frauds[day] = self._day[1].filter(pl.col("Class") == 1).select("id", "Time", "Class")
        return self._day[1]

    def _known(self, day: int) -> pl.DataFrame:
        if day not in self._frauds:
            self._paid(day)
        return self._frauds[day]


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
