"""The engine: durable runs of named workflows, whose every change is a fact in the ledger."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from everloop.clock import Clock
from everloop.errors import EverloopError, WorkflowError
from everloop.ledger import Fact, Ledger, RunCancelled, RunState
from everloop.workflows.execution import Envelope, Execution, ending_of
from everloop.workflows.result import RunResult
from everloop.workflows.slots import Slot, dead_slots
from everloop.workflows.workflow import Workflow

if TYPE_CHECKING:
    from everloop.workflows.durable import Durable

__all__ = ["Engine", "ProjectPaths", "RunHandle"]

_POLL_S = 0.05
_SHORT_S = 0.002
_SETTLING_S = 5.0


class ProjectPaths(Protocol):
    """What of a project's paths the engine needs."""

    @property
    def runs_db(self) -> Path:
        """The file of the workflow engine."""
        ...

    @property
    def runs(self) -> Path:
        """The folder that holds one folder per run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandle:
    """A run that was begun, and the fact that says so."""

    run_id: str
    fact: Fact


class Engine:
    """Runs workflows under one slot. One per process at a time; a context manager.

    What a killed process left is not taken up until `recover` is called. Closing stops at the next step: what
    has not ended goes on with the next `recover`.
    """

    def __init__(
        self,
        *,
        runs_folder: Path,
        ledger: Ledger,
        clock: Clock,
        slot: Slot,
        workflows: Sequence[Workflow],
        resources: Any,
        crash_at: str | None,
    ) -> None:
        self._runs_folder = runs_folder
        self._ledger = ledger
        self._clock = clock
        self._slot = slot
        self._workflows = {workflow.name: workflow for workflow in workflows}
        self._resources = resources
        self._crash_at = crash_at
        self._changed = threading.Condition()
        self._admitted: set[str] = set()
        self._cancelled: set[str] = set()
        self._active: set[str] = set()
        self._closing = False
        self._futures: dict[str, Future[RunResult]] = {}
        self._durable: Durable

    @classmethod
    def open(
        cls,
        target: Path | ProjectPaths,
        *,
        ledger: Ledger,
        clock: Clock,
        slot: str = "cli",
        workflows: Sequence[Workflow],
        resources: Any = None,
        crash_at: str | None = None,
    ) -> Engine:
        """Start an engine.

        target: a folder, or a project's paths. slot: the name this process runs under; where a living process
        holds it, `slot-2` and so on. crash_at: a test's point to die at, e.g. `before:fit`, `after:fit`.
        """
        runs_db = target / "runs.db" if isinstance(target, Path) else target.runs_db
        runs_folder = target / "runs" if isinstance(target, Path) else target.runs
        held = Slot.take(_slots_of(runs_folder), slot)
        engine = cls(
            runs_folder=runs_folder,
            ledger=ledger,
            clock=clock,
            slot=held,
            workflows=workflows,
            resources=resources,
            crash_at=crash_at,
        )
        try:
            from everloop.workflows.durable import Durable  # takes a third of a second

            engine._durable = Durable(runs_db, slot=held.name, body=engine._body)
        except BaseException:
            held.release()
            raise
        return engine

    @property
    def slot(self) -> str:
        """The slot this engine holds."""
        return self._slot.name

    def start(
        self,
        workflow: str,
        inputs: Mapping[str, Any],
        *,
        run_id: str,
        actor: str,
        cause: int | None = None,
    ) -> RunHandle:
        """Begin a run; it goes on in the background. With the id of a run that was begun before, that run.

        inputs: JSON; `model`, `spec`, `spec_hash` and `trigger` in it also name the run's row in the ledger.
        """
        if workflow not in self._workflows:
            raise WorkflowError(f"there is no workflow {workflow}; there are: {', '.join(sorted(self._workflows))}")
        envelope = Envelope(run_id=run_id, workflow=workflow, inputs=dict(inputs), actor=actor, cause=cause)
        self._admit([run_id])
        self._durable.start(run_id, msgspec.to_builtins(envelope))
        return RunHandle(run_id=run_id, fact=envelope.start(self._ledger, slot=self.slot))

    def wait(self, run_id: str, timeout_s: float | None = None) -> RunResult:
        """How the run ended, once it has. Raises WorkflowError after `timeout_s`, or where the run is unknown."""
        limit_s = None if timeout_s is None else self._clock.monotonic_s() + timeout_s
        while True:
            outcome = self._durable.outcome(run_id)
            if outcome is not None:
                return msgspec.convert(outcome, RunResult)
            if limit_s is not None and self._clock.monotonic_s() >= limit_s:
                raise _still_running(run_id, timeout_s)
            self._pause(run_id)

    def _pause(self, run_id: str) -> None:
        """Wait a little; where the run is this process's, until it ended. Raises what broke it off."""
        future = self._futures.get(run_id)
        if future is None:
            threading.Event().wait(_POLL_S)
        elif not future.done():
            futures.wait([future], timeout=_POLL_S)
        else:
            future.result()
            threading.Event().wait(_SHORT_S)  # the engine's own record follows within milliseconds

    def run(
        self, workflow: str, inputs: Mapping[str, Any], *, run_id: str, actor: str, cause: int | None = None
    ) -> RunResult:
        """`start`, then `wait`."""
        self.start(workflow, inputs, run_id=run_id, actor=actor, cause=cause)
        return self.wait(run_id)

    def recover(self) -> list[str]:
        """Go on with the runs that a killed process of this slot, or of a dead slot, left; returns their ids."""
        for dead in dead_slots(_slots_of(self._runs_folder), besides=self.slot):
            self._durable.adopt(dead.name)
        with self._changed:
            running = set(self._futures)
        left = [run_id for run_id in self._durable.open_runs() if run_id not in running]
        self._admit(left)
        return left

    def interrupted(self) -> list[str]:
        """The runs of this slot that wait for `recover`."""
        with self._changed:
            running = set(self._futures)
        return [run_id for run_id in self._durable.open_runs() if run_id not in running]

    def cancel(self, run_id: str, *, actor: str, reason: str = "cancelled") -> RunResult:
        """End a run before its next step, also in another process; a running step is asked to stop.

        A run that has ended keeps its end. Raises NotFound.
        """
        started = self._ledger.run(run_id).seq
        key = (run_id, "run", 1)
        with self._ledger.transaction() as transaction:
            if transaction.keyed(*key) is None:
                payload = RunCancelled(run=run_id, sentence=reason)
                transaction.append("run.cancelled", run_id, payload, actor=actor, cause=started, key=key)
        with self._changed:
            self._cancelled.add(run_id)
            self._changed.notify_all()
        ended = ending_of(self._ledger, run_id, {})
        if ended is None:
            raise AssertionError(f"run {run_id} has no end after it was written")
        return ended

    def status(self, run_id: str) -> RunState:
        """The run as the ledger has it. Raises NotFound."""
        return self._ledger.run(run_id)

    def runs(self, model: str | None = None) -> list[RunState]:
        """All runs that the ledger has, oldest first."""
        return self._ledger.runs(model)

    def close(self, *, grace_s: float = 30.0) -> None:
        """Stop at the next step of every run, at most after `grace_s`, and let the slot go."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._active, timeout=grace_s)
        try:
            self._settle()
            self._durable.close()
        finally:
            self._slot.release()

    def _settle(self) -> None:
        """Let the engine's own record of runs that have ended be written before it goes."""
        pause = threading.Event()
        limit_s = self._clock.monotonic_s() + _SETTLING_S
        ended = [run_id for run_id, future in self._futures.items() if future.done() and not future.exception()]
        while ended and self._clock.monotonic_s() < limit_s:
            open_runs = set(self._durable.open_runs())
            ended = [run_id for run_id in ended if run_id in open_runs]
            if ended:
                pause.wait(_SHORT_S)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _admit(self, run_ids: Sequence[str]) -> None:
        with self._changed:
            for run_id in run_ids:
                self._admitted.add(run_id)
                self._futures.setdefault(run_id, Future())
            self._changed.notify_all()

    def _body(self, envelope: dict[str, Any]) -> dict[str, Any]:
        """What the durable engine runs, and runs again after a crash."""
        run = msgspec.convert(envelope, Envelope)
        future = self._enter(run.run_id)
        try:
            result = self._through(self._execution(run))
        except EverloopError as error:  # of the ledger or the engine, not of a step: the run can go on later
            future.set_exception(error)
            raise self._interrupted() from error
        except BaseException:
            future.set_exception(_left(run.run_id))
            raise
        else:
            future.set_result(result)
        finally:
            with self._changed:
                self._active.discard(run.run_id)
                self._changed.notify_all()
        outcome: dict[str, Any] = msgspec.to_builtins(result)
        return outcome

    @staticmethod
    def _through(execution: Execution) -> RunResult:
        try:
            return execution.run()
        except EverloopError:
            raise
        except Exception as error:  # a worker's loop: what it cannot name it records
            return execution.broke(error)

    def _enter(self, run_id: str) -> Future[RunResult]:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or run_id in self._admitted)
            if self._closing:
                raise self._interrupted()
            self._active.add(run_id)
            return self._futures[run_id]

    def _execution(self, run: Envelope) -> Execution:
        workflow = self._workflows.get(run.workflow)
        if workflow is None:
            raise WorkflowError(f"run {run.run_id} is one of {run.workflow}, which this process cannot run")
        return Execution(
            envelope=run,
            workflow=workflow,
            ledger=self._ledger,
            clock=self._clock,
            workdir=self._runs_folder / run.run_id,
            resources=self._resources,
            slot=self.slot,
            stopping=lambda: self._is_stopping(run.run_id),
            leave=self._leave,
            durably=self._durable.step,
            crash=self._crash,
        )

    def _is_stopping(self, run_id: str) -> bool:
        with self._changed:
            if self._closing or run_id in self._cancelled:
                return True
        return self._ledger.keyed(run_id, "run", 1) is not None  # cancelled by another process

    def _leave(self) -> None:
        with self._changed:
            closing = self._closing
        if closing:
            raise self._interrupted()

    @staticmethod
    def _interrupted() -> BaseException:
        from everloop.workflows.durable import Interrupted

        return Interrupted()

    def _crash(self, point: str) -> None:
        if point == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _slots_of(runs_folder: Path) -> Path:
    return runs_folder / ".slots"


def _still_running(run_id: str, timeout_s: float | None) -> WorkflowError:
    return WorkflowError(f"run {run_id} has not ended after {timeout_s} s; it goes on, ask again later")


def _left(run_id: str) -> WorkflowError:
    return WorkflowError(f"run {run_id} was left before it ended; 'everloop run resume {run_id}' goes on with it")
