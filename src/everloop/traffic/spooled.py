"""What waits in the spools of this machine, as the log will have it; read without touching it.

The mover takes rows away at any time. Who wants every row once reads the spools first and the log after: then a row is
in one of both, or in both, and never in none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final, Literal

import polars as pl

from everloop.errors import TrafficError
from everloop.traffic.answers import answers_without
from everloop.traffic.records import decode_outcomes, decode_predictions, outcomes_without, predictions_without
from everloop.traffic.spool import APPEND_LOCK, connect, databases, file_lock
from everloop.traffic.tables import OUTCOMES, PREDICTIONS

__all__ = [
    "Kind",
    "SpoolPlaces",
    "each_waiting",
    "erase_answers",
    "erase_outcomes",
    "erase_predictions",
    "last_blocks",
    "scrub",
    "waiting_count",
    "waiting_of",
    "waiting_rows",
    "waiting_since",
]

Kind = Literal["predictions", "outcomes"]
SpoolPlaces = dict[str, int]
"""Per spool, by its uuid: the last block that was seen."""

_DECODE: Final[dict[Kind, Callable[[Sequence[bytes]], pl.DataFrame]]] = {
    "predictions": decode_predictions,
    "outcomes": decode_outcomes,
}
_EMPTY: Final = {"predictions": PREDICTIONS, "outcomes": OUTCOMES}
_AT_ONCE: Final = 200
_SCRUB_BYTES: Final = 8 * 1024 * 1024
_SCRUBS: Final = 10_000
# Each transaction leaves a few pages of its own.
_FREE_PAGES: Final = 4
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


def erase_outcomes(folder: Path, model: str, ids: set[str], entity: str, *, dry_run: bool = False) -> int:
    """Delete the outcomes that wait in any spool of these predictions, and told by this entity; returns how many."""
    gone = 0
    for path in databases(folder) if folder.is_dir() else ():
        with _writable(path) as connection:
            for seq, rows, body in _each_block(connection, model, "outcomes"):
                left, count = outcomes_without(body, ids, entity)
                gone += count
                if count and not dry_run:
                    _put_back(path, connection, "block", seq, left, rows - count)
    return gone


def erase_answers(folder: Path, model: str, ids: set[str]) -> None:
    """Forget what was answered under these ids, in every spool: sent again, each is a new row."""
    for path in databases(folder) if folder.is_dir() else ():
        with _writable(path) as connection:
            found = connection.execute("SELECT seq FROM answered WHERE model = ? ORDER BY seq", (model,)).fetchall()
            for (seq,) in found:
                row = connection.execute("SELECT rows, body FROM answered WHERE seq = ?", (seq,)).fetchone()
                left, gone = (None, 0) if row is None else answers_without(row[1], ids)
                if gone:
                    _put_back(path, connection, "answered", seq, left, row[0] - gone)


def waiting_of(folder: Path, model: str, entity: str) -> set[str]:
    """The ids of an entity's predictions that wait in any spool."""
    found: set[str] = set()
    for frame in each_waiting(folder, model, "predictions"):
        found.update(frame.filter(pl.col("entity") == entity)["prediction_id"])
    return found


def erase_predictions(folder: Path, model: str, entity: str) -> None:
    """Delete an entity's predictions that wait in any spool."""
    for path in databases(folder) if folder.is_dir() else ():
        with _writable(path) as connection:
            for seq, rows, body in _each_block(connection, model, "predictions"):
                left, gone = predictions_without(body, entity)
                if gone:
                    _put_back(path, connection, "block", seq, left, rows - len(gone))


def scrub(folder: Path) -> list[str]:
    """Write over what was deleted from the spools, in their files and journals; names the journals that are in use."""
    busy = []
    for path in databases(folder) if folder.is_dir() else ():
        with _writable(path) as connection:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            for _ in range(_SCRUBS):
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
                if free <= _FREE_PAGES:
                    break
                # The pages are taken from the free ones, and written with zeros; some at a time, as capture goes on.
                with _among_appends(path), connection as tx:
                    tx.execute("CREATE TABLE IF NOT EXISTS scrub (body BLOB)")
                    tx.execute("INSERT INTO scrub VALUES (zeroblob(?))", (min(free * page, _SCRUB_BYTES),))
            with _among_appends(path):
                with connection as tx:
                    tx.execute("DROP TABLE IF EXISTS scrub")
                (blocked, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if blocked:
                busy.append(f"{path.name}-wal")
    return busy


@contextmanager
def _writable(path: Path) -> Iterator[sqlite3.Connection]:
    """A spool opened to delete from: what is deleted is written over. Raises TrafficError where that cannot be."""
    try:
        with closing(connect(path, durability="full")) as connection:
            connection.execute("PRAGMA secure_delete=1")
            yield connection
    except sqlite3.DatabaseError as error:
        raise TrafficError(f"{path} cannot be changed: {error}; 'everloop doctor' looks at it") from error


def _each_block(connection: sqlite3.Connection, model: str, kind: Kind) -> Iterator[tuple[int, int, bytes]]:
    """Seq, rows and body of each block, one at a time, so that it can be changed meanwhile."""
    found = connection.execute("SELECT seq FROM block WHERE model = ? AND kind = ? ORDER BY seq", (model, kind))
    for (seq,) in found.fetchall():
        row = connection.execute("SELECT rows, body FROM block WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            yield seq, row[0], row[1]


def _put_back(path: Path, connection: sqlite3.Connection, table: str, seq: int, body: bytes | None, rows: int) -> None:
    """A block in the place of itself, unless it has been moved away meanwhile; without rows it goes."""
    with _among_appends(path), connection as tx:
        if body is None:
            tx.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))  # noqa: S608
        else:
            tx.execute(f"UPDATE {table} SET body = ?, rows = ? WHERE seq = ?", (body, rows, seq))  # noqa: S608


def _among_appends(path: Path) -> AbstractContextManager[None]:
    """In turn with who records, a block at a time."""
    return file_lock(path.with_name(APPEND_LOCK))
