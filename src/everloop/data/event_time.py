"""When a row happened: any time column as UTC microseconds, or an error that names the row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import polars as pl

from everloop.clock import to_us
from everloop.data.contract import Contract
from everloop.errors import ContractViolation
from everloop.project import localise

__all__ = [
    "TIME_UNITS",
    "UTC_US",
    "origin_us",
    "parse_time",
    "unit_us",
    "unread_times",
    "us_from_number",
    "utc_times",
]

UTC_US: Final = pl.Datetime("us", "UTC")
_UNIT_US: Final = {
    "ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3_600e6, "d": 86_400e6,
}  # fmt: skip
TIME_UNITS: Final = tuple(_UNIT_US)
_LOWEST_US: Final = to_us(datetime(1, 1, 2, tzinfo=UTC))
_HIGHEST_US: Final = to_us(datetime(9999, 12, 30, tzinfo=UTC))


def utc_times(values: pl.Series, contract: Contract) -> pl.Series:
    """A column of times as Datetime("us", "UTC"); nulls stay, and a NaN is one.

    values: datetimes or dates (naive ones are read in the contract's time zone), ISO-8601 texts, or numbers
    counted in the contract's unit from its origin.
    Raises ContractViolation naming the first row (from 1) that is no time, ambiguous or does not exist there.
    """
    values = _without_nan(values)
    found = _times(values, contract)
    _refuse_unreadable(values, found, contract)
    return found.alias(values.name)


def unread_times(values: pl.Series, contract: Contract) -> pl.Series:
    """Which rows of a column of times hold something that is none, as booleans. Raises as `utc_times` for all of it."""
    values = _without_nan(values)
    return values.is_not_null() & _times(values, contract).is_null()


def _without_nan(values: pl.Series) -> pl.Series:
    return values.fill_nan(None) if values.dtype.is_float() else values


def _times(values: pl.Series, contract: Contract) -> pl.Series:
    """The times, null where a value is none."""
    dtype = values.dtype
    if dtype == pl.Null:
        return values.cast(UTC_US)
    if dtype.is_numeric():
        found = _from_numbers(values, contract)
    elif dtype == pl.String:
        found = _from_texts(values, contract)
    elif dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone is None):
        naive = values.cast(pl.Datetime("us"))
        found = naive.dt.replace_time_zone(contract.timezone, ambiguous="null", non_existent="null")
        found = found.dt.convert_time_zone("UTC")
    elif isinstance(dtype, pl.Datetime):
        found = values.dt.convert_time_zone("UTC").cast(UTC_US)
    else:
        raise ContractViolation(f"column {values.name!r} holds {dtype}, which is no time")
    return found


def parse_time(text: str, timezone: str) -> datetime:
    """The UTC time of an ISO-8601 text; a naive one is read in `timezone`. Raises ValueError with a sentence."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO-8601 time such as 2024-05-01T12:30:00Z") from None
    try:
        return localise(at, timezone)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999") from None


def us_from_number(value: float, unit_us: float | None, origin_us: int) -> int:
    """The time of a number, in microseconds since 1970 UTC, as are the unit that it counts and what it counts from.

    Raises ValueError with a sentence, and OverflowError for what is too large for that.
    """
    if unit_us is None:
        raise ValueError(f"{value!r} is a number, and data.time in model.yaml gives no unit for numbers")
    at_us = origin_us + round(value * unit_us)
    if not _LOWEST_US <= at_us <= _HIGHEST_US:
        raise ValueError(f"{value!r} is outside the years 1 to 9999")
    return at_us


def unit_us(contract: Contract) -> float | None:
    """How many microseconds the contract's numbers count; None where they are no times."""
    return None if contract.time_unit is None else _UNIT_US[contract.time_unit]


def origin_us(contract: Contract) -> int:
    """What the contract's numbers count from, in microseconds since 1970 UTC."""
    origin = contract.time_origin
    return 0 if origin is None else to_us(parse_time(origin, contract.timezone))


def _from_numbers(values: pl.Series, contract: Contract) -> pl.Series:
    if contract.time_unit is None:
        raise ContractViolation(
            f"time column {values.name!r} holds numbers; say what they count, as in "
            f"data.time: {{column: {values.name}, unit: s, origin: 2013-09-01T00:00Z}}"
        )
    spans_us = (values.cast(pl.Float64) * _UNIT_US[contract.time_unit]).round(0)
    begin_us = origin_us(contract)
    inside = spans_us.is_between(_LOWEST_US - begin_us, _HIGHEST_US - begin_us)
    whole = pl.DataFrame({"us": spans_us}).select(pl.when(inside).then(pl.col("us"))).to_series()
    return (whole.cast(pl.Int64) + begin_us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _from_texts(values: pl.Series, contract: Contract) -> pl.Series:
    known: dict[str, datetime | None] = {}
    for text in values.unique().drop_nulls():
        try:
            known[text] = parse_time(text, contract.timezone)
        except ValueError:
            known[text] = None
    return pl.Series([None if text is None else known[text] for text in values], dtype=UTC_US)


def _refuse_unreadable(values: pl.Series, found: pl.Series, contract: Contract) -> None:
    wrong = (values.is_not_null() & found.is_null()).arg_true()
    if wrong.is_empty():
        return
    place = int(wrong[0])
    raise ContractViolation(
        f"column {values.name!r}, row {place + 1}: {_reason(values[place], contract)}"
        + (f" ({len(wrong)} such rows)" if len(wrong) > 1 else "")
    )


def _reason(value: object, contract: Contract) -> str:
    try:
        if isinstance(value, str):
            parse_time(value, contract.timezone)
        elif isinstance(value, datetime):
            localise(value, contract.timezone)
        elif isinstance(value, int | float):
            us_from_number(value, unit_us(contract), origin_us(contract))
    except (ValueError, OverflowError) as error:
        return str(error)
    return f"{value} is no time"
