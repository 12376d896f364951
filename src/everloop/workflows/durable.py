"""The only module that knows DBOS: a function that is run to its end, and steps of it that are run once.

Import it late: DBOS takes a third of a second. What is worked around here, and why:

- one DBOS per process: two of ours at a time are refused, one after another works;
- it takes up by itself what its executor left: each process is another executor, so it never does;
- nor are the runs of another executor taken up: `adopt` gives them to this one, where the ledger says so;
- everything is JSON: no pickle is written or read;
- an exception that is no `Exception` leaves a run pending, so `Interrupted` does.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._serialization import DBOSPortableJSON  # its pickle-free serializer has no public name
from dbos._utils import INTERNAL_QUEUE_NAME
from sqlalchemy import event, exc

from everloop.errors import LedgerUnreadable, StorageFull, WorkflowError, no_room

__all__ = ["Durable", "Interrupted"]

# Raise it when the envelope or a step's record changes. Each process is an application of its own to DBOS.
_VERSION: Final = "2"
_ENTRY: Final = "everloop.run"
_SCHEMA: Final = "everloop_runs"  # in PostgreSQL, beside the ledger's tables
_BETWEEN: Final = "/"
_RUNNING: Final = ("PENDING", "ENQUEUED", "DELAYED")
_COLUMNS: Final = (
    "workflow_uuid",
    "status",
    "application_name",
    "application_version",
    "executor_id",
    "owner_xid",
    "started_at_epoch_ms",
    "queue_name",
    "created_at",
)
_one_at_a_time = threading.Lock()


class Interrupted(BaseException):
    """The process ends before the run does; no `Exception`, so that the run stays as it is and can go on."""


class _Escaped(BaseException):
    """What a step raised, past DBOS, which would keep an `Exception` as what the step gave."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Durable:
    """One process's durable runs: in a SQLite file, or in the PostgreSQL database that several machines share."""

    def __init__(self, place: Path | str, *, identity: str, body: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        if not _one_at_a_time.acquire(blocking=False):
            raise WorkflowError("this process has an open workflow engine already; close that one first")
        self._place = place if isinstance(place, Path) else sa.make_url(place).render_as_string()
        nonce = secrets.token_hex(6)
        self._name = f"everloop-{nonce}"
        self._version = f"{_VERSION}-{nonce}"
        self._executor = f"{identity}{_BETWEEN}{nonce}"
        try:
            self._engine = _sqlite(place) if isinstance(place, Path) else _postgresql(place)
            schema = None if isinstance(place, Path) else _SCHEMA
            self._runs = sa.table("workflow_status", *map(sa.column, _COLUMNS), schema=schema)
            self._launch(body, f"sqlite:///{place}" if isinstance(place, Path) else place)
        except exc.SQLAlchemyError as error:
            self.close()
            raise self._said(error) from error
        except BaseException:
            self.close()
            raise

    def _launch(self, body: Callable[[dict[str, Any]], dict[str, Any]], address: str) -> None:
        quiet = logging.getLogger("dbos")
        if not quiet.handlers:
            quiet.addHandler(logging.NullHandler())  # else DBOS writes to stderr
        quiet.propagate = False
        config: DBOSConfig = {
            "name": self._name,
            "system_database_url": address,
            "system_database_engine": self._engine,
            "dbos_system_schema": _SCHEMA,
            "executor_id": self._executor,
            "application_version": self._version,
            "serializer": DBOSPortableJSON,
            "log_level": "CRITICAL",
            "enable_otlp": False,
            "notification_listener_polling_interval_sec": 0.05,  # closing waits for one such interval
        }
        DBOS(config=config)
        self._entry = DBOS.workflow(name=_ENTRY, max_recovery_attempts=None)(_entry_of(body))
        DBOS.launch()

    def start(self, run_id: str, envelope: Mapping[str, Any]) -> None:
        """Begin a run; where there is one of this id, nothing."""
        try:
            with SetWorkflowID(run_id):
                DBOS.start_workflow(self._entry, dict(envelope))
        except exc.SQLAlchemyError as error:
            raise self._said(error) from error

    def step(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Inside of a run: what `run` gave when it first ended, or run it now.

        What it raises is no result: a disk that is full or a store that is away would be so for this step for good.
        """

        def carried() -> dict[str, Any]:
            try:
                return run()
            except Exception as error:
                raise _Escaped(error) from error

        try:
            return DBOS.run_step({"name": name}, carried)
        except _Escaped as escaped:
            raise escaped.error from escaped.error.__cause__

    def outcome(self, run_id: str) -> dict[str, Any] | None:
        """What the body returned; None while the run goes on, and for one that is not begun here or elsewhere."""
        with self._telling():
            status = DBOS.get_workflow_status(run_id)
        if status is None or status.status in _RUNNING:
            return None
        if not isinstance(status.output, dict):
            raise WorkflowError(f"run {run_id} broke off inside of the workflow engine: {status.error}")
        return status.output

    def open_runs(self) -> dict[str, str]:
        """Run → the slot it was last given to, for all that have not ended, oldest first."""
        columns = self._runs.c
        query = sa.select(columns.workflow_uuid, columns.executor_id).where(columns.status.in_(_RUNNING))
        with self._telling(), self._engine.connect() as connection:
            found = connection.execute(query.order_by(columns.created_at, columns.workflow_uuid)).all()
        return {run_id: str(executor).partition(_BETWEEN)[0] for run_id, executor in found}

    def adopt(self, run_id: str) -> None:
        """Make a run this process's, and go on with it. The caller knows that nobody else does."""
        columns = self._runs.c
        # What DBOS does to take up a run of its own, with the owner changed in the same statement.
        taken = self._runs.update().where(columns.workflow_uuid == run_id, columns.status.in_(_RUNNING))
        mine = {
            "application_name": self._name,
            "application_version": self._version,
            "executor_id": self._executor,
            "status": "ENQUEUED",
            "owner_xid": None,
            "started_at_epoch_ms": None,
            "queue_name": sa.func.coalesce(columns.queue_name, INTERNAL_QUEUE_NAME),
        }
        with self._telling(), self._engine.begin() as connection:
            connection.execute(taken.values(mine))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except exc.SQLAlchemyError as error:
            raise self._said(error) from error

    def _said(self, error: exc.SQLAlchemyError) -> WorkflowError | StorageFull | LedgerUnreadable:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        if not isinstance(self._place, Path):
            return LedgerUnreadable(f"the runs in {self._place} cannot be read or written: {cause}")
        if no_room(error):
            return StorageFull(f"the disk of {self._place} is full ({cause}); free some space, nothing was lost")
        damaged = "not a database" in cause or "malformed" in cause
        advice = "put a backup in its place" if damaged else "check its permissions and the room on its disk"
        return WorkflowError(f"the runs in {self._place} cannot be read or written: {cause}; {advice}")

    def close(self) -> None:
        """Stop. Runs that have not ended stay as they are."""
        try:
            DBOS.destroy(destroy_registry=True)
            if hasattr(self, "_engine"):
                self._engine.dispose()
        finally:
            _one_at_a_time.release()


def _entry_of(body: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def run(envelope: dict[str, Any]) -> dict[str, Any]:
        return body(envelope)

    return run


def _sqlite(path: Path) -> sa.Engine:
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # a step lost to a power cut is run again
        connection.execute("PRAGMA foreign_keys=ON")
        connection.isolation_level = "IMMEDIATE"

    return engine


def _postgresql(address: str) -> sa.Engine:
    url = sa.make_url(address).set(drivername="postgresql+psycopg")
    return sa.create_engine(url, pool_pre_ping=True, pool_size=10, connect_args={"connect_timeout": 10})
