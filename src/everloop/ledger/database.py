"""The ledger's database: SQLite by default, PostgreSQL by address; one way to open, lock, and say what went wrong."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event, exc

from everloop.errors import Conflict, LedgerError, LedgerUnreadable, StorageFull, no_room
from everloop.ledger.schema import LOG_SCHEMA, log_metadata, meta

__all__ = ["Database"]

_CREATION_LOCK: Final = 5_170_236_114  # any number, the same in every everloop: PostgreSQL's advisory lock
# A server that vanished without a word (a cable, a firewall) is noticed within seconds; by default it takes two hours.
_DEAD_LINK: Final = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}
_APPEND_ONLY: Final = (
    """CREATE TRIGGER IF NOT EXISTS fact_is_never_changed BEFORE UPDATE ON fact
       BEGIN SELECT RAISE(ABORT, 'facts are never changed'); END""",
    """CREATE TRIGGER IF NOT EXISTS fact_is_never_removed BEFORE DELETE ON fact
       BEGIN SELECT RAISE(ABORT, 'facts are never removed'); END""",
)
_BUSY: Final = ("database is locked", "lock timeout", "busy")
_BROKEN: Final = ("not a database", "malformed", "unsupported file format")
_FAILING: Final = ("disk i/o error", "unable to open database file", "readonly database")
_ROOM_BYTES: Final = 1 << 20  # with less room than this SQLite cannot even open its shared memory


class Database:
    """A pool of connections; `reading` sees one snapshot, `writing` holds the one write lock until it commits."""

    def __init__(self, address: str | Path, *, busy_timeout_s: float = 30.0) -> None:
        self.is_sqlite = isinstance(address, Path)
        self._file = address.absolute() if isinstance(address, Path) else None
        self._identity: tuple[int, int] | None = None
        self.address = None if isinstance(address, Path) else str(address)
        self.place = str(address) if self.is_sqlite else sa.make_url(str(address)).render_as_string()
        self._busy_timeout_s = busy_timeout_s
        self._links: WeakSet[Any] = WeakSet()
        self._links_lock = threading.Lock()
        if isinstance(address, Path):
            try:
                address.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._said(error) from error
            self.engine = self._sqlite(address)
        else:
            self.engine = self._postgresql(str(address))

    def _sqlite(self, path: Path) -> sa.Engine:
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": self._busy_timeout_s}
        )
        event.listen(engine, "connect", self._prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self, url: str) -> sa.Engine:
        address = sa.make_url(url)
        if address.get_backend_name() != "postgresql":
            raise LedgerUnreadable(
                f"the ledger cannot be kept in {address.get_backend_name()}: give a path (SQLite) or postgresql://…"
            )
        timeout_ms = int(self._busy_timeout_s * 1000)
        try:
            engine = sa.create_engine(
                address.set(drivername="postgresql+psycopg"),
                connect_args={"connect_timeout": 10, "options": f"-c lock_timeout={timeout_ms}", **_DEAD_LINK},
                pool_pre_ping=True,
            )
        except ModuleNotFoundError as error:
            raise LedgerUnreadable(
                f"the ledger at {self.place} needs PostgreSQL's driver: pip install psycopg"
            ) from error
        event.listen(engine, "connect", self._remember_link)
        return engine

    def _remember_link(self, connection: Any, _record: object) -> None:
        with self._links_lock:
            self._links.add(connection)

    def _prepare_sqlite(self, connection: Any, _record: object) -> None:
        if self._identity is None:
            self._identity = self._found()
        connection.isolation_level = None  # we say BEGIN ourselves
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._switch_to_wal(connection)
        # A commit that was reported must survive power: the head file is judged against it.
        connection.execute("PRAGMA synchronous=FULL")

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait for this one lock by itself, so two first openings would collide.
        pause = threading.Event()
        for _ in range(max(1, int(self._busy_timeout_s / 0.02))):
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                pause.wait(0.02)
        connection.execute("PRAGMA journal_mode=WAL")

    def is_empty(self) -> bool:
        """Whether there is nothing yet, not even tables; nothing is made by asking."""
        if self.is_sqlite:
            path = Path(self.place)
            return not path.exists() or (path.is_file() and path.stat().st_size == 0)
        with self.reading() as connection:
            return not sa.inspect(connection).has_table("meta")

    def prepare(self) -> None:
        """Make the tables of the chain where they are missing. Raises LedgerUnreadable for a newer ledger."""
        with self.reading() as connection:
            if sa.inspect(connection).has_table("meta"):
                self._refuse_newer(connection)
                return
        with self._translated(), self.engine.connect() as plain:
            connection = plain.execution_options(everloop_writes=True)
            with connection.begin():
                if not self.is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
                self._create(connection)

    def _create(self, connection: sa.Connection) -> None:
        if sa.inspect(connection).has_table("meta"):
            return  # another process was first
        log_metadata.create_all(connection)
        rows = [("schema", LOG_SCHEMA), ("state", 0), ("lock", 0)]
        connection.execute(meta.insert(), [{"name": name, "value": value} for name, value in rows])
        if self.is_sqlite:
            for statement in _APPEND_ONLY:
                connection.exec_driver_sql(statement)

    def _refuse_newer(self, connection: sa.Connection) -> None:
        found = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "schema"))
        if found is None or found > LOG_SCHEMA:
            raise LedgerUnreadable(
                f"the ledger {self.place} has schema {found}, this everloop reads up to {LOG_SCHEMA}; upgrade everloop"
            )

    @contextmanager
    def reading(self, *, repeatable: bool = False) -> Iterator[sa.Connection]:
        """A connection that reads. repeatable: all that it reads is one state of the ledger, as SQLite's always is."""
        self._stay_in_place()
        with self._translated(), self.engine.connect() as connection:
            if repeatable and not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection in a transaction that no other writer shares; committed at the end, or nothing of it."""
        self._stay_in_place()
        with self._translated(), self.engine.connect() as plain:
            connection = plain.execution_options(everloop_writes=True)
            with connection.begin():
                if not self.is_sqlite:
                    connection.execute(sa.select(meta.c.value).where(meta.c.name == "lock").with_for_update())
                yield connection
        self._stay_in_place()  # nothing is told as written that went with a file removed meanwhile

    @contextmanager
    def undoing(self, connection: sa.Connection) -> Iterator[None]:
        """A part of a transaction that leaves nothing where it raises, and lets the rest go on."""
        connection.exec_driver_sql("SAVEPOINT part")
        try:
            yield
        except BaseException:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT part")
            connection.exec_driver_sql("RELEASE SAVEPOINT part")
            raise
        connection.exec_driver_sql("RELEASE SAVEPOINT part")

    def _found(self) -> tuple[int, int] | None:
        """Which file bears the ledger's name now; None where there is none, or no file is used."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._said(error) from error
        return found.st_dev, found.st_ino

    def _stay_in_place(self) -> None:
        """Raise LedgerUnreadable where the open file no longer bears its name: all written to it would be lost."""
        if self._identity is None or (found := self._found()) == self._identity:
            return
        self.engine.dispose()
        happened = "was removed" if found is None else "was replaced by another file"
        raise LedgerUnreadable(
            f"the ledger {self.place} {happened} while it was in use, and nothing more is written; "
            "stop everloop, put the ledger back (or a backup in its place), and start again"
        )

    def now_ms(self, connection: sa.Connection) -> int:
        """The database's own time, in ms since 1970: one for all who share leases, never simulated."""
        if self.is_sqlite:
            statement = "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
        else:
            statement = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
        return int(connection.exec_driver_sql(statement).scalar_one())

    def hang_up(self) -> None:
        """Break all connections to a server off, from any thread: who waits for an answer gets an error.

        A server that hangs behind a proxy looks alive to the system, which would wait for it without end. A file's
        locks are waited for for the busy timeout, and nothing is done.
        """
        with self._links_lock:
            links = list(self._links)
        for link in links:
            # one that was closed meanwhile, or is broken, says so in its driver's words; nobody waits there
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(link.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, sqlite3.Error) as error:
            raise self._said(error) from error

    def _said(self, error: Exception) -> LedgerError | StorageFull:
        cause = _cause_of(error)
        text = cause.lower()
        if no_room(error):
            return StorageFull(
                f"the disk of the ledger {self.place} is full ({cause}); free some space, nothing was lost"
            )
        if any(words in text for words in _BUSY):
            return LedgerUnreadable(
                f"the ledger {self.place} was locked by another process for {self._busy_timeout_s:g} s; "
                "look for a process that hangs in a transaction"
            )
        if any(words in text for words in _BROKEN):
            return LedgerUnreadable(
                f"the ledger {self.place} is damaged or no ledger ({cause}); put a backup in its place"
            )
        if self.is_sqlite and any(words in text for words in _FAILING):
            return self._failing(cause)
        if isinstance(error, exc.IntegrityError):
            return Conflict(f"the ledger {self.place} refused: {cause}")
        return LedgerUnreadable(f"the ledger {self.place} cannot be used: {cause}")

    def _failing(self, cause: str) -> LedgerError | StorageFull:
        """SQLite says the same of a full disk, of missing permissions and of a disk that dies: look which it is."""
        path = Path(self.place)
        if _free_bytes(path.parent) < _ROOM_BYTES:
            return StorageFull(f"the disk of the ledger {path} is full; free some space, nothing was lost")
        if not path.exists():
            return LedgerUnreadable(f"the ledger {path} cannot be made ({cause}); check the folder's permissions")
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
            return LedgerUnreadable(f"the ledger {path} may not be read and written by this user; check permissions")
        return LedgerUnreadable(f"the ledger {path} cannot be used: {cause}; check the disk it is on")


def _free_bytes(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return math.inf


def _cause_of(error: BaseException) -> str:
    """The database's own words: of what came first where we know it, since a failed rollback hides it."""
    causes, known = [], []
    at: BaseException | None = error
    while at is not None:
        cause = (str(getattr(at, "orig", None) or at).strip().splitlines() or [type(at).__name__])[0]
        causes.append(cause)
        if no_room(at) or any(words in cause.lower() for words in (*_BUSY, *_BROKEN, *_FAILING)):
            known.append(cause)
        at = at.__cause__ or at.__context__
    return known[-1] if known else causes[0]


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock at once: two that read first and write later would deadlock.
    writes = connection.get_execution_options().get("everloop_writes", False)
    mode: Literal["BEGIN IMMEDIATE", "BEGIN"] = "BEGIN IMMEDIATE" if writes else "BEGIN"
    connection.exec_driver_sql(mode)
