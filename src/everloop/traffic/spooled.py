"""What waits in the spools of this machine, as the log will have it; read without touching it.

The mover takes rows away at any time. Who wants every row once reads the spools first and the log after: then a row is
in one of both, or in both, and never in none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from everloop.errors import TrafficError
from everloop.traffic.answers import answers_without
from everloop.traffic.records import DECODE, outcomes_without, predictions_without
from everloop.traffic.spool import among_appends, connect, databases, read_each
from everloop.traffic.tables import TABLES, Kind

__all__ = [
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

SpoolPlaces = dict[str, int]
"""Per spool, by its uuid: the last block that was seen."""

_AT_ONCE: Final = 200
_SCRUB_BYTES: Final = 8 * 1024 * 1024
_SCRUBS: Final = 10_000
# Each transaction leaves a few pages of its own.
_FREE_PAGES: Final = 4
_NEWEST: Final = "SELECT rows, body FROM block WHERE model = ? AND kind = ? ORDER BY seq DESC"
_SINCE: Final = "SELECT seq, body FROM block WHERE model = ? AND kind = ? AND seq > ? ORDER BY seq"


def waiting_rows(folder: Path, model: str, kind: Kind, *, newest: int) -> pl.DataFrame:
    """The newest rows that wait, at least `newest` of every spool that has as many, in no order."""

    def newest_of(spool: sqlite3.Connection) -> Iterator[bytes]:
        left = newest
        for rows, body in spool.execute(_NEWEST, (model, kind)):
            if left <= 0:
                break
            yield body
            left -= rows

    return _decoded(kind, list(read_each(folder, newest_of)))


def waiting_since(folder: Path, model: str, kind: Kind, seen: SpoolPlaces) -> pl.DataFrame:
    """The rows of blocks that came after those seen; `seen` is moved on. A spool that is not in it is new: all."""

    def since(spool: sqlite3.Connection) -> Iterator[bytes]:
        uuid = _uuid(spool)
        for seq, body in spool.execute(_SINCE, (model, kind, seen.get(uuid, -1))):
            yield body
            seen[uuid] = seq

    return _decoded(kind, list(read_each(folder, since)))


def each_waiting(folder: Path, model: str, kind: Kind) -> Iterator[pl.DataFrame]:
    """The rows that wait, a few blocks at a time."""

    def some(spool: sqlite3.Connection) -> Iterator[pl.DataFrame]:
        blocks = spool.execute(_SINCE, (model, kind, -1))
        while bodies := [body for _, body in blocks.fetchmany(_AT_ONCE)]:
            yield _decoded(kind, bodies)

    return read_each(folder, some)


def last_blocks(folder: Path) -> SpoolPlaces:
    """How far each spool has come, whatever has been moved away since."""

    def last(spool: sqlite3.Connection) -> Iterator[tuple[str, int]]:
        row = spool.execute("SELECT seq FROM sqlite_sequence WHERE name = 'block'").fetchone()
        yield _uuid(spool), -1 if row is None else row[0]

    return dict(read_each(folder, last))


def waiting_count(folder: Path, model: str, kind: str) -> int:
    """How many rows of a table wait in the spools here."""
    count = "SELECT coalesce(sum(rows), 0) FROM block WHERE model = ? AND kind = ?"
    return sum(rows for (rows,) in read_each(folder, lambda spool: spool.execute(count, (model, kind))))


def _uuid(spool: sqlite3.Connection) -> str:
    (uuid,) = spool.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
    return str(uuid)


def _decoded(kind: Kind, bodies: Sequence[bytes]) -> pl.DataFrame:
    return DECODE[kind](bodies) if bodies else TABLES[kind].empty


def erase_outcomes(folder: Path, model: str, ids: set[str], entity: str, *, dry_run: bool = False) -> int:
    """Delete the outcomes that wait in any spool of these predictions, and told by this entity; returns how many."""
    gone = 0
    for path in databases(folder):
        with _writable(path) as connection:
            for seq, rows, body in _each_block(connection, model, "outcomes"):
                left, count = outcomes_without(body, ids, entity)
                gone += count
                if count and not dry_run:
                    _put_back(path, connection, "block", seq, left, rows - count)
    return gone


def erase_answers(folder: Path, model: str, ids: set[str]) -> None:
    """Forget what was answered under these ids, in every spool: sent again, each is a new row."""
    for path in databases(folder):
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
    for path in databases(folder):
        with _writable(path) as connection:
            for seq, rows, body in _each_block(connection, model, "predictions"):
                left, gone = predictions_without(body, entity)
                if gone:
                    _put_back(path, connection, "block", seq, left, rows - len(gone))


def scrub(folder: Path) -> list[str]:
    """Write over what was deleted from the spools, in their files and journals; names the journals that are in use."""
    busy = []
    for path in databases(folder):
        with _writable(path) as connection:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            for _ in range(_SCRUBS):
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
                if free <= _FREE_PAGES:
                    break
                # The pages are taken from the free ones, and written with zeros; some at a time, as capture goes on.
                with among_appends(path), connection as tx:
                    tx.execute("CREATE TABLE IF NOT EXISTS scrub (body BLOB)")
                    tx.execute("INSERT INTO scrub VALUES (zeroblob(?))", (min(free * page, _SCRUB_BYTES),))
            with among_appends(path):
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
    with among_appends(path), connection as tx:
        if body is None:
            tx.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))  # noqa: S608
        else:
            tx.execute(f"UPDATE {table} SET body = ?, rows = ? WHERE seq = ?", (body, rows, seq))  # noqa: S608
