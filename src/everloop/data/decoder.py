"""The endpoint's decoder: parsed JSON rows to typed columns; a bad row is a problem, its neighbours are answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import accumulate
from math import isfinite
from typing import Any, Final

import msgspec
import polars as pl

from everloop.clock import from_us, to_us
from everloop.data.column import Column, polars_type
from everloop.data.contract import Contract
from everloop.data.event_time import UTC_US, origin_us, parse_time, unit_us, us_from_number
from everloop.data.translate import EVENT_TIME
from everloop.ids import is_prediction_id
from everloop.project import did_you_mean

__all__ = ["Decoded", "Decoder", "RowProblem", "decode_rows"]

LONGEST_TEXT: Final = 10_000  # characters; a longer text is no value of a column
LONGEST_TIME: Final = 64
INT_LOW, INT_HIGH = -(2**63), 2**63 - 1
_LARGEST: Final = sys.float_info.max
_EARLIEST_US: Final = 0
_AHEAD: Final = timedelta(days=1)  # how far a caller's clock, or a misread time zone, may be ahead of ours
_HINTS: Final = 20  # rows whose missing columns are compared with the names they do have: it is slow
_HINT_NAMES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """One value that breaks the contract.

    index: of the row in the request, from 0. column: its name, empty where the row is no object.
    """

    index: int
    column: str
    value: Any
    sentence: str


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """The good rows by column, and what is wrong with the others.

    columns: name → values, one per good row, None where missing; times are microseconds since 1970 UTC, also
      `event_time`. kept: the good rows' places in the request. arrived: of the good rows those that brought no time,
      and have that of their arrival. exact: a column of fractions holds nothing but those, and no whole number.
    """

    columns: Mapping[str, Sequence[Any]]
    kept: Sequence[int]
    problems: tuple[RowProblem, ...]
    schema: Mapping[str, pl.DataType]
    arrived: Sequence[int] = ()
    exact: bool = False

    def take(self, rows: Sequence[int]) -> Decoded:
        """These of the good rows alone; problems stay."""
        places = {row: n for n, row in enumerate(rows)}
        return Decoded(
            columns={name: [values[row] for row in rows] for name, values in self.columns.items()},
            kept=[self.kept[row] for row in rows],
            problems=self.problems,
            schema=self.schema,
            arrived=[places[row] for row in self.arrived if row in places],
            exact=self.exact,
        )

    @classmethod
    def joined(cls, parts: Sequence[Decoded]) -> Decoded:
        """The good rows of several, one behind another. Which request a row was in, `kept` no longer says."""
        ends = list(accumulate(len(part.kept) for part in parts))
        begins = [0, *ends[:-1]]
        return Decoded(
            columns={name: [value for part in parts for value in part.columns[name]] for name in parts[0].schema},
            kept=range(ends[-1]),
            problems=(),
            schema=parts[0].schema,
            arrived=[begin + n for begin, part in zip(begins, parts, strict=True) for n in part.arrived],
        )

    @property
    def frame(self) -> pl.DataFrame:
        """The good rows as a frame with the contract's types and `event_time`."""
        series = []
        for name, dtype in self.schema.items():
            if dtype == UTC_US:
                whole = pl.Series(name, self.columns[name], dtype=pl.Int64)
                series.append(whole.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
            else:
                series.append(pl.Series(name, self.columns[name], dtype=dtype))
        return pl.DataFrame(series)


def decode_rows(
    contract: Contract, rows: Sequence[Any], *, now: datetime | None = None
) -> tuple[pl.DataFrame, list[RowProblem]]:
    """The good rows as a typed frame, in order, and one problem per value that breaks the contract.

    now: the time of arrival, which is the event time of a row that brings none; without it such a row is a problem.
    With it a row from before 1970, or from more than a day after it, is one too.
    """
    decoded = Decoder(contract).decode(rows, now=now)
    return decoded.frame, list(decoded.problems)


class Decoder:
    """Decodes rows of one contract; made once per bundle, then only read.

    A column whose values are all of plain type is taken as a whole; only another one is looked at value by value.
    Names that the contract does not have are ignored, so that a caller may send more than this version reads;
    they serve as a hint where a column is missing. `id` stands for the contract's id column.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._columns = tuple(column for column in contract.columns if column.at_prediction)
        self._time = contract.only("time")
        self.schema: Mapping[str, pl.DataType] = {
            **{column.name: polars_type(column) for column in self._columns},
            EVENT_TIME: UTC_US,
        }

    def decode(self, rows: Sequence[Any], *, now: datetime | None = None) -> Decoded:
        """The rows by column, and their problems. See `decode_rows`."""
        problems = [
            RowProblem(
                index=index,
                column="",
                value=row,
                sentence=f"a row is an object of names and values, not {_shown(row)}",
            )
            for index, row in enumerate(rows)
            if type(row) is not dict
        ]
        if problems:
            rows = [row if type(row) is dict else {} for row in rows]
        bad = {problem.index for problem in problems}
        columns: dict[str, Sequence[Any]] = {}
        for column in self._columns:
            values = self._values(column, rows, now)
            columns[column.name], found = self._decoded(column, values, rows)
            problems += [problem for problem in found if problem.index not in bad]
        columns[EVENT_TIME], found = self.event_times(columns, now, rows)
        problems += [problem for problem in found if problem.index not in bad]
        kept: Sequence[int] = range(len(rows))
        if problems:
            problems.sort(key=lambda problem: problem.index)
            bad = {problem.index for problem in problems}
            kept = [index for index in kept if index not in bad]
            columns = {name: [values[index] for index in kept] for name, values in columns.items()}
        return Decoded(
            columns=columns, kept=kept, problems=tuple(problems), schema=self.schema, arrived=self._arrived(rows, kept)
        )

    def _arrived(self, rows: Sequence[dict[str, Any]], kept: Sequence[int]) -> Sequence[int]:
        time = self._time
        return () if time is None else [n for n, index in enumerate(kept) if rows[index].get(time.name) is None]

    def _values(self, column: Column, rows: Sequence[dict[str, Any]], now: datetime | None) -> list[Any]:
        name = column.name
        if column.role == "id":
            return [row.get("id") if (value := row.get(name)) is None else value for row in rows]
        values = [row.get(name) for row in rows]
        if column.role == "time" and now is not None and None in values:
            arrival = self.arrival(column, now)
            values = [arrival if value is None else value for value in values]
        return values

    def arrival(self, column: Column, now: datetime) -> Any:
        """The time of arrival as the time column `column` would write it."""
        if column.type == "datetime":
            return now.isoformat()
        span = (to_us(now) - self.origin_us) / (self.unit_us or 1.0)
        return int(span) if column.type == "int" else span

    def _decoded(
        self, column: Column, values: list[Any], rows: Sequence[dict[str, Any]]
    ) -> tuple[list[Any], list[RowProblem]]:
        kinds = set(map(type, values))
        optional = column.nullable or column.role == "id"
        if type(None) not in kinds or optional:
            whole = self._whole(column, values, kinds - {type(None)})
            if whole is not None:
                return whole, []
        one = self._one(column)
        decoded: list[Any] = [None] * len(values)
        problems: list[RowProblem] = []
        for index, value in enumerate(values):
            if value is None and optional:
                continue
            try:
                if value is None:
                    raise ValueError(self._missing(column, rows[index], hint=len(problems) < _HINTS))
                decoded[index] = one(value)
            except ValueError as error:
                sentence = f"row {index}: {column.name}: {error}"
                problems.append(RowProblem(index=index, column=column.name, value=value, sentence=sentence))
        return decoded, problems

    def _whole(self, column: Column, values: list[Any], kinds: set[type]) -> list[Any] | None:
        """The column at once, where nothing needs a second look; else None."""
        if column.type == "float" and kinds <= {float, int}:
            return values if self._all_inside(column, values) else None
        if column.type == "int" and kinds <= {int}:
            return values if self._all_inside(column, values) else None
        if column.type == "bool" and kinds <= {bool}:
            return values
        plain = column.type == "string" and kinds <= {str} and column.role not in ("id", "entity")
        return values if plain and all(value is None or len(value) <= LONGEST_TEXT for value in values) else None

    @staticmethod
    def _all_inside(column: Column, values: Sequence[Any]) -> bool:
        known = [value for value in values if value is not None]
        if not known:
            return True
        low = INT_LOW if column.minimum is None else max(INT_LOW, column.minimum)
        high = INT_HIGH if column.maximum is None else min(INT_HIGH, column.maximum)
        # a NaN among the values makes one of the two comparisons false for its own place only, so it is asked by sum
        return low <= min(known) and max(known) <= high and (column.type == "int" or isfinite(sum(known)))

    def _missing(self, column: Column, row: Mapping[str, Any], *, hint: bool) -> str:
        if column.name in row:
            return "null is not allowed"
        others = [name for name in row if name not in self.schema] if hint else []
        return f"is missing{did_you_mean(column.name, others[:_HINT_NAMES])}"

    def _one(self, column: Column) -> Callable[[Any], Any]:
        if column.role == "id":
            return _identity
        if column.role == "entity":
            return _entity
        if column.type == "datetime":
            return self._instant
        if column.type in ("float", "int"):
            return lambda value: _number(column, value)
        return _truth if column.type == "bool" else _text

    def _instant(self, value: Any) -> int:
        if not isinstance(value, str) or len(value) > LONGEST_TIME:
            raise ValueError(f"{_shown(value)} is not an ISO-8601 time such as 2024-05-01T12:30:00Z")
        return to_us(parse_time(value, self._contract.timezone))

    def event_times(
        self, columns: Mapping[str, Sequence[Any]], now: datetime | None, rows: Sequence[Any]
    ) -> tuple[Sequence[Any], list[RowProblem]]:
        """The event time of each row, in microseconds since 1970, and what is wrong with some of them.

        rows: the rows as they came, for what is said of a bad one; they are only counted where none is bad.
        """
        time = self._time
        if time is None:
            arrival = None if now is None else to_us(now)
            return [arrival] * len(rows), []
        values = columns[time.name]
        latest_us = None if now is None else to_us(now + _AHEAD)
        with suppress(ValueError):  # which of them is none is found out below
            known = values if time.type == "datetime" else self._all_counted(values)
            if _none_distant(known, latest_us):
                return known, []
        found: list[Any] = [None] * len(values)
        problems = []
        for index, value in enumerate(values):
            if value is None:
                continue
            try:
                at_us = value if time.type == "datetime" else self._counted(value)
                _refuse_distant(at_us, latest_us)
                found[index] = at_us
            except ValueError as error:
                given = rows[index].get(time.name) if isinstance(rows[index], dict) else value
                sentence = f"row {index}: {time.name}: {error}"
                problems.append(RowProblem(index=index, column=time.name, value=given, sentence=sentence))
        return found, problems

    def moment_us(self, value: Any, *, now: datetime) -> int:
        """What `decode` makes of a time that is given, microseconds since 1970. Raises ValueError with a sentence."""
        time = self._time
        assert time is not None
        if value is None:
            raise ValueError("null is not allowed")
        one = self._one(time)(value)
        at_us: int = one if time.type == "datetime" else self._counted(one)
        _refuse_distant(at_us, to_us(now + _AHEAD))
        return at_us

    @staticmethod
    def entity(value: Any) -> str:
        """What `decode` makes of an entity that is given. Raises ValueError with a sentence."""
        return _entity(value)

    @cached_property
    def unit_us(self) -> float | None:
        """How many microseconds a number of the time column counts; None where numbers are no times."""
        return unit_us(self._contract)

    @cached_property
    def origin_us(self) -> int:
        """What numbers of the time column count from."""
        return origin_us(self._contract)

    @staticmethod
    def is_near(first_us: int, last_us: int, now: datetime | None) -> bool:
        """Whether rows that arrive now may have these event times."""
        return now is None or (first_us >= _EARLIEST_US and last_us <= to_us(now + _AHEAD))

    def _all_counted(self, values: Sequence[float | None]) -> Sequence[int | None]:
        return [None if value is None else self._counted(value) for value in values]

    def _counted(self, value: float) -> int:
        try:
            return us_from_number(value, self.unit_us, self.origin_us)
        except OverflowError:
            raise ValueError(f"{_shown(value)} is outside the years 1 to 9999") from None


def _none_distant(values: Sequence[int | None], latest_us: int | None) -> bool:
    known = [value for value in values if value is not None]
    return latest_us is None or not known or (min(known) >= _EARLIEST_US and max(known) <= latest_us)


def _refuse_distant(at_us: int, latest_us: int | None) -> None:
    """Refuse an event time that no row can have that arrives now. Raises ValueError with a sentence.

    Such a row would stretch the log's span over centuries that monitoring then looks through, and one of the future
    would never mature.
    """
    if latest_us is None:
        return
    advice = "check the unit, what it counts from, and the time zone"
    if at_us < _EARLIEST_US:
        raise ValueError(f"{from_us(at_us).isoformat()} lies before 1970; {advice}")
    if at_us > latest_us:
        now = (from_us(latest_us) - _AHEAD).isoformat(timespec="seconds")
        raise ValueError(f"{from_us(at_us).isoformat()} lies in the future, it is {now}; {advice}")


def _shown(value: Any) -> str:
    """The value as JSON writes it, cut to what a sentence can hold."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    text = json.dumps(value[:100] if isinstance(value, str) else value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _number(column: Column, value: Any) -> float | int:
    wanted = "number" if column.type == "float" else "whole number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_shown(value)} is not a {wanted}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{_shown(value)} is not finite")
    if column.type == "int" and not INT_LOW <= value <= INT_HIGH:
        raise ValueError(f"{_shown(value)} has more than 64 bits")
    if abs(value) > _LARGEST:
        raise ValueError(f"{_shown(value)} is too large: a number has at most 64 bits, as 1e300 is written")
    if column.type == "int" and value != int(value):
        raise ValueError(f"{_shown(value)} is not a whole number")
    if (column.minimum is not None and value < column.minimum) or (
        column.maximum is not None and value > column.maximum
    ):
        low, high = column.minimum, column.maximum
        ends = f"[{'…' if low is None else f'{low:g}'}, {'…' if high is None else f'{high:g}'}]"
        raise ValueError(f"{_shown(value)} is outside its range {ends}")
    return int(value) if column.type == "int" else float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not a text")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"the text is longer than {LONGEST_TEXT:,} characters")
    return value


def _entity(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _identity(value: Any) -> str:
    text = _entity(value)
    if not is_prediction_id(text):
        raise ValueError(f"{_shown(value)} is not an id: 1 to 64 of A-Z a-z 0-9 . _ : -")
    return text
