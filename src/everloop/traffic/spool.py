"""Where traffic is first written down: one SQLite file per worker slot, durable before the answer is given.

A slot is held by a lock on `slot-N.lock`, which dies with its process; a slot that a dead worker left is taken over by
the next one, with everything in it. Each append is one commit: `synchronous=NORMAL` in WAL mode survives the death of
any process, `durability="full"` the loss of power. Blocks wait here for the mover, which deletes them once they are
read back from the log.

A prediction id is recorded once. Beside the blocks every slot keeps, for each id, the digest of its row and the answer
that was given, also after the block has moved: for `keep_s` seconds of recorded time (48 hours) and at most `keep_rows`
ids per slot (2,000,000, of which at least the last million are found; see `known_ids`). Within that horizon the same id
with the same row gets the recorded answer, with another row `IdConflict`. Look-up and commit happen under one lock for
all the slots of a machine, so that two workers cannot record one id.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt

from everloop.clock import Clock, to_us
from everloop.errors import IdConflict, StorageFull, TrafficError, no_room
from everloop.traffic.answers import ANSWERS_SCHEMA, Answered, Answers, encode_answers, make_ids
from everloop.traffic.known_ids import places_of
from everloop.traffic.records import OutcomeRecord, PredictionBatch, encode_outcomes, encode_predictions

__all__ = ["SPOOL_CRASH_POINTS", "Answered", "Durability", "Recorded", "Spool", "file_lock"]

Durability = Literal["process", "full"]
_T = TypeVar("_T")
_log = logging.getLogger(__name__)
KEEP_S: Final = 48 * 3600.0
KEEP_ROWS: Final = 2_000_000
_FIRST_US: Final = to_us(datetime.min.replace(tzinfo=UTC))
_LAST_US: Final = to_us(datetime.max.replace(tzinfo=UTC)) - 1000
_PAGE_BYTES: Final = 4096
_BUSY_S: Final = 30.0
# The mover checkpoints the WAL, off the hot path; the worker itself only when 256 MB have piled up.
_WAL_PAGES: Final = 65_536
APPEND_LOCK: Final = "append.lock"
SPOOL_CRASH_POINTS: Final = ("ids entered", "predictions written", "predictions committed", "outcomes committed")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS block (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, model TEXT NOT NULL,
  rows INTEGER NOT NULL, body BLOB NOT NULL
);
"""
_REMEMBER: Final = "INSERT INTO answered VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of a batch's rows.

    rows: how many were recorded now. earlier: row of the batch → the answer recorded before for the same id and row,
    to be given instead of the new one. conflicts: row of the batch → why it was refused; its id belongs to another row.
    """

    rows: int
    earlier: Mapping[int, bytes]
    conflicts: Mapping[int, IdConflict]


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, waiting for it; it dies with the process."""
    with path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Spool:
    """One worker's spool. Open it with `Spool.open`; it is not shared between threads.

    Where its database is deleted under it, the next append begins a new one: what is written to a file that has no name
    any more is lost with the process.
    """

    def __init__(
        self,
        *,
        folder: Path,
        slot: int,
        lock: int,
        connect: Callable[[], sqlite3.Connection],
        clock: Clock,
        crash: Callable[[str], None],
    ) -> None:
        self.slot = slot
        self._folder = folder
        self._path = _database(folder, slot)
        self._lock = lock
        self._connect = connect
        self._connection = connect()
        self._inode = os.stat(self._path).st_ino
        self._clock = clock
        self._crash = crash
        self._append_lock = os.open(folder / APPEND_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        self._answers = self._own_answers()
        self._last_seq = self._answers.last_seq
        self._closed = False

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        clock: Clock,
        slot: int | None = None,
        durability: Durability = "process",
        limit_bytes: int | None = None,
        crash: Callable[[str], None] = lambda point: None,
    ) -> Self:
        """Take a free slot of the folder, or the one asked for; raises TrafficError where that is held.

        limit_bytes: the most this slot's database may grow to; then appends raise StorageFull, as on a full disk.
        crash: called with each of `SPOOL_CRASH_POINTS` as it is reached, for tests that die there.
        """
        folder.mkdir(parents=True, exist_ok=True)

        def connected() -> sqlite3.Connection:
            connection = connect(_database(folder, taken), durability=durability)
            if limit_bytes is not None:
                connection.execute(f"PRAGMA max_page_count={max(1, limit_bytes // _PAGE_BYTES)}")
            return connection

        with _Writing(folder), file_lock(folder / "slots.lock"):
            taken, lock = _take_slot(folder, slot)
            try:
                _tell_ids_of_the_dead(folder)
                _set_aside_if_damaged(_database(folder, taken))
                return cls(folder=folder, slot=taken, lock=lock, connect=connected, clock=clock, crash=crash)
            except BaseException:
                os.close(lock)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the slot back. What is in it stays for the mover."""
        if self._closed:
            return
        self._closed = True
        self._answers.close()
        self._connection.close()
        for handle in (self._append_lock, self._lock):
            os.close(handle)

    def answers_for(self, model: str, ids: Sequence[str]) -> dict[str, Answered]:
        """What any slot of this machine has answered for these ids within the horizon."""
        with _Writing(self._folder):
            return self._answers.found(model, ids, places_of(model, ids))

    def _own_answers(self) -> Answers:
        return Answers(
            self._path,
            self._connection,
            connect=lambda path: connect(path, durability="process", read_only=True),
            list_databases=databases,
        )

    def _stay_in_place(self) -> None:
        """Begin a new database where the one that is open is no longer the file of its name."""
        with contextlib.suppress(FileNotFoundError):
            if self._answers.settled():
                return
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                return
        _log.error("%s was deleted while it was in use; a new one is begun", self._path)
        self._answers.close()
        self._connection.close()
        with _Writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with file_lock(self._folder / "slots.lock"):
                # The locks may be gone as well; whoever comes new would take the new files.
                held = try_lock(self._path.with_suffix(".lock"))
                if held is not None:
                    held, self._lock = self._lock, held
                    os.close(held)
                append_lock = os.open(self._folder / APPEND_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
                append_lock, self._append_lock = self._append_lock, append_lock
                os.close(append_lock)
                if not self._path.exists():
                    for end in ("-wal", "-shm"):
                        self._path.with_name(f"{self._path.name}{end}").unlink(missing_ok=True)
                self._connection = self._connect()
                self._inode = os.stat(self._path).st_ino
                self._answers = self._own_answers()
                self._last_seq = self._answers.last_seq

    def append_predictions(self, batch: PredictionBatch) -> Recorded:
        """Record a batch durably, in one commit, each id once.

        A row whose id is known is not recorded again: see `Recorded`. Raises StorageFull with nothing written.
        """
        _check_times("event_time", batch.event_time_us)
        self._stay_in_place()
        places = places_of(batch.model, batch.ids)
        with _Alone(self._append_lock), _Writing(self._folder):
            fresh, earlier, conflicts = self._sorted_out(batch, places)
            if len(fresh) == len(batch):
                self._commit(batch, places)
            elif fresh:
                self._commit(batch.take(fresh), [places[row] for row in fresh])
        return Recorded(rows=len(fresh), earlier=earlier, conflicts=conflicts)

    def _commit(self, part: PredictionBatch, places: Sequence[int]) -> None:
        recorded_at_us = to_us(self._clock.now())
        body = encode_predictions(part, recorded_at_us=recorded_at_us)
        answers = encode_answers(part.layout, part.ids, part.digests, part.answers)
        seq = self._last_seq + 1
        self._answers.enter(places, seq)
        self._crash("ids entered")
        with self._connection as tx:
            _insert(tx, seq, "predictions", part.model, len(part), body)
            self._crash("predictions written")
            tx.execute(_REMEMBER, (seq, part.model, recorded_at_us, len(part), answers))
        self._last_seq = seq
        self._crash("predictions committed")

    def append_outcomes(self, model: str, outcomes: Sequence[OutcomeRecord]) -> None:
        """Record outcomes durably, in one commit. Raises StorageFull with nothing written."""
        if not outcomes:
            return
        _check_times("observed_at", np.array([outcome.observed_at_us for outcome in outcomes]))
        self._stay_in_place()
        body = encode_outcomes(outcomes, recorded_at_us=to_us(self._clock.now()))
        seq = self._last_seq + 1
        with _Alone(self._append_lock), _Writing(self._folder), self._connection as tx:
            _insert(tx, seq, "outcomes", model, len(outcomes), body)
        self._last_seq = seq
        self._crash("outcomes committed")

    def _sorted_out(
        self, batch: PredictionBatch, places: Sequence[int]
    ) -> tuple[Sequence[int], dict[int, bytes], dict[int, IdConflict]]:
        """Rows to record now, rows answered before, rows whose id is another row's."""
        known = self._answers.found(batch.model, batch.ids, places)
        if not known and len(set(batch.ids)) == len(batch):
            return range(len(batch)), {}, {}
        fresh: list[int] = []
        earlier: dict[int, bytes] = {}
        conflicts: dict[int, IdConflict] = {}
        for row, (prediction_id, digest) in enumerate(zip(batch.ids, batch.digests, strict=True)):
            before = known.get(prediction_id)
            if before is None:
                fresh.append(row)
                known[prediction_id] = Answered(digest, batch.answers[row], batch.layout)
            elif before.is_of(digest, batch.layout):
                earlier[row] = before.answer
            else:
                conflicts[row] = IdConflict(
                    f"prediction id {prediction_id!r} was used for another row of {batch.model}; "
                    "one id names one row. Send this row under an id of its own"
                )
        return fresh, earlier, conflicts


def connect(path: Path, *, durability: Durability, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a slot's database, made where it does not exist; to read only, it raises FileNotFoundError."""
    if not path.exists():
        if read_only:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        _create(path)
    address = f"{path.absolute().as_uri()}?mode=rw"  # which SQLite does not make either
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY_S, isolation_level="IMMEDIATE", check_same_thread=False
    )
    try:
        if read_only:
            connection.execute("PRAGMA query_only=1")
        else:
            connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the database aside and move it into place whole: neighbours look into every file they see."""
    aside = path.with_name(f"new-{path.name}")
    for old in (aside, aside.with_name(f"{aside.name}-wal"), aside.with_name(f"{aside.name}-shm")):
        old.unlink(missing_ok=True)
    connection = sqlite3.connect(aside)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_SCHEMA + ANSWERS_SCHEMA)
        with connection as tx:
            tx.execute("INSERT INTO meta VALUES ('uuid', ?), ('format', '2')", (str(uuid.uuid4()),))
    finally:
        connection.close()
    aside.rename(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _set_aside_if_damaged(path: Path) -> None:
    """Rename a database that the mover could not read, so that nothing more is acknowledged into it."""
    if not path.exists():
        return
    try:
        with closing(connect(path, durability="process", read_only=True)) as connection:
            connection.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
            connection.execute("SELECT max(seq), sum(rows) FROM block").fetchone()
            connection.execute("SELECT max(seq), sum(rows) FROM answered").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"damaged-{uuid.uuid4()}-{path.name}")
        _log.error("%s is damaged (%s): it is kept as %s, and a new one is begun", path, error, aside.name)
        for end in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(f"{path.name}{end}").rename(f"{aside}{end}")


def read_each(folder: Path, read: Callable[[sqlite3.Connection], Iterable[_T]]) -> Iterator[_T]:
    """What `read` finds in each slot's database, opened to read only, one after the other.

    Raises TrafficError where one cannot be read.
    """
    for path in databases(folder):
        try:
            with closing(connect(path, durability="process", read_only=True)) as connection:
                yield from read(connection)
        except FileNotFoundError:  # taken away since it was listed
            continue
        except sqlite3.DatabaseError as error:
            raise TrafficError(
                f"{path} cannot be read: {error}; where it is damaged, the endpoint sets it aside when it starts again"
            ) from error


def among_appends(path: Path) -> AbstractContextManager[None]:
    """In turn with who records to this database: a queue of the kernel's, where SQLite's waiting sleeps ever longer."""
    return file_lock(path.with_name(APPEND_LOCK))


def databases(folder: Path) -> list[Path]:
    """The slots' databases, by number; none where there is no folder."""
    if not folder.is_dir():
        return []
    found = [
        entry.name for entry in os.scandir(folder) if entry.name.startswith("slot-") and entry.name.endswith(".db")
    ]
    return [folder / name for name in sorted(found, key=lambda name: (len(name), name))]


def is_held(folder: Path, database: Path) -> bool:
    """Whether a live process holds this database's slot."""
    with file_lock(folder / "slots.lock"):
        handle = try_lock(database.with_suffix(".lock"))
        if handle is None:
            return True
        os.close(handle)
        return False


def _database(folder: Path, slot: int) -> Path:
    return folder / f"slot-{slot}.db"


def _take_slot(folder: Path, slot: int | None) -> tuple[int, int]:
    number = 0 if slot is None else slot
    while True:
        handle = try_lock(_database(folder, number).with_suffix(".lock"))
        if handle is not None:
            return number, handle
        if slot is not None:
            raise TrafficError(
                f"slot {slot} of {folder} is held by another process; leave out `slot` to take a free one"
            )
        number += 1


def try_lock(path: Path) -> int | None:
    """An exclusive lock on the file, as its descriptor; None where another process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _insert(tx: sqlite3.Connection, seq: int, kind: str, model: str, rows: int, body: bytes) -> None:
    tx.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?)", (seq, kind, model, rows, body))


def _tell_ids_of_the_dead(folder: Path) -> None:
    """See that slots whose processes are gone have their tables of ids; the lock of all slots is held."""
    for path in databases(folder):
        if (held := try_lock(path.with_suffix(".lock"))) is None:
            continue
        try:
            make_ids(path, connect(path, durability="process", read_only=True))
        except (FileNotFoundError, sqlite3.DatabaseError):  # damaged: whoever takes the slot sets it aside
            pass
        finally:
            os.close(held)


def _check_times(name: str, us: npt.NDArray[np.int64]) -> None:
    """A time the calendar does not have would stop the log for good; the contract refuses it before."""
    if len(us) and not (us.min() >= _FIRST_US and us.max() <= _LAST_US):
        raise TrafficError(f"{name} lies outside the years 1 to 9999; times are microseconds since 1970-01-01 UTC")


class _Alone:
    """One at a time, of all who write to the spools of this machine. handle: of the file that is locked for it."""

    __slots__ = ("_handle",)

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)


class _Writing:
    """Translates what SQLite and the file system say into the tree; the transaction has been rolled back."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, sqlite3.Error | OSError):
            return
        if no_room(error):
            raise StorageFull(
                f"no room to record traffic in {self._folder} ({error}); nothing of it was written. "
                "Free some space there, or start the mover ('everloop up'), and send it again"
            ) from error
        raise TrafficError(f"the spool in {self._folder} cannot be used: {error}") from error
