"""The two tables of a model: their columns, and how a frame that has others is made to fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl

from everloop.errors import TrafficError
from everloop.traffic.delta import DeltaLog
from everloop.traffic.place import FolderPlace, StoredPlace, TablePlace, TrafficRoot

__all__ = ["OUTCOMES", "PREDICTIONS", "TABLES", "Kind", "Table", "fit", "open_table"]

Kind = Literal["predictions", "outcomes"]

_UTC: Final[pl.DataType] = pl.Datetime("us", "UTC")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# A column that comes with another type than it had is kept beside the first as `NAME__TYPE`.
_SUFFIX: Final[Mapping[type[pl.DataType], str]] = {
    pl.Int64: "int",
    pl.Float64: "float",
    pl.Float32: "float32",
    pl.Boolean: "bool",
    pl.String: "string",
    pl.Date: "date",
    pl.Datetime: "datetime",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table's name, its columns, and the time it is partitioned by."""

    name: str
    time: str
    partition: str
    schema: pl.Schema

    @property
    def empty(self) -> pl.DataFrame:
        """No rows, as they are before their partition is known."""
        return pl.DataFrame(schema={name: dtype for name, dtype in self.schema.items() if name != self.partition})


def _schema(columns: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.Schema:
    return pl.Schema(columns)


PREDICTIONS: Final = Table(
    name="predictions",
    time="event_time",
    partition="event_date",
    schema=_schema(
        {
            "prediction_id": pl.String,
            "event_time": _UTC,
            "recorded_at": _UTC,
            "entity": pl.String,
            "answered_version": pl.Int32,
            "side": pl.String,
            "propensity": pl.Float64,
            "score": pl.Float32,
            "decision": pl.Boolean,
            "threshold": pl.Float64,
            "scores": pl.List(pl.Struct({"version": pl.Int32, "score": pl.Float32, "decision": pl.Boolean})),
            "routing_revision": pl.Int64,
            "schema_version": pl.Int32,
            "event_date": pl.Date,
        }
    ),
)
OUTCOMES: Final = Table(
    name="outcomes",
    time="observed_at",
    partition="observed_date",
    schema=_schema(
        {
            "prediction_id": pl.String,
            "name": pl.String,
            "value": pl.String,
            "number": pl.Float64,
            "observed_at": _UTC,
            "recorded_at": _UTC,
            "source": pl.String,
            "entity": pl.String,
            "event_time": _UTC,
            "observed_date": pl.Date,
        }
    ),
)
TABLES: Final[Mapping[str, Table]] = {"predictions": PREDICTIONS, "outcomes": OUTCOMES}
"""By kind."""


def open_table(root: TrafficRoot, model: str, table: Table, *, flush: bool = False) -> DeltaLog:
    """The log of one table of a model, as it stands; it may not exist yet.

    flush: bring every file to the disk before what refers to it exists, so that no loss of power tears the table.
    """
    if _NAME.fullmatch(model) is None:
        raise TrafficError(f"{model!r} is no name of a model: 1 to 64 of letters, digits, '_' and '-'")
    place: TablePlace
    if isinstance(root, Path):
        place = FolderPlace(root / model / table.name, flush=flush)
    else:
        place = StoredPlace(root, f"traffic/{model}/{table.name}")
    log = DeltaLog(place, schema=table.schema, partition=table.partition, time=table.time)
    log.refresh()
    return log


def fit(frame: pl.DataFrame, table: DeltaLog) -> pl.DataFrame:
    """The frame with the table's columns; new ones are added to the table, null where the frame has none.

    A whole number fits a column of numbers. Whatever else comes with another type than its column has is kept in a
    column of its own, so that a changed contract never stops the log; so is a name that Delta takes for another's,
    since it differs in nothing but case, as `NAME__case`.
    """
    known = table.schema
    spelt = {name.lower(): name for name in known}
    columns: list[pl.Series] = []
    added: dict[str, pl.DataType] = {}
    for column in frame.get_columns():
        name, dtype = column.name, column.dtype
        while spelt.setdefault(name.lower(), name) != name:
            name = f"{name}__case"
        target = _home(name, dtype, known)
        if target not in known:
            added[target] = dtype
        columns.append(column.cast(known.get(target, dtype)).alias(target))
    if added:
        table.add_columns(added)
    # What a column lacks in this frame its file lacks too: readers see null.
    return pl.DataFrame(columns)


def _home(name: str, dtype: pl.DataType, known: Mapping[str, pl.DataType]) -> str:
    have = known.get(name)
    if have is None or have == dtype or (have == pl.Float64 and dtype == pl.Int64):
        return name
    return f"{name}__{_SUFFIX[type(dtype)]}"
