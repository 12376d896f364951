"""Past predictions out of a file: time, score and outcome, read and refused in one sentence each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from everloop.data import EVENT_TIME, TIME_UNITS, Contract, collect, parse_time, utc_times
from everloop.errors import ContractViolation, NotEnoughData, UsageError
from everloop.monitoring.file_options import Called, as_flag
from everloop.project import check_timezone, did_you_mean

__all__ = ["PastRows", "past_rows"]

Array = np.ndarray[Any, Any]
_MANY_VALUES = 20
TRUE_WORDS = {"1", "true", "t", "yes", "y"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRows:
    """Predictions of the past, in order of time.

    frame: `event_time` and the watched columns. score: shape (n,), Float64. y: shape (n,), bool, false where unknown.
    known: shape (n,), bool, whether the outcome is there. notes: what was done to the rows, for people.
    outcome: shape (n,), Float64, of a score that is a number and no chance, NaN where unknown; else None. Then y is
    whether the outcome is near the score, once `near` has said what that is.
    """

    frame: pl.DataFrame
    score: Array
    y: Array
    known: Array
    notes: tuple[str, ...]
    outcome: Array | None = None

    @property
    def rarer(self) -> int:
        """How many rows there are of the rarer class; of numbers a tenth of all, as many as are not near."""
        if self.outcome is not None:
            return max(1, int(self.known.sum()) // 10)
        return max(1, min(int(self.y.sum()), int((self.known & ~self.y).sum())))

    @property
    def off(self) -> Array:
        """How far outcomes of numbers lie from their scores: Float64, shape (n,), NaN where unknown."""
        assert self.outcome is not None
        return np.asarray(np.abs(self.outcome - self.score))

    def near(self, limit: float) -> PastRows:
        """The rows with outcomes within `limit` of their scores as y."""
        return replace(self, y=self.known & (np.nan_to_num(self.off, nan=np.inf) <= limit))

    @property
    def rows(self) -> int:
        """How many."""
        return self.frame.height


def past_rows(
    lazy: pl.LazyFrame,
    *,
    source: str,
    time: str,
    score: str,
    outcome: str,
    positive: str | None = None,
    columns: tuple[str, ...] = (),
    timezone: str = "UTC",
    time_unit: str | None = None,
    time_origin: str | None = None,
    absent_negative: bool = False,
    called: Called = as_flag,
) -> PastRows:
    """The rows of a frame. source: what sentences call it. called: how the options are named there.

    Raises UsageError (no such zone, unit or origin of times), ContractViolation (a column that is missing or cannot be
    read, with its first bad row), and NotEnoughData (no rows, one class only).
    """
    _refuse_unknown_times(timezone, time_unit, time_origin)
    names = lazy.collect_schema().names()
    wanted = list(dict.fromkeys([time, score, outcome, *columns]))
    missing = {name: did_you_mean(name, names) for name in wanted if name not in names}
    if missing:
        there = "" if all(missing.values()) else f"; it has {', '.join(names)}"
        told = "; ".join(f"{source} has no column {name!r}{hint}" for name, hint in missing.items())
        raise ContractViolation(told + there)
    frame = collect(lazy.select(wanted), source)
    if frame.height == 0:
        raise NotEnoughData(f"{source} has no rows; past predictions with their outcomes are needed")
    contract = Contract(columns=(), timezone=timezone, time_unit=time_unit, time_origin=time_origin)
    times = _times(frame[time], contract, source, called)
    values = _scores(frame[score], source)
    numbers = None
    if positive is None and not absent_negative and _holds_numbers(frame[outcome]):
        numbers = frame[outcome].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        known = np.isfinite(numbers)
        y = np.zeros(len(numbers), dtype=bool)
    else:
        y, known = _outcomes(frame[outcome], source, positive, absent_negative=absent_negative, called=called)
    notes = []
    order = np.argsort(times.to_physical().to_numpy(), kind="stable")
    if not times.is_sorted():
        notes.append("its rows are not in order of time and were sorted")
    if not known.all():
        notes.append(f"{int((~known).sum()):,} rows have no outcome and are judged without labels alone")
    places = pl.Series(order)
    watched = frame.select(*columns, times.alias(EVENT_TIME))[places]
    return PastRows(
        frame=watched.select(EVENT_TIME, *columns),
        score=values[order],
        y=y[order],
        known=known[order],
        notes=tuple(notes),
        outcome=None if numbers is None else numbers[order],
    )


def _holds_numbers(values: pl.Series) -> bool:
    """Whether outcomes are numbers and no classes: fractions, or more than twenty different ones."""
    if not values.dtype.is_numeric():
        return False
    known = values.cast(pl.Float64).fill_nan(None).drop_nulls()
    return known.n_unique() > (_MANY_VALUES if (known.round(0) == known).all() else 2)


def _refuse_unknown_times(timezone: str, unit: str | None, origin: str | None) -> None:
    try:
        check_timezone(timezone)
        if origin is not None:
            parse_time(origin, timezone)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if unit is not None and unit not in TIME_UNITS:
        raise UsageError(f"{unit!r} is no unit that times are counted in; there are {', '.join(TIME_UNITS)}")


def _times(values: pl.Series, contract: Contract, source: str, called: Called) -> pl.Series:
    if values.dtype.is_numeric() and contract.time_unit is None:
        raise ContractViolation(
            f"{source}: the time column {values.name!r} holds numbers; say what they count with "
            f"{called('time_unit', 's')} (and from when with {called('time_origin', '2013-09-01T00:00Z')})"
        )
    try:
        times = utc_times(values, contract)
    except ContractViolation as error:
        raise ContractViolation(f"{source}: {error}; a time is ISO 8601, such as 2024-05-01T12:30:00Z") from error
    _refuse_rows(times.is_null().to_numpy(), f"{source}: the time {values.name!r} is missing")
    return times


def _scores(values: pl.Series, source: str) -> Array:
    if not values.dtype.is_numeric():
        raise ContractViolation(
            f"{source}: the score column {values.name!r} holds {values.dtype}; a number per row is needed"
        )
    numbers: Array = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    _refuse_rows(~np.isfinite(numbers), f"{source}: the score {values.name!r} is missing or not finite")
    return numbers


def _refuse_rows(wrong: Array, what: str) -> None:
    places = np.flatnonzero(wrong)
    if places.size:
        raise ContractViolation(
            f"{what} in {places.size:,} of {wrong.size:,} rows, first in row {places[0] + 1}; leave those rows out"
        )


def _outcomes(
    values: pl.Series, source: str, positive: str | None, *, absent_negative: bool, called: Called
) -> tuple[Array, Array]:
    """Truth and whether it is known, each of shape (n,)."""
    missing = values.is_null() | (values.is_nan().fill_null(True) if values.dtype.is_float() else pl.Series([False]))
    texts = [_text(value) for value in values.drop_nulls().unique().sort().head(6).to_list()]
    if positive is not None:
        hit = values.cast(pl.String).is_in([positive]) | _equal_number(values, positive)
    elif values.dtype == pl.Boolean:
        hit = values
    elif values.dtype.is_numeric() and set(texts) <= {"0", "1"}:
        hit = values == 1
    elif values.dtype == pl.String and {text.lower() for text in texts} <= TRUE_WORDS | {"0", "false", "f", "no", "n"}:
        hit = values.str.to_lowercase().is_in(sorted(TRUE_WORDS))
    else:
        raise ContractViolation(
            f"{source}: the outcome {values.name!r} holds {', '.join(texts[:5])}{', …' if len(texts) > 5 else ''}; "
            f"say which one is the positive class with {called('positive', texts[0] if texts else 'VALUE')}"
        )
    y: Array = hit.fill_null(False).to_numpy()
    known: Array = np.ones(len(values), dtype=bool) if absent_negative else ~missing.fill_null(True).to_numpy()
    y = y & known
    judged = int(known.sum())
    if judged == 0 or not y.any() or y[known].all():
        which = "no row has an outcome" if judged == 0 else "every row is positive" if y.any() else "no row is positive"
        raise NotEnoughData(
            f"{source}: {which} in {values.name!r} ({judged:,} rows with an outcome); both classes are needed to judge"
        )
    return y, known


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _equal_number(values: pl.Series, positive: str) -> pl.Series:
    try:
        number = float(positive)
    except ValueError:
        return pl.Series([False] * len(values))
    return (values.cast(pl.Float64) == number) if values.dtype.is_numeric() else pl.Series([False] * len(values))
