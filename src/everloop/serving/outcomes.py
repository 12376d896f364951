"""What turned out to be true, as it is told to the endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, TypeAlias

from everloop.clock import Clock, to_us
from everloop.data import Column, Contract, Decoder
from everloop.ids import is_prediction_id
from everloop.project import localise
from everloop.serving.problem import RowError
from everloop.serving.rows import few_names, given_id, id_column, row_error
from everloop.traffic import OutcomeRecord

__all__ = ["named_outcomes", "read_outcomes", "told_by"]

_Wrong: TypeAlias = Callable[[str, str], None]
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


def told_by(contract: Contract) -> tuple[Column, Column] | str:
    """The columns of entity and time, by which an outcome may be told without an id; or why it cannot."""
    entity, time = contract.only("entity"), contract.only("time")
    lacking = [f"{name} column" for name, column in (("entity", entity), ("time", time)) if column is None]
    if entity is None or time is None:
        return f"the contract has no {' and no '.join(lacking)}"
    own = {"id", "source", "observed_at"} & {entity.name, time.name}
    return f"the column {min(own)} has a name that an outcome uses itself" if own else (entity, time)


def read_outcomes(
    row: Any, contract: Contract, clock: Clock, *, decides: bool = True, decoder: Decoder | None = None
) -> tuple[list[OutcomeRecord], list[RowError]]:
    """The outcomes that a row tells, one per name; and everything that is wrong with it.

    A row with anything wrong tells nothing.

    A row has the prediction's id, or without one its entity and time (`told_by`), and at least one of `named_outcomes`
    by its name (null takes back what was told), and may have `source` and `observed_at` (now where it is left out; a
    naive one is read in the contract's time zone).
    decides: whether the target is a yes or no; else it is a number. decoder: the contract's, if there is one already.
    """
    key, columns = id_column(contract), named_outcomes(contract)
    if not isinstance(row, Mapping):
        return [], [row_error(row, key, column=None, value=row, detail="a row is a JSON object of names and values")]
    found: list[RowError] = []

    def wrong(column: str, detail: str) -> None:
        found.append(row_error(row, key, column=column, value=row.get(column), detail=f"{column}: {detail}"))

    now, by_id = clock.now(), given_id(row, key) is not None
    subject = _by_id(row, key, wrong) if by_id else _by_entity(row, contract, decoder, now, wrong)
    found += _unknown_names(row, contract, by_id=by_id)
    told = [column for column in columns if column.name in row]
    if not told:
        wrong(columns[0].name, "is missing; it says what turned out to be true")
    for column in told:
        if (said := _wrong_value(row[column.name], column, contract, decides=decides)) is not None:
            wrong(column.name, said)
    source = row.get("source", "")
    if not isinstance(source, str) or len(source) > _LONGEST_SOURCE:
        wrong("source", f"is not a text of up to {_LONGEST_SOURCE} characters")
    observed_at = _observed_at(row.get("observed_at"), contract, now)
    if isinstance(observed_at, str):
        wrong("observed_at", observed_at)
    if found or isinstance(observed_at, str):
        return [], found
    told_us = to_us(observed_at)
    return [
        OutcomeRecord(
            **subject,
            name=column.name,
            value=_value(row[column.name], column, contract),
            observed_at_us=told_us,
            source=source,
        )
        for column in told
    ], []


def _unknown_names(row: Mapping[str, Any], contract: Contract, *, by_id: bool) -> list[RowError]:
    """What is wrong with a row that has other names than an outcome's."""
    key, columns, pair = id_column(contract), named_outcomes(contract), told_by(contract)
    keys = [] if by_id else [column.name for column in contract.columns if column.role in ("entity", "time")]
    others = set(row) - {key, "id", "source", "observed_at", *keys} - {column.name for column in columns}
    if not others:
        return []
    told_so = keys if not isinstance(pair, str) and set(keys) & set(row) else ["id"]
    known = ", ".join([*told_so, *(column.name for column in columns)])
    detail = f"{few_names(others)}: an outcome has {known}, source and observed_at; nothing else"
    return [row_error(row, key, column=min(others)[:100], value=row[min(others)], detail=detail)]


def _by_id(row: Mapping[str, Any], key: str, wrong: _Wrong) -> dict[str, Any]:
    """Which prediction an outcome is of."""
    given = given_id(row, key)
    name = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(name, str) or not is_prediction_id(name):
        wrong(key, "is not the id of a prediction: 1 to 64 of A-Z a-z 0-9 . _ : -")
    return {"prediction_id": name}


def _by_entity(
    row: Mapping[str, Any], contract: Contract, decoder: Decoder | None, now: datetime, wrong: _Wrong
) -> dict[str, Any]:
    """Whose predictions of which time an outcome is of that has no id, read as a prediction's are."""
    key, pair = id_column(contract), told_by(contract)
    if isinstance(pair, str):
        wrong(key, f"is missing; give the id of the prediction, for {pair}")
        return {}
    entity, time = pair
    if entity.name not in row and time.name not in row:
        wrong(key, f"is missing; give the id of the prediction, or {entity.name} and {time.name}")
        return {}
    decoder = Decoder(contract) if decoder is None else decoder
    subject: dict[str, Any] = {}
    for column in pair:
        if row.get(column.name) is None:
            wrong(column.name, f"is missing; an outcome without an id has {entity.name} and {time.name}")
            continue
        try:
            if column is entity:
                subject["entity"] = decoder.entity(row[column.name])
            else:
                subject["event_time_us"] = decoder.moment_us(row[column.name], now=now)
        except ValueError as error:
            wrong(column.name, str(error))
    return subject


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


def _observed_at(given: Any, contract: Contract, now: datetime) -> datetime | str:
    """When it was known, or what is wrong with what the row says."""
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
