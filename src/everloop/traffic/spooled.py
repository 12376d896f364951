"""What waits in the spools of this machine, as the log will have it; read without touching it.

The mover takes rows away at any time. Who wants every row once reads the spools first and the log after: then a row is
in one of both, or in both, and never in none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

import polars as pl

from everloop.errors import TrafficError
from everloop.traffic.records import decode_outcomes, decode_predictions
from everloop.traffic.spool import connect, databases
from everloop.traffic.tables import OUTCOMES, PREDICTIONS

__all__ = ["Kind", "SpoolPlaces", "each_waiting", "last_blocks", "waiting_count", "waiting_rows", "waiting_since"]

Kind = Literal["predictions", "outcomes"]
SpoolPlaces = dict[str, int]
"""Per spool, by its uuid: the last block that was seen."""

_DECODE: Final[dict[Kind, Callable[[Sequence[bytes]], pl.DataFrame]]] = {
    "predictions": decode_predictions,
    "outcomes": decode_outcomes,
}
_EMPTY: Final = {"predictions": PREDICTIONS, "outcomes": OUTCOMES}
_AT_ONCE: Final = 200
_NEWEST: Final = "SELECT rows, body FROM block WHERE model = ? AND kind = ? ORDER BY seq DESC"
_SINCE: Final = "SELECT seq, body FROM block WHERE model = ? AND kind = ? AND seq > ? ORDER BY seq"


def waiting_rows(folder: Path, model: str, kind: Kind, *, newest: int) -> pl.DataFrame:
    """The newest rows that wait, at least `newest` of every spool that has as many, in no order."""
    bodies: list[bytes] = []
    for connection in _spools(folder):
        left = newest
        for rows, body in connection.execute(_NEWEST, (model, kind)):
            if left <= 0:
                break
            bodies.append(body)
            left -= rows
    return _decoded(kind, bodies)


def waiting_since(folder: Path, model: str, kind: Kind, seen: SpoolPlaces) -> pl.DataFrame:
    """The rows of blocks that came after those seen; `seen` is moved on. A spool that is not in it is new: all."""
    bodies: list[bytes] = []
    for connection in _spools(folder):
        (uuid,) = connection.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
        for seq, body in connection.execute(_SINCE, (model, kind, seen.get(uuid, -1))):
            bodies.append(body)
            seen[uuid] = seq
    return _decoded(kind, bodies)


def each_waiting(folder: Path, model: str, kind: Kind) -> Iterator[pl.DataFrame]:
    """The rows that wait, a few blocks at a time."""
    for connection in _spools(folder):
        blocks = connection.execute(_SINCE, (model, kind, -1))
        while bodies := [body for _, body in blocks.fetchmany(_AT_ONCE)]:
            yield _decoded(kind, bodies)


def last_blocks(folder: Path) -> SpoolPlaces:
    """How far each spool has come, whatever has been moved away since."""
    found: SpoolPlaces = {}
    for connection in _spools(folder):
        (uuid,) = connection.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'block'").fetchone()
        found[uuid] = -1 if row is None else row[0]
    return found


def waiting_count(folder: Path, model: str, kind: str) -> int:
    """How many rows of a table wait in the spools here."""
    count = "SELECT coalesce(sum(rows), 0) FROM block WHERE model = ? AND kind = ?"
    return sum(spool.execute(count, (model, kind)).fetchone()[0] for spool in _spools(folder))


def _spools(folder: Path) -> Iterator[sqlite3.Connection]:
    """Each spool, opened to read only. Raises TrafficError where one cannot be read."""
    for path in databases(folder) if folder.is_dir() else ():
        try:
            connection = connect(path, durability="process", read_only=True)
        except FileNotFoundError:  # taken away since it was listed
            continue
        with closing(connection):
            try:
                yield connection
            except sqlite3.DatabaseError as error:
                raise TrafficError(f"{path} cannot be read: {error}; 'everloop doctor' looks at it") from error


def _decoded(kind: Kind, bodies: Sequence[bytes]) -> pl.DataFrame:
    if bodies:
        return _DECODE[kind](bodies)
    table = _EMPTY[kind]
    return pl.DataFrame(schema={name: dtype for name, dtype in table.schema.items() if name != table.partition})
