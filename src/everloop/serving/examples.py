"""Rows and outcomes that an API's description shows: made of the contract alone, and such that they are answered."""

from __future__ import annotations

from math import ceil, floor, isfinite
from typing import Any, Final

from everloop.data import Column, Contract
from everloop.serving.outcomes import named_outcomes, told_by
from everloop.serving.rows import id_column

__all__ = ["example_outcome", "example_row", "example_told_by_entity", "example_value"]

ID: Final = "example-1"
_TIME: Final = "2025-01-31T09:00:00Z"
_TEXT: Final = "text"
_DIGITS: Final = 3


def example_row(contract: Contract, *, row_id: str = ID) -> dict[str, Any]:
    """A row that is answered. The same id brings the same row, so that sent twice it is recorded once."""
    row: dict[str, Any] = {id_column(contract): row_id}
    for column in contract.columns:
        if column.at_prediction and column.role != "id" and not _counts_time(column):
            row[column.name] = example_value(column)
    return row


def example_outcome(contract: Contract, *, decides: bool, row_id: str = ID) -> dict[str, Any]:
    """What turned out to be true of `example_row`."""
    target = named_outcomes(contract)[0]
    value: Any = target.categories[0] if target.categories else contract.positive
    if value is None:
        value = True if decides else example_value(target)
    return {"id": row_id, target.name: value, "source": "example", "observed_at": _TIME}


def example_told_by_entity(contract: Contract, *, decides: bool) -> dict[str, Any] | None:
    """The same told by the entity and the time of that row; None where it is not told so, or its time is a number."""
    pair = told_by(contract)
    if isinstance(pair, str) or any(_counts_time(column) for column in pair):
        return None
    outcome = example_outcome(contract, decides=decides)
    del outcome["id"]
    return {column.name: example_value(column) for column in pair} | outcome


def example_value(column: Column) -> Any:
    """A value that the column may have."""
    if column.type == "bool":
        return False
    if column.type == "datetime":
        return _TIME
    if column.type == "string":
        return (
            column.categories[0] if column.categories else f"{column.name[:40]}-1" if column.role == "entity" else _TEXT
        )
    return _number(column)


def _counts_time(column: Column) -> bool:
    """A time that is a number counts from a moment that no reader sees; left out, it is the arrival's."""
    return column.role == "time" and column.type != "datetime"


def _number(column: Column) -> float | int:
    """About the middle of what was seen, else of what is allowed, as short as it can be written within its range."""
    low, high = column.observed if column.observed is not None else (column.minimum, column.maximum)
    known = [end for end in (low, high) if end is not None and isfinite(end)]
    middle = sum(known) / 2 if len(known) == 2 else known[0] + (1 if low is not None else -1) if known else 1.0
    least = -float(2**53) if column.minimum is None else column.minimum
    most = float(2**53) if column.maximum is None else column.maximum
    if column.type == "int":
        return int(min(max(round(middle), ceil(least)), floor(most)))
    short = float(f"{middle:.{_DIGITS}g}")
    return float(min(max(short, least), most))
