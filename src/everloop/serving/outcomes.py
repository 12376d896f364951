"""What turned out to be true, as it is told to the endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from everloop.clock import Clock, to_us
from everloop.data import Column, Contract
from everloop.ids import is_prediction_id
from everloop.project import localise
from everloop.serving.problem import RowError
from everloop.serving.rows import given_id, id_column, row_error
from everloop.traffic import OutcomeRecord

__all__ = ["read_outcome"]

_LONGEST_SOURCE = 100


def read_outcome(row: Any, contract: Contract, clock: Clock) -> OutcomeRecord | list[RowError]:
    """The outcome that a row tells, or everything that is wrong with it.

    A row has the prediction's id, the target by its name (null takes back what was told), and may have `source` and
    `observed_at` (now where it is left out; a naive one is read in the contract's time zone).
    """
    key, target = id_column(contract), contract.only("target")
    assert target is not None
    if not isinstance(row, Mapping):
        return [row_error(row, key, column=None, value=row, detail="a row is a JSON object of names and values")]
    found: list[RowError] = []

    def wrong(column: str, detail: str) -> None:
        found.append(row_error(row, key, column=column, value=row.get(column), detail=f"{column}: {detail}"))

    given = given_id(row, key)
    name = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(name, str) or not is_prediction_id(name):
        wrong(key, "is not the id of a prediction: 1 to 64 of A-Z a-z 0-9 . _ : -")
    for other in sorted(set(row) - {key, "id", target.name, "source", "observed_at"}):
        wrong(other, f"an outcome has id, {target.name}, source and observed_at; nothing else")
    if target.name not in row:
        wrong(target.name, "is missing; it says what turned out to be true")
    elif not _is_value(row[target.name], target):
        wrong(target.name, f"is not a value of {target.name} ({target.type}), nor true, false or null")
    source = row.get("source", "")
    if not isinstance(source, str) or len(source) > _LONGEST_SOURCE:
        wrong("source", f"is not a text of up to {_LONGEST_SOURCE} characters")
    observed_at = _observed_at(row.get("observed_at"), contract, clock)
    if isinstance(observed_at, str):
        wrong("observed_at", observed_at)
    if found or isinstance(observed_at, str):
        return found
    return OutcomeRecord(
        prediction_id=str(name),
        name=target.name,
        value=_value(row[target.name], contract, target),
        observed_at_us=to_us(observed_at),
        source=source,
    )


def _is_value(value: Any, target: Column) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if target.type == "string":
        return isinstance(value, str)
    return isinstance(value, int | float) and (target.type != "bool" or value in (0, 1))


def _value(value: Any, contract: Contract, target: Column) -> float | bool | None:
    """The outcome as a number or a truth: of a target in texts, whether it is the positive one."""
    if value is None or isinstance(value, bool):
        return value
    if target.type == "string" or contract.positive not in (None, True, 1):
        return bool(value == contract.positive)
    return float(value)


def _observed_at(given: Any, contract: Contract, clock: Clock) -> datetime | str:
    """When it was known, or what is wrong with what the row says."""
    now = clock.now()
    if given is None:
        return now
    if not isinstance(given, str):
        return "is not an ISO 8601 time, such as 2025-01-31T09:00:00Z"
    try:
        at = localise(datetime.fromisoformat(given), contract.timezone)
    except ValueError as error:
        return f"{error}; write it as 2025-01-31T09:00:00Z"
    if at > now:
        return f"lies in the future: it is {now.isoformat()} now"
    return at
