"""The endpoint's decoder for tables: the rules and sentences of `decoder.py`, a column at a time.

A column that is right as a whole is taken as a series; any other is given to the decoder of JSON rows, value by value,
so that the two can say nothing different.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.data.column import Column, polars_type
from everloop.data.decoder import LONGEST_TEXT, Decoded, Decoder, RowProblem
from everloop.data.event_time import UTC_US
from everloop.data.translate import EVENT_TIME
from everloop.ids import PREDICTION_ID

__all__ = ["DecodedFrame", "FrameDecoder", "TableRows"]

_EXACT: Final = 2**53  # beyond it a whole number and its float may lie on two sides of a bound
_ID: Final = rf"\A{PREDICTION_ID}\z"


class TableRows(Sequence[dict[str, Any]]):
    """A table as rows of JSON: times are texts, and a NaN is missing."""

    def __init__(self, frame: pl.DataFrame, *, rows: int, names: Sequence[str] = ()) -> None:
        """frame: the columns that are read. rows: how many there are. names: of all columns that were sent."""
        self.frame = frame
        self._rows = rows
        self._others = dict.fromkeys(name for name in names if name not in frame.columns)
        self._lists: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: Any) -> Any:
        """A row; of a column that is not read only the name is told."""
        assert isinstance(row, int)
        return {name: self.column(name)[row] for name in self.frame.columns} | self._others

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.frame.columns
        return (dict(zip(names, values, strict=True)) for values in zip(*map(self.column, names), strict=True))

    def column(self, name: str) -> list[Any]:
        """The values of a column as JSON has them; all missing where there is none."""
        if name not in self._lists:
            known = name in self.frame.columns
            self._lists[name] = _as_json(self.frame[name]) if known else [None] * self._rows
        return self._lists[name]


class DecodedFrame(Decoded, frozen=True, kw_only=True):
    """As `Decoded`, with the frame that it is made from."""

    good: pl.DataFrame

    @property
    def frame(self) -> pl.DataFrame:
        """The good rows with the contract's types and `event_time`."""
        return self.good


class FrameDecoder(Decoder):
    """Decodes tables of one contract, as `Decoder` decodes rows."""

    def decode_table(self, rows: TableRows, *, now: datetime | None = None) -> DecodedFrame:
        """The rows by column, and their problems. See `decode_rows`."""
        problems: list[RowProblem] = []
        columns: dict[str, pl.Series | Sequence[Any]] = {}
        for column in self._columns:
            whole = self._series(column, rows, now)
            if whole is None:
                columns[column.name], found = self._decoded(column, self._listed(column, rows, now), rows)
                problems += found
            else:
                columns[column.name] = whole
        columns[EVENT_TIME], found = self._table_times(columns, rows, now)
        problems += found
        kept: Sequence[int] = range(len(rows))
        series = {name: _series_of(name, values, self.schema[name]) for name, values in columns.items()}
        frame = pl.DataFrame(list(series.values())) if series else pl.DataFrame()
        if problems:
            problems.sort(key=lambda problem: problem.index)
            bad = {problem.index for problem in problems}
            kept = [index for index in kept if index not in bad]
            frame = frame[list(kept)]
        told = {
            name: (frame[name].cast(pl.Int64) if kind == UTC_US else frame[name]).to_list()
            for name, kind in self.schema.items()
        }
        arrived = () if self._time is None else _missing(rows.column(self._time.name), kept)
        return DecodedFrame(
            columns=told, kept=kept, problems=tuple(problems), schema=self.schema, arrived=arrived, good=frame
        )

    def _listed(self, column: Column, rows: TableRows, now: datetime | None) -> list[Any]:
        values = rows.column(column.name)
        if column.role == "id":
            return [other if one is None else one for one, other in zip(values, rows.column("id"), strict=True)]
        if column.role == "time" and now is not None and None in values:
            arrival = self.arrival(column, now)
            return [arrival if value is None else value for value in values]
        return values

    def _series(self, column: Column, rows: TableRows, now: datetime | None) -> pl.Series | None:
        """The column at once, where nothing needs a second look; else None."""
        if column.name not in rows.frame.columns:
            return None
        values = _without_nan(rows.frame[column.name])
        if column.role == "id":
            if "id" in rows.frame.columns and values.null_count():
                return None
        elif values.null_count() and (not column.nullable or (column.role == "time" and now is not None)):
            return None
        found = self._typed(column, values)
        return None if found is None or found.null_count() > values.null_count() else found

    def _typed(self, column: Column, values: pl.Series) -> pl.Series | None:
        dtype = values.dtype
        if dtype == pl.Null:
            return values.cast(polars_type(column))
        if column.role in ("id", "entity"):
            found = values.cast(pl.String) if dtype.is_integer() else values
            if found.dtype != pl.String or (column.role == "entity" and not _short(found)):
                return None
            return found if column.role == "entity" or bool(found.str.contains(_ID).all()) else None
        if column.type == "datetime":
            return self._instants(values)
        if column.type in ("float", "int"):
            return _numbers(column, values) if dtype.is_numeric() else None
        fits = dtype == polars_type(column)
        return values if fits and (column.type == "bool" or _short(values)) else None

    def _instants(self, values: pl.Series) -> pl.Series | None:
        if values.dtype == pl.String:
            return self._read_instants(values)
        if not isinstance(values.dtype, pl.Datetime):
            return None
        if values.dtype.time_zone is not None:
            return values.cast(UTC_US)
        zone = self._contract.timezone
        there = values.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
        return there.dt.convert_time_zone("UTC").cast(UTC_US)

    def _read_instants(self, values: pl.Series) -> pl.Series | None:
        known: dict[str | None, int | None] = {None: None}
        try:
            known |= {text: self._instant(text) for text in values.unique().drop_nulls()}
        except ValueError:
            return None
        return pl.Series(values.name, [known[text] for text in values], dtype=pl.Int64).cast(UTC_US)

    def _table_times(
        self, columns: Mapping[str, pl.Series | Sequence[Any]], rows: TableRows, now: datetime | None
    ) -> tuple[pl.Series | Sequence[Any], list[RowProblem]]:
        time = self._time
        values: pl.Series | Sequence[Any] = [] if time is None else columns[time.name]
        if time is not None and isinstance(values, pl.Series) and not values.null_count():
            found = values if time.type == "datetime" else self._counted_at_once(values)
            if found is not None and self._none_far(found, now):
                return found, []
        if time is None:
            return self.event_times({}, now, rows)
        counted = isinstance(values, pl.Series) and time.type != "datetime"
        return self.event_times({time.name: self._listed(time, rows, now) if counted else _plain(values)}, now, rows)

    def _counted_at_once(self, values: pl.Series) -> pl.Series | None:
        """Times from numbers, as `_counted` reads each; None where one of them is out of every range."""
        step = self.unit_us
        if step is None:
            return None
        spans = np.rint(values.cast(pl.Float64).to_numpy() * step)
        if not len(spans) or np.abs(spans).max() > 2**61:
            return None
        whole = pl.Series(values.name, spans.astype(np.int64) + self.origin_us)
        return whole.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    def _none_far(self, times: pl.Series, now: datetime | None) -> bool:
        whole = times.cast(pl.Int64)
        return not len(whole) or self.is_near(int(whole.min()), int(whole.max()), now)  # type: ignore[arg-type]


def _numbers(column: Column, values: pl.Series) -> pl.Series | None:
    """The column's numbers, where each is finite and within its range."""
    bounds = [bound for bound in (column.minimum, column.maximum) if bound is not None]
    whole, wanted = values.dtype.is_integer(), polars_type(column)
    known = values.drop_nulls()
    if not len(known):
        return values.cast(wanted)
    low, high = known.min(), known.max()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if not (np.isfinite(low) and np.isfinite(high)):
        return None
    if whole and (high >= 2**63 or (bounds and max(-low, high) > _EXACT)):
        return None
    if (column.minimum is not None and low < column.minimum) or (column.maximum is not None and high > column.maximum):
        return None
    if column.type == "int" and not whole and (max(-low, high) >= 2**63 or not bool((known == known.floor()).all())):
        return None
    return values.cast(wanted)


def _missing(values: Sequence[Any], kept: Sequence[int]) -> Sequence[int]:
    """Which of the kept rows have no value."""
    return [n for n, row in enumerate(kept) if values[row] is None] if None in values else ()


def _short(values: pl.Series) -> bool:
    return not bool((values.str.len_chars() > LONGEST_TEXT).any())


def _without_nan(values: pl.Series) -> pl.Series:
    return values.fill_nan(None) if values.dtype.is_float() else values


def _as_json(values: pl.Series) -> list[Any]:
    listed = _without_nan(values).to_list()
    if isinstance(values.dtype, pl.Datetime):
        return [None if at is None else _iso(at) for at in listed]
    return listed


def _iso(at: date) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _series_of(name: str, values: pl.Series | Sequence[Any], dtype: pl.DataType) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    if dtype == UTC_US:
        return pl.Series(name, values, dtype=pl.Int64).cast(UTC_US)
    return pl.Series(name, values, dtype=dtype)


def _plain(values: pl.Series | Sequence[Any]) -> Sequence[Any]:
    """As the decoder of rows has them: times in microseconds."""
    if not isinstance(values, pl.Series):
        return values
    return (values.cast(pl.Int64) if values.dtype == UTC_US else values).to_list()
