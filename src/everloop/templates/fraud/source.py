"""What a person's own file has of what the fraud template wants: its time, its target, its span."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import polars as pl

from everloop.data import collect
from everloop.errors import DataError, NotEnoughData
from everloop.templates.columns import as_time, asked_column, first_named

__all__ = ["SourceShape", "fraud_target", "shape_of"]

_TARGETS: Final = ("class", "fraud", "is_fraud", "isfraud", "fraudulent", "tx_fraud", "label", "target")
_TIMES: Final = ("time", "event_time", "paid_at", "timestamp", "datetime", "tx_datetime", "created_at", "date")
_IDS: Final = ("id", "payment_id", "transaction_id", "tx_id")
_ENTITIES: Final = ("customer", "customer_id", "card", "card_id", "account_id")
_KAGGLE_FRAUDS: Final = 492
_KAGGLE_LEGITIMATE: Final = 284_315


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceShape:
    """Which columns play which part, and how much there is.

    numeric_time: the time column is a number of seconds. span: from the first to the last row.
    positive: the target's value for fraud where it is not 1 or true.
    negative_weight: rows that one legitimate row stands for, where the file is known to be a sample.
    """

    source: str
    columns: tuple[str, ...]
    target: str
    time: str
    numeric_time: bool
    id: str | None
    entity: str | None
    action: str | None
    amount: bool
    rows: int
    positives: int
    span: timedelta
    negative_weight: float | None


def shape_of(lazy: pl.LazyFrame, *, source: str, target: str | None) -> SourceShape:
    """Look through the source once. Raises DataError that names the columns it has, NotEnoughData for one class."""
    if collect(lazy.head(1), source).is_empty():
        raise NotEnoughData(f"{source} has no rows; a model needs some of both classes")
    schema = dict(lazy.collect_schema())
    target = _target(list(schema), source=source, asked=target)
    time = _time(schema, source=source)
    facts = lazy.select(
        pl.len().alias("rows"),
        pl.col(target).null_count().alias("unknown"),
        pl.col(target).n_unique().alias("values"),
        _is_positive(target, schema, source).sum().alias("positives"),
        as_time(time, schema).min().alias("first"),
        as_time(time, schema).max().alias("last"),
    )
    found: dict[str, Any] = collect(facts, source).row(0, named=True)
    _refuse_useless(found, source=source, target=target, time=time)
    negatives = found["rows"] - found["unknown"] - found["positives"]
    return SourceShape(
        source=source,
        columns=tuple(schema),
        target=target,
        time=time,
        numeric_time=schema[time].is_numeric(),
        id=first_named(schema, _IDS),
        entity=first_named(schema, _ENTITIES),
        action="action" if schema.get("action") == pl.String else None,
        amount=schema["Amount"].is_numeric() if "Amount" in schema else False,
        rows=found["rows"],
        positives=found["positives"],
        span=found["last"] - found["first"],
        negative_weight=_negative_weight(list(schema), found["positives"], negatives),
    )


def fraud_target(columns: Sequence[str]) -> str | None:
    """The column that is called like a yes or no; None where none is."""
    return first_named(dict.fromkeys(columns), _TARGETS)


def _target(columns: Sequence[str], *, source: str, asked: str | None) -> str:
    if asked is not None:
        return asked_column(asked, columns, source=source)
    found = fraud_target(columns)
    if found is None:
        raise DataError(
            f"no column of {source} is called like a target ({', '.join(_TARGETS)}); say which of "
            f"{', '.join(columns)} it is with --target COLUMN"
        )
    return found


def _time(schema: Mapping[str, Any], *, source: str) -> str:
    found = first_named(schema, _TIMES)
    if found is None:
        found = next((name for name, kind in schema.items() if kind in (pl.Datetime, pl.Date)), None)
    if found is None:
        raise DataError(
            f"no column of {source} says when a payment was made ({', '.join(_TIMES)}, or one of type datetime); "
            f"it has {', '.join(schema)}"
        )
    return found


def _is_positive(target: str, schema: Mapping[str, Any], source: str) -> pl.Expr:
    kind = schema[target]
    if kind == pl.Boolean:
        return pl.col(target)
    if kind.is_numeric():
        return pl.col(target) == 1
    raise DataError(
        f"the target {target!r} of {source} holds {kind}; the fraud template reads 0 and 1, or true and false. "
        "Make such a column, or say which one it is with --target COLUMN"
    )


def _refuse_useless(found: Mapping[str, Any], *, source: str, target: str, time: str) -> None:
    if found["first"] is None:
        raise DataError(f"the column {time!r} of {source} holds no time that can be read (ISO 8601, or seconds)")
    if found["values"] > 2 + (found["unknown"] > 0):
        raise DataError(
            f"{target!r} of {source} has {found['values']:,} different values; a target has two. "
            "Say which column it is with --target COLUMN"
        )
    known = found["rows"] - found["unknown"]
    if found["positives"] in (0, known):
        only = "no fraud (1 or true)" if found["positives"] == 0 else "fraud only"
        raise NotEnoughData(
            f"the target {target!r} of {source} has {only} in {known:,} rows; a model needs both classes"
        )


def _negative_weight(columns: Sequence[str], positives: int, negatives: int) -> float | None:
    """For Kaggle's file with all its frauds and a part of its legitimate rows: how many rows one stands for."""
    kaggle = {"Time", "Amount", "Class", *(f"V{number}" for number in range(1, 29))}
    if set(columns) == kaggle and positives == _KAGGLE_FRAUDS and 0 < negatives < _KAGGLE_LEGITIMATE:
        return round(_KAGGLE_LEGITIMATE / negatives, 4)
    return None
