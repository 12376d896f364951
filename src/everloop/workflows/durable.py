"""The only module that knows DBOS: a function that is run to its end, and steps of it that are run once.

Import it late: DBOS takes a third of a second. What is worked around here, and why:

- one DBOS per process: two of ours at a time are refused, one after another works;
- it takes a slot's runs up by itself when it starts: the body waits until someone asked for it;
- runs of another slot are never taken up: `adopt` gives them to this one;
- everything is JSON: no pickle is written or read;
- an exception that is no `Exception` leaves a run pending, so `Interrupted` does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._serialization import DBOSPortableJSON  # its pickle-free serializer has no public name
from dbos._utils import INTERNAL_QUEUE_NAME
from sqlalchemy import event, exc

from everloop.errors import StorageFull, WorkflowError, no_room

__all__ = ["Durable", "Interrupted"]

# Runs are taken up only by the version that began them; raise it when the envelope or a step's record changes.
_VERSION: Final = "everloop-1"
_ENTRY: Final = "everloop.run"
# What DBOS does to take up a run of its own, with the owner changed in the same statement.
_ADOPT: Final = sa.text(
    "UPDATE workflow_status SET application_name = :name, application_version = :version, executor_id = :slot, "
    "status = CASE status WHEN 'PENDING' THEN 'ENQUEUED' ELSE status END, owner_xid = NULL, "
    "started_at_epoch_ms = NULL, queue_name = COALESCE(queue_name, :queue) "
    "WHERE application_name = :dead AND status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
)
_OPEN: Final = sa.text(
    "SELECT workflow_uuid FROM workflow_status WHERE application_name = :name AND status IN ('PENDING', 'ENQUEUED')"
    " ORDER BY created_at, workflow_uuid"
)
_RUNNING: Final = frozenset({"PENDING", "ENQUEUED", "DELAYED"})
_one_at_a_time = threading.Lock()


class Interrupted(BaseException):
    """The process ends before the run does; no `Exception`, so that the run stays as it is and can go on."""


class Durable:
    """One slot's durable runs in one SQLite file."""

    def __init__(self, path: Path, *, slot: str, body: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        if not _one_at_a_time.acquire(blocking=False):
            raise WorkflowError("this process has an open workflow engine already; close that one first")
        self._path = path
        self._slot = slot
        try:
            self._engine = _sqlite(path)
            self._launch(body)
        except exc.SQLAlchemyError as error:
            self.close()
            raise _said(path, error) from error
        except BaseException:
            self.close()
            raise

    def _launch(self, body: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        quiet = logging.getLogger("dbos")
        if not quiet.handlers:
            quiet.addHandler(logging.NullHandler())  # else DBOS writes to stderr
        quiet.propagate = False
        config: DBOSConfig = {
            "name": _name(self._slot),
            "system_database_url": f"sqlite:///{self._path}",
            "system_database_engine": self._engine,
            "executor_id": self._slot,
            "application_version": _version(self._slot),
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
            raise _said(self._path, error) from error

    def step(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Inside of a run: what `run` gave when it first ended, or run it now."""
        return DBOS.run_step({"name": name}, run)

    def outcome(self, run_id: str) -> dict[str, Any] | None:
        """What the body returned; None while the run goes on. Raises WorkflowError for a run that is unknown."""
        status = DBOS.get_workflow_status(run_id)
        if status is None:
            raise WorkflowError(f"there is no run {run_id}; 'everloop run list' shows them")
        if status.status in _RUNNING:
            return None
        if not isinstance(status.output, dict):
            raise WorkflowError(f"run {run_id} broke off inside of the workflow engine: {status.error}")
        return status.output

    def open_runs(self) -> list[str]:
        """This slot's runs that have not ended, oldest first."""
        with self._engine.connect() as connection:
            return list(connection.execute(_OPEN, {"name": _name(self._slot)}).scalars())

    def adopt(self, dead_slot: str) -> None:
        """Make a dead slot's runs ours, and go on with them. The caller holds that slot's lock."""
        values = {"name": _name(self._slot), "version": _version(self._slot), "slot": self._slot}
        with self._engine.begin() as connection:
            connection.execute(_ADOPT, values | {"queue": INTERNAL_QUEUE_NAME, "dead": _name(dead_slot)})

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


def _name(slot: str) -> str:
    return f"everloop-{slot}"


def _version(slot: str) -> str:
    return f"{_VERSION}-{slot}"


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


def _said(path: Path, error: exc.SQLAlchemyError) -> WorkflowError | StorageFull:
    cause = str(getattr(error, "orig", None) or error).splitlines()[0]
    if no_room(error):
        return StorageFull(f"the disk of {path} is full ({cause}); free some space, nothing was lost")
    damaged = "not a database" in cause or "malformed" in cause
    advice = "put a backup in its place" if damaged else "check its permissions and the room on its disk"
    return WorkflowError(f"the runs in {path} cannot be read or written: {cause}; {advice}")
