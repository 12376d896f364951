"""Days of a model's traffic as the retention rule sees them; they leave the log whole, and no row is read for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from everloop.errors import Conflict, TrafficError
from everloop.traffic.delta import DeltaLog
from everloop.traffic.moving import alone_with_the_tables
from everloop.traffic.place import TrafficRoot
from everloop.traffic.tables import OUTCOMES, PREDICTIONS, open_table

__all__ = ["TrafficDay", "remove_days", "traffic_days"]

_TRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficDay:
    """A UTC day of a model's log: of its predictions that happened, and of its outcomes that were observed then."""

    model: str
    day: date
    rows: int
    bytes: int


def traffic_days(root: TrafficRoot, model: str) -> list[TrafficDay]:
    """The days that have rows in the log, oldest first, by the tables' own books."""
    found: dict[date, tuple[int, int]] = {}
    for table in (PREDICTIONS, OUTCOMES):
        for file in open_table(root, model, table).files.values():
            rows, size = found.get(file.day, (0, 0))
            found[file.day] = rows + file.rows, size + file.size_bytes
    return [TrafficDay(model=model, day=day, rows=rows, bytes=size) for day, (rows, size) in sorted(found.items())]


def remove_days(root: TrafficRoot, spool: Path, model: str, days: Collection[date], *, flush: bool = False) -> None:
    """Take days out of both tables, a commit each. Their files go an hour later, as readers may hold them yet.

    What was removed before and is old enough goes from the disk now. Days that are not there are fine.
    """
    with alone_with_the_tables(spool):
        for table in (PREDICTIONS, OUTCOMES):
            log = open_table(root, model, table, flush=flush)
            if log.exists:
                _remove(log, days)
                log.vacuum(older_than_h=1)


def _remove(log: DeltaLog, days: Collection[date]) -> None:
    for _ in range(_TRIES):
        old = [file for file in log.files.values() if file.day in days]
        if not old:
            return
        try:
            log.commit(add=[], remove=old, deletes=True)
        except Conflict:
            continue  # another machine has rewritten one of them
    raise TrafficError("the tables are rewritten by another machine all the time; what is old goes the next time")
