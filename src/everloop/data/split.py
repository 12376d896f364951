"""Splits by time: what is judged is newer than what was fitted, and one instant is never on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from everloop.data.rows import TARGET
from everloop.data.translate import EVENT_TIME
from everloop.errors import NotEnoughData, Undecided
from everloop.project import format_duration

__all__ = ["FIRST_SHARES", "MIN_POSITIVES", "Split", "retrain_split", "time_split"]

FIRST_SHARES: Final = (0.7, 0.15, 0.15)
MIN_POSITIVES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Three spans of rows, each newer than the one before; rows of one event time are in one span.

    train to fit on, validation to choose on (early stopping, threshold), test to judge by, once.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The first event time of validation and of test."""
        return self.validation[EVENT_TIME][0], self.test[EVENT_TIME][0]


def time_split(frame: pl.DataFrame, shares: tuple[float, float, float] = FIRST_SHARES) -> Split:
    """The rows by time, in about these shares; a boundary moves to the nearest change of event time.

    frame: with `event_time`, in any order. Raises NotEnoughData where a part would be empty.
    """
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares {shares} are not three positive numbers that make 1")
    rows = _in_order(frame)
    starts = _starts(rows)
    first = _nearest(starts, rows.height * shares[0])
    second = _nearest(starts, rows.height * (shares[0] + shares[1]))
    return _cut(rows, first, second)


def retrain_split(
    frame: pl.DataFrame,
    holdout: float,
    *,
    target: str = TARGET,
    min_positives: int = MIN_POSITIVES,
    numeric: bool = False,
) -> Split:
    """All that is known but the newest `holdout` (a share of the rows), whose older half validates, newer half tests.

    The halves are of about equal rows, moved so that each has at least `min_positives`.
    numeric: the target is a number, and every row counts as a positive does.
    Raises Undecided, saying how many positives are still to come, and about when.
    """
    rows = _in_order(frame)
    starts = _starts(rows)
    first = _nearest(starts, rows.height * (1 - holdout))
    outcomes, counted = rows[target].to_numpy()[first:], "rows" if numeric else "positives"
    positive = np.ones(len(outcomes), dtype=bool) if numeric else outcomes > 0.5
    have = int(positive.sum())
    if have < 2 * min_positives:
        raise Undecided(_waiting(rows, first, have, holdout, min_positives, counted))
    cumulative = np.concatenate([[0], np.cumsum(positive)])
    inner = starts[(starts > first)] - first
    enough = inner[(cumulative[inner] >= min_positives) & (have - cumulative[inner] >= min_positives)]
    if len(enough) == 0:
        raise Undecided(
            f"the {have} {counted} of the newest {holdout:.0%} stand at too few different times to give validation "
            f"and test {min_positives} each; wait for more, or raise train.holdout"
        )
    middle = (rows.height - first) / 2
    second = first + int(enough[np.argmin(np.abs(enough - middle))])
    return _cut(rows, first, second)


def _waiting(rows: pl.DataFrame, first: int, have: int, holdout: float, min_positives: int, counted: str) -> str:
    times = rows[EVENT_TIME]
    span = times[-1] - times[first]
    lacking = 2 * min_positives - have
    said = (
        f"the newest {holdout:.0%} of the rows ({times[first]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}) "
        f"hold {have} {counted}; "
        f"validation and test need {min_positives} each, so {lacking} are still to come"
    )
    if have == 0 or not span:
        return said + "; wait, or raise train.holdout"
    return said + f": about {_roughly(span * (lacking / have))} more at the present rate; wait, or raise train.holdout"


def _roughly(span: timedelta) -> str:
    """A span to come, to the day, the hour or the minute."""
    unit = next((unit for unit in (timedelta(days=1), timedelta(hours=1)) if span >= 2 * unit), timedelta(minutes=1))
    return format_duration(max(1, round(span / unit)) * unit)


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    return frame if frame[EVENT_TIME].is_sorted() else frame.sort(EVENT_TIME, maintain_order=True)


def _starts(rows: pl.DataFrame) -> np.ndarray:
    """The places where a new event time begins, the first row left out."""
    times_us = rows[EVENT_TIME].to_physical().to_numpy()
    starts: np.ndarray = np.flatnonzero(np.diff(times_us)) + 1
    return starts


def _nearest(starts: np.ndarray, place: float) -> int:
    if len(starts) < 2:
        raise NotEnoughData("the rows stand at fewer than three different times; they cannot be split by time")
    return int(starts[np.argmin(np.abs(starts - place))])


def _cut(rows: pl.DataFrame, first: int, second: int) -> Split:
    if not 0 < first < second < rows.height:
        raise NotEnoughData(
            f"{rows.height:,} rows cannot be split by time into three parts: too few rows, or too many at one time"
        )
    return Split(train=rows[:first], validation=rows[first:second], test=rows[second:])
