"""What a person's own file has of what a model of numbers wants: its time, its target, how large that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import polars as pl

from everloop.data import collect
from everloop.errors import DataError, NotEnoughData
from everloop.templates.columns import as_time, asked_column, first_named

__all__ = ["NumericShape", "holds_numbers", "numeric_shape_of"]

_TARGETS: Final = (
    *("minutes", "duration", "duration_min", "duration_minutes", "trip_duration", "travel_time", "eta_minutes"),
    *("price", "sale_price", "amount_due", "target"),
)
_TIMES: Final = (
    *("left_at", "started_at", "start_time", "pickup_datetime", "lpep_pickup_datetime", "tpep_pickup_datetime"),
    *("event_time", "timestamp", "datetime", "time", "created_at", "sold_at", "date"),
)
_IDS: Final = ("id", "trip_id", "order_id", "delivery_id", "ride_id")
_ENTITIES: Final = ("driver", "driver_id", "courier", "courier_id", "customer", "customer_id")
_MANY_VALUES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericShape:
    """Which columns play which part, and how much there is.

    numeric_time: the time column is a number of seconds. span: from the first to the last row.
    middle: the target's median; off: how far outcomes lie from it on average, both in its unit.
    """

    source: str
    columns: tuple[str, ...]
    target: str
    time: str
    numeric_time: bool
    id: str | None
    entity: str | None
    rows: int
    span: timedelta
    middle: float
    off: float


def holds_numbers(lazy: pl.LazyFrame, *, target: str | None, source: str) -> str | None:
    """The column that a regression would be about: the target, or one that is called like it; None for no such one.

    Fractions are numbers; whole ones are where there are more than twenty different.
    """
    schema = dict(lazy.collect_schema())
    name = first_named(schema, _TARGETS) if target is None else target
    if name not in schema or not schema[name].is_numeric():
        return None
    known = pl.col(name).drop_nulls()
    facts = lazy.select(
        values=known.n_unique(), whole=(known.cast(pl.Float64) == known.cast(pl.Float64).round(0)).all()
    )
    found = collect(facts, source).row(0, named=True)
    enough = 2 if found["whole"] is False else _MANY_VALUES
    return name if found["values"] > enough else None


def numeric_shape_of(lazy: pl.LazyFrame, *, source: str, target: str | None) -> NumericShape:
    """Look through the source once. Raises DataError that names the columns it has, NotEnoughData for one outcome."""
    if collect(lazy.head(1), source).is_empty():
        raise NotEnoughData(f"{source} has no rows; a model needs some")
    schema = dict(lazy.collect_schema())
    target = _target(schema, source=source, asked=target)
    time = _time(schema, source=source)
    outcome = pl.col(target).cast(pl.Float64)
    outcome = outcome.filter(outcome.is_finite())
    facts = lazy.select(
        rows=pl.len(),
        low=outcome.min(),
        high=outcome.max(),
        middle=outcome.median(),
        off=(outcome - outcome.median()).abs().mean(),
        first=as_time(time, schema).min(),
        last=as_time(time, schema).max(),
    )
    found: dict[str, Any] = collect(facts, source).row(0, named=True)
    if found["first"] is None:
        raise DataError(f"the column {time!r} of {source} holds no time that can be read (ISO 8601, or seconds)")
    if found["low"] is None or found["low"] == found["high"]:
        raise NotEnoughData(f"the target {target!r} of {source} has one value only; there is nothing to learn from it")
    return NumericShape(
        source=source,
        columns=tuple(schema),
        target=target,
        time=time,
        numeric_time=schema[time].is_numeric(),
        id=first_named(schema, _IDS),
        entity=first_named(schema, _ENTITIES),
        rows=found["rows"],
        span=found["last"] - found["first"],
        middle=found["middle"],
        off=found["off"],
    )


def _target(schema: Mapping[str, Any], *, source: str, asked: str | None) -> str:
    found = first_named(schema, _TARGETS) if asked is None else asked_column(asked, list(schema), source=source)
    if found is None:
        raise DataError(
            f"no column of {source} is called like a target ({', '.join(_TARGETS)}); say which of "
            f"{', '.join(schema)} it is with --target COLUMN"
        )
    if not schema[found].is_numeric():
        raise DataError(
            f"the target {found!r} of {source} holds {schema[found]}, and a regression learns numbers. Make such a "
            "column, or say which one it is with --target COLUMN"
        )
    return found


def _time(schema: Mapping[str, Any], *, source: str) -> str:
    found = first_named(schema, _TIMES)
    if found is None:
        found = next((name for name, kind in schema.items() if kind in (pl.Datetime, pl.Date)), None)
    if found is None:
        raise DataError(
            f"no column of {source} says when a row happened ({', '.join(_TIMES)}, or one of type datetime); "
            f"it has {', '.join(schema)}"
        )
    return found
