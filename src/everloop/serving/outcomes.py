"""What turned out to be true, as it is told to the endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from everloop.clock import Clock, to_us
from everloop.data import Column, Contract
from everloop.ids import is_prediction_id
from everloop.project import localise
from everloop.serving.problem import RowError
from everloop.serving.rows import few_names, given_id, id_column, row_error
from everloop.traffic import OutcomeRecord

__all__ = ["named_outcomes", "read_outcomes"]

_LONGEST_SOURCE = 100
_LONGEST_TEXT = 1_000
_LONGEST_TIME = 64
_AHEAD = timedelta(minutes=5)
_TIME = "2025-01-31T09:00:00Z"
_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "string": "a text"}


def named_outcomes(contract: Contract) -> tuple[Column, ...]:
    """The columns that an outcome may tell: the target, and those of the role outcome, such as the action taken."""
    target = contract.only("target")
    assert target is not None
    return target, *(column for column in contract.columns if column.role == "outcome")


def read_outcomes(
    row: Any, contract: Contract, clock: Clock, *, decides: bool = True
) -> tuple[list[OutcomeRecord], list[RowError]]:
    """The outcomes that a row tells, one per name; and everything that is wrong with it.

    A row with anything wrong tells nothing.

    A row has the prediction's id and at least one of `named_outcomes` by its name (null takes back what was told), and
    may have `source` and `observed_at` (now where it is left out; a naive one is read in the contract's time zone).
    decides: whether the target is a yes or no; else it is a number.
    """
    key, columns = id_column(contract), named_outcomes(contract)
    if not isinstance(row, Mapping):
        return [], [row_error(row, key, column=None, value=row, detail="a row is a JSON object of names and values")]
    found: list[RowError] = []

    def wrong(column: str, detail: str) -> None:
        found.append(row_error(row, key, column=column, value=row.get(column), detail=f"{column}: {detail}"))

    given = given_id(row, key)
    name = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(name, str) or not is_prediction_id(name):
        wrong(key, "is not the id of a prediction: 1 to 64 of A-Z a-z 0-9 . _ : -")
    told = [column for column in columns if column.name in row]
    if others := set(row) - {key, "id", "source", "observed_at"} - {column.name for column in columns}:
        known = ", ".join(column.name for column in columns)
        detail = f"{few_names(others)}: an outcome has id, {known}, source and observed_at; nothing else"
        found.append(row_error(row, key, column=min(others)[:100], value=row[min(others)], detail=detail))
    if not told:
        wrong(columns[0].name, "is missing; it says what turned out to be true")
    for column in told:
        if (said := _wrong_value(row[column.name], column, contract, decides=decides)) is not None:
            wrong(column.name, said)
    source = row.get("source", "")
    if not isinstance(source, str) or len(source) > _LONGEST_SOURCE:
        wrong("source", f"is not a text of up to {_LONGEST_SOURCE} characters")
    observed_at = _observed_at(row.get("observed_at"), contract, clock)
    if isinstance(observed_at, str):
        wrong("observed_at", observed_at)
    if found or isinstance(observed_at, str):
        return [], found
    told_us = to_us(observed_at)
    return [
        OutcomeRecord(
            prediction_id=str(name),
            name=column.name,
            value=_value(row[column.name], column, contract),
            observed_at_us=told_us,
            source=source,
        )
        for column in told
    ], []


def _wrong_value(value: Any, column: Column, contract: Contract, *, decides: bool) -> str | None:
    """What is wrong with a value, or None."""
    truth = column.role == "target" and decides
    if value is None or (isinstance(value, bool) and (truth or column.type == "bool")):
        return None
    if column.type in ("string", "datetime"):
        fits = isinstance(value, str) and len(value) <= _LONGEST_TEXT
        kind = f"a text of up to {_LONGEST_TEXT:,} characters"
    elif column.type == "bool" or (column.role == "target" and contract.positive in (True, 1)):
        fits, kind = isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 1), "0 or 1"
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits, kind = number and abs(value) < 2**63 and isfinite(value), _KINDS[column.type]
    also = ", true, false or null" if truth else " or null"
    return None if fits else f"is not {kind}{also}"


def _value(value: Any, column: Column, contract: Contract) -> float | bool | str | None:
    """The outcome as it is kept; of the target a number or a truth: whether it is the positive one."""
    if value is None or isinstance(value, bool) or column.role != "target":
        return value  # type: ignore[no-any-return]
    if column.type == "string" or contract.positive not in (None, True, 1):
        return bool(value == contract.positive)
    return float(value)


def _observed_at(given: Any, contract: Contract, clock: Clock) -> datetime | str:
    """When it was known, or what is wrong with what the row says."""
    now = clock.now()
    if given is None:
        return now
    if not isinstance(given, str) or len(given) > _LONGEST_TIME:
        return f"is not an ISO 8601 time, such as {_TIME}"
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        return f"is not an ISO 8601 time; write it as {_TIME}"
    try:
        at = localise(at, contract.timezone)
    except ValueError as error:
        return str(error)
    except OverflowError:
        return f"is outside the years 1 to 9999; write it as {_TIME}"
    if at > now + _AHEAD:
        return f"lies in the future: it is {now.isoformat(timespec='seconds')} now"
    # nothing is known later than it is told: the caller's clock is a little ahead of ours
    return f"lies before 1970; write it as {_TIME}" if to_us(at) < 0 else min(at, now)
