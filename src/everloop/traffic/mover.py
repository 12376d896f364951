"""From the spools to the log, exactly once.

One mover per project, under a lock. It takes the blocks of every slot, those of dead workers first, writes them as
Parquet, and commits them to Delta with one application transaction per spool: the spool's uuid and its last block. Only
when the commit has been read back are the blocks deleted. Dying anywhere leaves one of two states: the commit is not
there, then the blocks are moved again (files without a commit are no part of the table); or it is, then its transaction
says up to which block, and the next mover only deletes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from everloop.clock import Clock, to_us
from everloop.errors import AlreadyRunning, IntegrationError, StorageFull, TrafficError, no_room
from everloop.traffic.compaction import compact
from everloop.traffic.delta import DeltaLog
from everloop.traffic.moving import alone_with_the_tables
from everloop.traffic.place import TrafficRoot, tables_of
from everloop.traffic.records import DECODE
from everloop.traffic.spool import KEEP_ROWS, KEEP_S, Durability, among_appends, connect, databases, is_held
from everloop.traffic.tables import TABLES, fit, open_table

__all__ = ["CRASH_POINTS", "Moved", "Mover", "Stop"]

CRASH_POINTS: Final = ("read", "files written", "committed", "first spool deleted", "deleted", "compacted")
# One commit takes at most this much of a backlog into memory.
_COMMIT_BYTES: Final = 64 * 1024 * 1024
_FOLD_EVERY_S: Final = 2.0
_WAL_PAGES: Final = 4_096  # with more in it, it is begun anew
_FOLDS_AT_ONCE: Final = 30
_MERGES_AT_ONCE: Final = 4
_DELETE_BLOCKS: Final = 16
_BREATH_S: Final = 0.0005  # in which whoever waits to record comes in
# More than are recorded between two times of forgetting, at any rate that one worker reaches.
_FORGET_EVERY: Final = 8
_FORGET_BLOCKS: Final = 20_000
_VACUUM_EVERY: Final = 32

_log = logging.getLogger(__name__)


class Stop(Protocol):
    """Says when to stop; `threading.Event` is one."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the word to stop; true once it was given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Rows moved to the log."""

    predictions: int = 0
    outcomes: int = 0


class _Source:
    """One slot's database, as the mover sees it."""

    def __init__(self, path: Path, durability: Durability) -> None:
        self.path = path
        self.connection = connect(path, durability=durability)
        # The mover checkpoints by itself, when it has deleted.
        self.connection.execute("PRAGMA wal_autocheckpoint=0")
        (self.uuid,) = self.connection.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
        self.inode = path.stat().st_ino
        self._folded_s = time.monotonic()

    @property
    def in_place(self) -> bool:
        """Whether what is open here is still the file of its name."""
        try:
            return self.path.stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    def streams(self) -> list[tuple[str, str]]:
        """The (model, kind) that have blocks here."""
        return self.connection.execute("SELECT DISTINCT model, kind FROM block").fetchall()

    def blocks(
        self, model: str, kind: str, *, after: int, limit_bytes: int
    ) -> tuple[list[tuple[int, int, bytes]], bool]:
        """The next (seq, rows, body), in order, at least one, as many as fit; whether there are more."""
        taken: list[tuple[int, int, bytes]] = []
        cursor = self.connection.execute(
            "SELECT seq, rows, body FROM block WHERE model = ? AND kind = ? AND seq > ? ORDER BY seq",
            (model, kind, after),
        )
        size = 0
        more = False
        for seq, rows, body in cursor:
            size += len(body)
            if taken and size > limit_bytes:
                more = True
                break
            taken.append((seq, rows, body))
        cursor.close()
        return taken, more

    def delete(self, model: str, kind: str, *, up_to: int) -> None:
        """Delete blocks that are in the log."""
        self._delete("block", "model = ? AND kind = ? AND seq <= ?", (model, kind, up_to))

    def forget(self, *, before_us: int, keep_rows: int) -> None:
        """Let go of answers beyond the horizon."""
        (surplus,) = self.connection.execute("SELECT coalesce(sum(rows), 0) FROM answered").fetchone()
        surplus -= keep_rows
        last = 0
        oldest = "SELECT seq, rows, recorded_at_us FROM answered ORDER BY seq LIMIT ?"
        for seq, rows, recorded_at_us in self.connection.execute(oldest, (_FORGET_BLOCKS,)).fetchall():
            if recorded_at_us >= before_us and surplus < rows:
                break
            last, surplus = seq, surplus - rows
        self._delete("answered", "seq <= ?", (last,))

    def _delete(self, table: str, which: str, asked: tuple[str | int, ...]) -> None:
        """A few blocks at a time: whoever records meanwhile waits for one such step at most."""
        some = f"SELECT seq FROM {table} WHERE {which} ORDER BY seq LIMIT {_DELETE_BLOCKS}"  # noqa: S608
        gone = _DELETE_BLOCKS
        while gone == _DELETE_BLOCKS:
            with among_appends(self.path), self.connection as tx:
                gone = tx.execute(f"DELETE FROM {table} WHERE seq IN ({some})", asked).rowcount  # noqa: S608
            time.sleep(_BREATH_S)

    def checkpoint(self) -> None:
        """Fold the WAL into the database every few seconds, before the worker would have to.

        The next append begins it anew where all of it is folded, for which the worker is kept out. So it is folded
        beside the worker first, again and again: what came meanwhile is less each time, and one that ends between two
        appends flushes the database to the disk. None waits for who reads.
        """
        if time.monotonic() - self._folded_s < _FOLD_EVERY_S:
            return
        if self._fold() > _WAL_PAGES:
            for _ in range(_FOLDS_AT_ONCE):
                self._fold()
            with among_appends(self.path):
                self._fold()
        self._folded_s = time.monotonic()

    def _fold(self) -> int:
        """Fold what the WAL holds, and tell how many pages that is, folded before or now."""
        _, pages, _ = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(pages)


class Mover:
    """The project's one mover. Open it with `Mover.open`."""

    def __init__(
        self,
        *,
        spool: Path,
        traffic: TrafficRoot,
        clock: Clock,
        lock: int,
        durability: Durability,
        crash: Callable[[str], None],
        keep_s: float,
        keep_rows: int,
    ) -> None:
        self._spool = spool
        self._traffic = traffic
        self._clock = clock
        self._lock = lock
        self._durability: Durability = durability
        self._crash = crash
        self._keep_s = keep_s
        self._keep_rows = keep_rows
        self._sources: dict[str, _Source] = {}
        self._unreadable: set[str] = set()
        self._tables: dict[tuple[str, str], DeltaLog] = {}
        self._closed = False
        self._moves = 0
        self._compactions = 0

    @classmethod
    def open(
        cls,
        *,
        spool: Path,
        traffic: TrafficRoot,
        clock: Clock,
        durability: Durability = "process",
        crash: Callable[[str], None] = lambda point: None,
        keep_s: float = KEEP_S,
        keep_rows: int = KEEP_ROWS,
    ) -> Self:
        """The mover of the spools in a folder to the tables in another; raises AlreadyRunning where there is one.

        crash: called with each of `CRASH_POINTS` as it is reached, for tests that die there.
        keep_s, keep_rows: how long ids stay known; see `everloop.traffic.spool`.
        """
        spool.mkdir(parents=True, exist_ok=True)
        lock = os.open(spool / "mover.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise AlreadyRunning(
                f"another process moves the traffic of {spool}; one is enough. 'everloop status' shows what is running"
            ) from None
        return cls(
            spool=spool,
            traffic=traffic,
            clock=clock,
            lock=lock,
            durability=durability,
            crash=crash,
            keep_s=keep_s,
            keep_rows=keep_rows,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the databases and give the lock back."""
        if self._closed:
            return
        self._closed = True
        for source in self._sources.values():
            source.connection.close()
        os.close(self._lock)

    def pending(self) -> int:
        """Rows that wait in the spools."""
        return sum(
            source.connection.execute("SELECT coalesce(sum(rows), 0) FROM block").fetchone()[0]
            for source in self._found()
        )

    def move_once(self) -> Moved:
        """Move all that waits now; what comes meanwhile waits for the next time.

        Raises StorageFull where the disk has no room; the spools keep their rows then.
        """
        rows = {"predictions": 0, "outcomes": 0}
        try:
            with alone_with_the_tables(self._spool):
                sources = self._found()
                for model, kind in sorted({stream for source in sources for stream in source.streams()}):
                    rows[kind] += self._move_stream(sources, model, kind)
                self._keep_house(sources, moved=any(rows.values()))
        except (OSError, sqlite3.DatabaseError) as error:
            raise _as_ours(error, _where(self._traffic)) from error
        return Moved(**rows)

    def run(self, stop: Stop, *, poll_s: float = 1.0) -> None:
        """Move until told to stop, then once more.

        A full disk, or a storage that does not answer, is waited out, and said when it begins and when it is over.
        """
        full = False
        while True:
            stopping = stop.wait(poll_s)
            try:
                self.move_once()
                if full:
                    _log.warning("%s takes traffic again; what waited was moved", _where(self._traffic))
                full = False
            except (StorageFull, IntegrationError) as error:
                if not full:
                    _log.warning("%s", error)
                full = True
            if stopping:
                return

    def compact(self) -> int:
        """Rewrite the small files of every day as one; returns how many went.

        Rows are the same before and after, sorted by time. Readers that hold the old files have an hour.
        """
        names = tables_of(self._traffic)
        with alone_with_the_tables(self._spool):
            return sum(self._compacted(model, kind) for model, kind in names if kind in TABLES)

    def _compacted(self, model: str, kind: str) -> int:
        table = self._table(model, kind)
        table.refresh()
        return self._compact(table, older=2, newest=2)

    def _found(self) -> list[_Source]:
        """Every slot's database; those without a worker first. One that cannot be read is told and left out."""
        for name, source in list(self._sources.items()):
            if not source.in_place:
                # Deleted under its worker: what it still holds is moved, then it is let go.
                del self._sources[name]
                if source.streams():
                    self._sources[f"{source.path.name} {source.inode}"] = source
                else:
                    source.connection.close()
        for path in databases(self._spool):
            if path.name not in self._sources:
                try:
                    self._sources[path.name] = _Source(path, self._durability)
                except sqlite3.DatabaseError as error:
                    if path.name not in self._unreadable:
                        _log.error("%s cannot be read (%s): its rows are not moved; the others are", path, error)
                    self._unreadable.add(path.name)
        sources = list(self._sources.values())
        if len(sources) == 1:
            return sources
        return sorted(sources, key=lambda source: is_held(self._spool, source.path))

    def _table(self, model: str, kind: str) -> DeltaLog:
        table = self._tables.get((model, kind))
        if table is None:
            table = self._tables[model, kind] = open_table(
                self._traffic, model, TABLES[kind], flush=self._durability == "full"
            )
        return table

    def _move_stream(self, sources: Sequence[_Source], model: str, kind: str) -> int:
        rows, more = 0, True
        table = self._table(model, kind)
        if not table.exists:
            table.create()
        self._delete_moved(sources, table, model, kind)
        while more:
            moved, more = self._move_some(sources, table, model, kind)
            rows += moved
        return rows

    def _delete_moved(self, sources: Sequence[_Source], table: DeltaLog, model: str, kind: str) -> None:
        """Blocks that an earlier mover committed and did not live to delete."""
        for source in sources:
            last = table.transaction(source.uuid)
            if last is not None:
                source.delete(model, kind, up_to=last)

    def _move_some(self, sources: Sequence[_Source], table: DeltaLog, model: str, kind: str) -> tuple[int, bool]:
        """One commit of blocks; how many rows, and whether there were more than go into one."""
        bodies: list[bytes] = []
        rows, more = 0, False
        room = _COMMIT_BYTES
        last: dict[str, int] = {}
        for source in sources:
            before = table.transaction(source.uuid)
            after = -1 if before is None else before
            blocks, more = source.blocks(model, kind, after=after, limit_bytes=max(room, 1))
            if blocks:
                bodies += [body for _, _, body in blocks]
                rows += sum(n for _, n, _ in blocks)
                room -= sum(len(body) for _, _, body in blocks)
                last[source.uuid] = blocks[-1][0]
            if more or room <= 0:
                more = True
                break
        if not bodies:
            return 0, False
        self._crash("read")
        frame = fit(DECODE[kind](bodies), table)
        files = table.write(frame)
        self._crash("files written")
        table.commit(add=files, transactions=last)
        self._crash("committed")
        for source in sources:
            if source.uuid in last:
                source.delete(model, kind, up_to=last[source.uuid])
                self._crash("first spool deleted")
        self._crash("deleted")
        return rows, more

    def _keep_house(self, sources: Sequence[_Source], *, moved: bool) -> None:
        if not moved:
            return
        self._moves += 1
        for table in self._tables.values():
            if table.checkpoint():
                self._compact(table, older=4, newest=16, most=_MERGES_AT_ONCE)
        for source in sources:
            source.checkpoint()
        if self._moves % _FORGET_EVERY == 0:
            before_us = to_us(self._clock.now()) - int(self._keep_s * 1_000_000)
            for source in sources:
                source.forget(before_us=before_us, keep_rows=self._keep_rows)

    def _compact(self, table: DeltaLog, *, older: int, newest: int, most: int | None = None) -> int:
        """Merge a day's small files where there are so many, on the newest day and on those before."""
        gone, commits = compact(table, older=older, newest=newest, most=most, crash=self._crash)
        before, self._compactions = self._compactions, self._compactions + commits
        if self._compactions // _VACUUM_EVERY > before // _VACUUM_EVERY:
            table.vacuum(older_than_h=1)
        return gone


def _where(traffic: TrafficRoot) -> str:
    return str(traffic) if isinstance(traffic, Path) else traffic.address


def _as_ours(error: OSError | sqlite3.DatabaseError, folder: str) -> TrafficError:
    if no_room(error):
        return StorageFull(
            f"no room to move traffic to {folder} ({error}); it waits in the spool. Free some space there"
        )
    return TrafficError(f"traffic could not be moved to {folder}: {error}; it waits in the spool")
