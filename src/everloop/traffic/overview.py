"""What a model's traffic is, from its tables' own books: how much, from when to when, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from everloop.clock import from_us
from everloop.traffic.delta import DeltaLog
from everloop.traffic.place import TrafficRoot
from everloop.traffic.spooled import waiting_count
from everloop.traffic.tables import OUTCOMES, PREDICTIONS, Table, open_table

__all__ = ["TableBooks", "TrafficBooks", "traffic_books"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBooks:
    """One table. rows: repeats included. first, last: its times, to the millisecond. waiting: rows in the spools here.

    days: UTC day → rows. columns: name → type, as Polars calls it. address: where Delta's readers find it.
    """

    name: str
    address: str
    version: int
    rows: int
    bytes: int
    files: int
    first: datetime | None
    last: datetime | None
    waiting: int
    days: dict[date, int]
    columns: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "table": self.name,
            "address": self.address,
            "version": self.version,
            "rows": self.rows,
            "bytes": self.bytes,
            "files": self.files,
            "first": None if self.first is None else self.first.isoformat(),
            "last": None if self.last is None else self.last.isoformat(),
            "waiting": self.waiting,
            "days": {day.isoformat(): rows for day, rows in self.days.items()},
            "columns": self.columns,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficBooks:
    """Both tables of a model."""

    model: str
    predictions: TableBooks
    outcomes: TableBooks

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"model": self.model, "predictions": self.predictions.to_dict(), "outcomes": self.outcomes.to_dict()}


def traffic_books(root: TrafficRoot, spool: Path, model: str) -> TrafficBooks:
    """What there is of a model's traffic; opens no file of rows."""
    return TrafficBooks(
        model=model,
        predictions=_books(root, spool, model, PREDICTIONS),
        outcomes=_books(root, spool, model, OUTCOMES),
    )


def _books(root: TrafficRoot, spool: Path, model: str, table: Table) -> TableBooks:
    log = open_table(root, model, table)
    files = log.files.values()
    days: dict[date, int] = {}
    for file in sorted(files, key=lambda one: one.day):
        days[file.day] = days.get(file.day, 0) + file.rows
    low = [file.min_us for file in files if file.min_us is not None]
    high = [file.max_us for file in files if file.max_us is not None]
    return TableBooks(
        name=table.name,
        address=log.address,
        version=log.version,
        rows=sum(days.values()),
        bytes=sum(file.size_bytes for file in files),
        files=len(files),
        first=from_us(min(low)) if low else None,
        last=from_us(max(high)) if high else None,
        waiting=waiting_count(spool, model, table.name),
        days=days,
        columns=_types(log),
    )


def _types(log: DeltaLog) -> dict[str, str]:
    return {name: _type(dtype) for name, dtype in log.schema.items()}


def _type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f"datetime, {dtype.time_zone}"
    return "list of version, score, decision" if isinstance(dtype, pl.List) else str(dtype).lower()
