"""Rows against the contract: one sentence per column that breaks it, with counts and an example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl

from everloop.data.column import Column, polars_type
from everloop.data.contract import Contract, column_type
from everloop.data.event_time import unread_times, utc_times
from everloop.data.translate import EVENT_TIME
from everloop.errors import ContractViolation
from everloop.project import did_you_mean

__all__ = [
    "Violation",
    "conform",
    "refuse_columns",
    "refuse_violations",
    "row_reasons",
    "violations",
    "without_violations",
]

_WHAT: Final = {
    "float": "numbers",
    "int": "whole numbers",
    "bool": "true/false",
    "string": "texts",
    "datetime": "times",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One column that breaks the contract.

    column: its name. rows: how many rows break it. sentence: what, how many, an example. what: as a reason for one
    row. wrong: which rows, shape (rows,), bool; None where it is the column itself, or a time that cannot be read.
    places: the same rows by their numbers, from 0, those with such a time too.
    """

    column: str
    rows: int
    sentence: str
    what: str = ""
    wrong: pl.Series | None = field(default=None, compare=False, repr=False)
    places: tuple[int, ...] = field(default=(), compare=False, repr=False)


def violations(frame: pl.DataFrame, contract: Contract, *, names: Sequence[str] | None = None) -> list[Violation]:
    """What breaks the contract, column by column: missing, wrong type, null, NaN, infinity, outside its range.

    names: the columns to look at; None means every one but the ignored.
    """
    wanted = [column for column in contract.kept_columns if names is None or column.name in names]
    found = (_violation(frame, column, contract) for column in wanted)
    return [violation for violation in found if violation is not None]


def refuse_violations(
    frame: pl.DataFrame,
    contract: Contract,
    *,
    source: str,
    names: Sequence[str] | None = None,
    remedy: str = "correct the rows, or leave them out",
) -> None:
    """Raises ContractViolation with every sentence of `violations`, and `remedy`: what to do next."""
    found = violations(frame, contract, names=names)
    if found:
        sentences = "; ".join(violation.sentence for violation in found)
        raise ContractViolation(f"{source} breaks the contract: {sentences}; {remedy}")


def without_violations(frame: pl.DataFrame, contract: Contract, *, source: str) -> tuple[pl.DataFrame, list[Violation]]:
    """The rows that keep the contract, and what the others break, column by column.

    Raises ContractViolation, as `refuse_violations`, where not rows but a column is at fault, where a time cannot be
    read, and where no row would be left.
    """
    broken: list[Violation] = []
    kept = frame
    while found := violations(kept, contract):
        wrong = pl.Series([False]).new_from_index(0, kept.height)
        for violation in found:
            if violation.wrong is None:
                refuse_violations(kept, contract, source=source)
            else:
                wrong = wrong | violation.wrong.fill_null(False)
        broken += found  # of a column the first kind is told; what is left of it may break another
        kept = kept.filter(~wrong)
        if kept.height == 0:
            refuse_violations(frame, contract, source=source)
    return kept, broken


def refuse_columns(schema: pl.Schema, contract: Contract, *, source: str, names: Sequence[str]) -> None:
    """Raises ContractViolation for columns that are not there, or whose type no value of the contract can have."""
    found = []
    for column in contract.kept_columns:
        if column.name not in names:
            continue
        dtype = schema.get(column.name)
        if dtype is None:
            found.append(f"column {column.name!r} is missing{did_you_mean(column.name, list(schema))}")
        elif not (dtype == pl.Null or _accepts(dtype, column) or (column.type == "int" and dtype.is_float())):
            found.append(f"column {column.name!r} must hold {_WHAT[column.type]} and holds {dtype}")
    if found:
        raise ContractViolation(f"{source} breaks the contract: {'; '.join(found)}")


def row_reasons(frame: pl.DataFrame, contract: Contract, *, names: Sequence[str]) -> pl.Series:
    """Why a row breaks the contract, as text, shape (n,); null where it keeps it. The columns' types must fit."""
    reasons: list[str | None] = [None] * frame.height
    rows, left = list(range(frame.height)), frame
    # A column tells one thing at a time: once such rows are gone, another may come to light.
    while found := violations(left, contract, names=names):
        said: dict[int, list[str]] = {}
        for violation in found:
            if not violation.places:
                raise ContractViolation(f"the rows break the contract: {violation.sentence}")
            for place in violation.places:
                said.setdefault(place, []).append(violation.what)
        for place, sentences in said.items():
            reasons[rows[place]] = "; ".join(sentences)
        kept = [place for place in range(left.height) if place not in said]
        rows, left = [rows[place] for place in kept], left[kept]
    return pl.Series("reason", reasons, dtype=pl.String)


def conform(frame: pl.DataFrame, contract: Contract, *, names: Sequence[str] | None = None) -> pl.DataFrame:
    """The contract's columns with its types, NaN as null, and `event_time`; other columns are dropped.

    The frame must be free of violations. Raises ContractViolation for a time that cannot be read, naming its row.
    """
    wanted = [column for column in contract.kept_columns if names is None or column.name in names]
    columns = [_typed(frame[column.name], column, contract) for column in wanted if column.name != EVENT_TIME]
    time = contract.only("time")
    if time is not None and time.name in frame.columns:
        columns.append(utc_times(frame[time.name], contract).alias(EVENT_TIME))
    return pl.DataFrame(columns)


def _typed(values: pl.Series, column: Column, contract: Contract) -> pl.Series:
    if column.type == "datetime":
        return utc_times(values, contract)
    typed = values.cast(polars_type(column))
    return typed.fill_nan(None) if column.type == "float" and not _is_finite(typed) else typed


def _is_finite(values: pl.Series) -> bool:
    """Whether these are floats that are all known and finite: most columns are, and need no closer look or copy."""
    return values.dtype.is_float() and not values.null_count() and bool(np.isfinite(values.to_numpy()).all())


def _violation(frame: pl.DataFrame, column: Column, contract: Contract) -> Violation | None:
    if column.name not in frame.columns:
        others = [name for name in frame.columns if name not in contract.names]
        sentence = f"column {column.name!r} is missing{did_you_mean(column.name, others)}"
        return Violation(column=column.name, rows=frame.height, sentence=sentence)
    values = frame[column.name]
    checks: tuple[Callable[[pl.Series, Column, Contract], Violation | None], ...] = (
        _type_violation, _null_violation, _number_violation, _time_violation,
    )  # fmt: skip
    for check in checks:
        found = check(values, column, contract)
        if found is not None:
            return found
    return None


def _told(values: pl.Series, wrong: pl.Series, column: Column, what: str, *, show: bool = True) -> Violation | None:
    places = wrong.arg_true()
    if places.is_empty():
        return None
    place = int(places[0])
    example = f", e.g. {_shown(values[place])} in row {place + 1}" if show else f", the first is row {place + 1}"
    sentence = f"column {column.name!r} {what} in {len(places):,} of {len(values):,} rows{example}"
    what = f"column {column.name!r} {what}"
    known = tuple(places.to_list())
    return Violation(column=column.name, rows=len(known), sentence=sentence, what=what, wrong=wrong, places=known)


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if isinstance(value, str | bool | int | float) else f"{value!s:.60}"


def _type_violation(values: pl.Series, column: Column, _: Contract) -> Violation | None:
    dtype = values.dtype
    if dtype == pl.Null or _accepts(dtype, column):
        return None
    what = f"must hold {_WHAT[column.type]} and holds something else"
    if column.type == "int" and dtype.is_float():
        whole = (values.round(0) == values) | values.is_nan()
        return _told(values, ~whole.fill_null(True), column, "must hold whole numbers and holds fractions")
    if dtype == pl.String and column.type in ("int", "float", "bool"):
        unread = values.is_not_null() & values.cast(pl.Float64, strict=False).is_null()
        found = _told(values, unread, column, what)
        if found is not None:
            return found
    return _told(values, values.is_not_null(), column, what)


def _accepts(dtype: pl.DataType, column: Column) -> bool:
    found = column_type(dtype)
    if found == column.type or (found == "int" and column.type == "float"):
        return True
    if column.role in ("id", "entity") and column.type == "string":
        return found == "int"
    if column.type == "datetime":
        return found == "string"
    return column.role == "target" and {found, column.type} <= {"int", "float", "bool"} and found != "float"


def _null_violation(values: pl.Series, column: Column, _: Contract) -> Violation | None:
    if column.nullable or column.role == "target" or _is_finite(values):
        return None
    missing = values.is_null()
    if values.dtype.is_float():
        missing = missing | values.is_nan().fill_null(False)
    return _told(values, missing, column, "is null or NaN and must not be", show=False)


def _number_violation(values: pl.Series, column: Column, _: Contract) -> Violation | None:
    if column.type not in ("int", "float") or not values.dtype.is_numeric():
        return None
    if values.dtype.is_float() and not _is_finite(values):
        found = _told(values, values.is_infinite().fill_null(False), column, "is infinite")
        if found is not None:
            return found
    low, high = column.minimum, column.maximum
    if low is None and high is None:
        return None
    if values.dtype.is_float():
        values = values.fill_nan(None)
    outside = pl.Series([False]).new_from_index(0, len(values))
    if low is not None:
        outside = outside | (values < low).fill_null(False)
    if high is not None:
        outside = outside | (values > high).fill_null(False)
    ends = f"[{'…' if low is None else f'{low:g}'}, {'…' if high is None else f'{high:g}'}]"
    return _told(values, outside, column, f"is outside its range {ends}")


def _time_violation(values: pl.Series, column: Column, contract: Contract) -> Violation | None:
    if column.type != "datetime" and column.role != "time":
        return None
    try:
        utc_times(values, contract)
    except ContractViolation as error:
        places = tuple(_no_times(values, contract).arg_true().to_list())
        what = f"column {column.name!r} holds no time, or one that is ambiguous or does not exist"
        return Violation(column=column.name, rows=1, sentence=str(error), what=what, places=places)
    return None


def _no_times(values: pl.Series, contract: Contract) -> pl.Series:
    try:
        return unread_times(values, contract)
    except ContractViolation:  # the whole column is of a type that holds none
        return values.is_not_null()
