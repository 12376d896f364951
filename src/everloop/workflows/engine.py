"""The engine: durable runs of named workflows, whose every change is a fact in the ledger."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from everloop.clock import Clock
from everloop.errors import (
    AlreadyRunning,
    EverloopError,
    LedgerUnreadable,
    NotFound,
    StorageFull,
    UsageError,
    WorkflowError,
    no_room,
)
from everloop.ledger import Fact, Ledger, RunCancelled, RunState
from everloop.storage import Storage
from everloop.workflows.alive import Alive, is_silent
from everloop.workflows.execution import Execution, ending_of, summary_of
from everloop.workflows.queue import Envelope, Queue, run_key
from everloop.workflows.result import RunResult
from everloop.workflows.run_files import RunFiles
from everloop.workflows.slots import Slot
from everloop.workflows.workflow import Workflow

if TYPE_CHECKING:
    from everloop.workflows.durable import Durable

__all__ = ["LEASE_S", "Engine", "ProjectPaths", "RunHandle", "cancel_run"]

_POLL_S = 0.05
_SHORT_S = 0.002
_FIRST_REST_S = 2.0
_LONGEST_REST_S = 600.0
_SETTLING_S = 5.0
_HELP_EVERY_S = 0.5
_AWAY_S = 0.25
LEASE_S = 30.0
"""How long a worker on another machine may be silent before its runs are taken over."""


class ProjectPaths(Protocol):
    """What of a project's paths the engine needs."""

    @property
    def runs_db(self) -> Path:
        """The file of the workflow engine."""
        ...

    @property
    def runs(self) -> Path:
        """The folder that holds one folder per run; machines that share a ledger share it too."""
        ...

    @property
    def slots(self) -> Path:
        """The folder of the locks by which this machine's workers know each other."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandle:
    """A run that was asked for, and the fact that says so: it waits, it began, or it became one with `run_id`."""

    run_id: str
    fact: Fact


class Engine:
    """Runs workflows under one slot. One per process at a time; a context manager.

    Runs wait in the ledger. This engine begins those that it is asked to `start` or to `wait` for, and with `take` the
    next of all. What a worker that is gone left is not taken up until `recover` is called. Closing stops at the next
    step: what has not ended goes on with the next `recover`, of any worker that shares the ledger.
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
        capacity: int | None,
        lease_s: float,
        files: RunFiles | None,
        crash_at: str | None,
    ) -> None:
        self._files = files
        self._runs_folder = runs_folder
        self._ledger = ledger
        self._clock = clock
        self._slot = slot
        self._queue = Queue(ledger=ledger, slot=slot.identity, summary=summary_of)
        self._workflows = {workflow.name: workflow for workflow in workflows}
        self._resources = resources
        self._capacity = capacity
        self._lease_s = lease_s
        self._crash_at = crash_at
        self._changed = threading.Condition()
        self._cancelled: set[str] = set()
        self._active: set[str] = set()
        self._closing = False
        self._futures: dict[str, Future[RunResult]] = {}
        self._broken: dict[str, tuple[float, float]] = {}  # run → until when it rests, for how long
        self._alive: Alive | None = None
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
        capacity: int | None = None,
        lease_s: float = LEASE_S,
        artifacts: Storage | None = None,
        crash_at: str | None = None,
    ) -> Engine:
        """Start an engine.

        target: a folder, or a project's paths. slot: the name this process runs under; where a living process
        holds it, `slot-2` and so on. capacity: how many runs `take` and `recover` let go on at once; None for any
        number. lease_s: after how long a silence the workers of other machines, which share a ledger in PostgreSQL,
        take this one's runs over. artifacts: where what runs leave is kept, for machines that share no disk.
        crash_at: a test's point to die at, e.g. `before:fit`, `after:fit`.
        """
        runs_db = target / "runs.db" if isinstance(target, Path) else target.runs_db
        runs_folder = target / "runs" if isinstance(target, Path) else target.runs
        held = Slot.take(target / "slots" if isinstance(target, Path) else target.slots, slot)
        engine = cls(
            runs_folder=runs_folder,
            ledger=ledger,
            clock=clock,
            slot=held,
            workflows=workflows,
            resources=resources,
            capacity=capacity,
            lease_s=lease_s,
            files=None if artifacts is None else RunFiles(artifacts),
            crash_at=crash_at,
        )
        try:
            engine._launch(runs_db)
        except BaseException:
            held.release()
            raise
        return engine

    def _launch(self, runs_db: Path) -> None:
        from everloop.workflows.durable import Durable  # takes a third of a second

        shared = self._ledger.shared_address
        if shared is not None:
            self._alive = Alive(self._ledger, self._clock, self._slot.identity, ttl_s=self._lease_s)
        try:
            place = runs_db if shared is None else shared
            self._durable = Durable(place, identity=self._slot.identity, body=self._body)
        except BaseException:
            if self._alive is not None:
                self._alive.close()
            raise

    @property
    def slot(self) -> str:
        """The name of the slot this engine holds."""
        return self._slot.name

    @property
    def identity(self) -> str:
        """How this worker is known to all that share the ledger: its slot, machine and folder."""
        return self._slot.identity

    def start(
        self,
        workflow: str,
        inputs: Mapping[str, Any],
        *,
        run_id: str,
        actor: str,
        cause: int | None = None,
        begin: bool = True,
    ) -> RunHandle:
        """Ask for a run, and begin it in the background if it is its turn; else it waits for whoever takes it.

        With the id of a run that was asked for before, that run. Where the same was asked for and waits still, the
        handle is of that one. inputs: JSON; `model`, `spec`, `spec_hash` and `trigger` in it also name the run's row
        in the ledger. begin: False leaves the beginning to a worker.
        """
        known = self._workflow(workflow)
        wanted = Envelope(
            run_id=run_id, workflow=workflow, inputs=dict(inputs), actor=actor, cause=cause,
            lane=known.lane(inputs), fold=known.fold(inputs),
        )  # fmt: skip
        return self._asked(wanted, begin=begin)

    def _asked(self, wanted: Envelope, *, begin: bool) -> RunHandle:
        run_id = self._queue.ask(wanted)
        self._crash("queued:run")
        if begin:
            self._begin(run_id=run_id)
        said = self._ledger.keyed(*run_key(wanted.run_id))  # it began, or became one with another
        return RunHandle(run_id=run_id, fact=self._ledger.fact(self._ledger.run(run_id).seq) if said is None else said)

    def retry(
        self, run_id: str, *, from_step: str | None = None, new_run_id: str, actor: str, begin: bool = True
    ) -> RunHandle:
        """Ask for a new run on a run's inputs, and on what its steps before `from_step` gave.

        from_step: that which refused or failed where left out; of one that finished, the first. Raises NotFound,
        UsageError for a step that there is not, AlreadyRunning for a run that goes on.
        """
        run = self._ledger.run(run_id)
        if run.open:
            raise AlreadyRunning(f"run {run_id} is {run.status}; wait for its end, or 'everloop run cancel {run_id}'")
        workflow = self._workflow(run.workflow)
        failed = run.status in ("refused", "failed") and run.step is not None
        first = workflow.steps[0].name if not failed or run.step is None else run.step
        step = first if from_step is None else from_step
        try:
            workflow.named(step)
        except ValueError as error:
            raise UsageError(str(error)) from None
        wanted = Envelope(
            run_id=new_run_id, workflow=run.workflow, inputs=dict(run.inputs), actor=actor, cause=run.last_seq,
            lane=run.lane, retry_of=run_id, from_step=step,
        )  # fmt: skip
        return self._asked(wanted, begin=begin)

    def _workflow(self, name: str) -> Workflow:
        if name not in self._workflows:
            raise WorkflowError(f"there is no workflow {name}; there are: {', '.join(sorted(self._workflows))}")
        return self._workflows[name]

    def wait(self, run_id: str, timeout_s: float | None = None) -> RunResult:
        """How the run ended, once it has. Raises WorkflowError after `timeout_s`, NotFound where it is unknown.

        While it waits in its lane, or its worker is gone, this engine lends a hand: it begins, or goes on with, what
        is before it and then the run itself.
        """
        limit_s = None if timeout_s is None else self._clock.monotonic_s() + timeout_s
        help_s, ended_s = float("-inf"), None
        while True:
            try:
                outcome = self._durable.outcome(run_id)
            except StorageFull as error:
                raise _no_room(run_id) from error
            if outcome is not None:
                return msgspec.convert(outcome, RunResult)
            self._raise_what_broke(run_id)
            now_s = self._clock.monotonic_s()
            if limit_s is not None and now_s >= limit_s:
                raise _still_running(run_id, timeout_s)
            if now_s - help_s >= _HELP_EVERY_S and not self._goes_on_here(run_id):
                help_s = now_s
                run = self._ledger.run(run_id)
                if run.open or self._recover(lambda one: one == run_id):
                    self._help(run)
                else:
                    # Whoever ended it is about to keep what its steps gave; else the ledger's word has to do.
                    ended_s = now_s if ended_s is None else ended_s
                    if run.status == "cancelled" or now_s - ended_s >= _SETTLING_S:
                        return _known_end(self._ledger, run_id)
            self._pause(run_id, _HELP_EVERY_S if limit_s is None else _POLL_S)

    def _help(self, run: RunState) -> None:
        """Do what an open run waits for, where nobody else does."""
        self._recover(lambda one: one == run.run or self._lane_of(one) == run.lane != "")
        if run.status == "queued" and run.lane:
            self._begin(lane=run.lane)
        elif run.status == "queued":
            self._begin(run_id=run.run)

    def _lane_of(self, run_id: str) -> str:
        try:
            return self._ledger.run(run_id).lane
        except NotFound:
            return ""

    def _raise_what_broke(self, run_id: str) -> None:
        """Raise what broke the run off in this process, so that it is not gone on with as if it were left."""
        future = self._futures.get(run_id)
        if future is not None and future.done() and not self._was_lost(future):
            future.result()

    def _pause(self, run_id: str, most_s: float) -> None:
        """Wait a little; where the run goes on in this process, until it ended or for `most_s`."""
        future = self._futures.get(run_id)
        if future is None or self._was_lost(future):
            threading.Event().wait(_POLL_S)
        elif not future.done():
            futures.wait([future], timeout=most_s)
        else:
            threading.Event().wait(_SHORT_S)  # the engine's own record follows within milliseconds

    def _was_lost(self, future: Future[RunResult]) -> bool:
        """Whether the run was left here because another worker has it now."""
        with self._changed:
            return not self._closing and future.done() and isinstance(future.exception(), _Left)

    def run(
        self, workflow: str, inputs: Mapping[str, Any], *, run_id: str, actor: str, cause: int | None = None
    ) -> RunResult:
        """`start`, then `wait`."""
        return self.wait(self.start(workflow, inputs, run_id=run_id, actor=actor, cause=cause).run_id)

    def take(self) -> list[str]:
        """Begin the next runs that wait, as many as this engine's capacity leaves room for; their ids."""
        begun: list[str] = []
        while self._has_room() and (run_id := self._begin()) is not None:
            begun.append(run_id)
        return begun

    def _has_room(self) -> bool:
        with self._changed:
            going_on = sum(not future.done() for future in self._futures.values())
            return not self._closing and (self._capacity is None or going_on < self._capacity)

    def _begin(self, *, lane: str | None = None, run_id: str | None = None) -> str | None:
        """Make the next run ours and let it go; its id, or None where there is none."""
        if not self._may_hold():
            return None
        envelope = self._queue.begin(self._workflows, lane=lane, run_id=run_id)
        if envelope is None:
            return None
        self._crash("taken:run")
        self._admit(envelope.run_id)
        self._durable.start(envelope.run_id, msgspec.to_builtins(envelope))
        return envelope.run_id

    def recover(self) -> list[str]:
        """Go on with what workers that are gone left, this slot's former ones too; their ids."""
        return self._recover(lambda _run_id: True, bounded=True)

    def _recover(self, wanted: Callable[[str], bool], *, bounded: bool = False) -> list[str]:
        """bounded: no more of them than this engine's capacity leaves room for."""
        left: list[str] = []
        for run_id, run in self._left().items():
            if bounded and not self._has_room():
                break
            if bounded and self._rests(run_id):
                continue
            if wanted(run_id) and self._go_on(run_id, run):
                left.append(run_id)
        return left

    def _rests(self, run_id: str) -> bool:
        """Whether the run broke off here a little while ago: what broke it is given time, each time twice as long."""
        until_s, _ = self._broken.get(run_id, (float("-inf"), 0.0))
        return self._clock.monotonic_s() < until_s

    def _note_broken(self, run_id: str) -> None:
        _, before_s = self._broken.get(run_id, (0.0, 0.0))
        pause_s = min(max(_FIRST_REST_S, 2 * before_s), _LONGEST_REST_S)
        self._broken[run_id] = (self._clock.monotonic_s() + pause_s, pause_s)

    def _left(self) -> dict[str, RunState | None]:
        """The runs whose worker is gone, oldest first; None for those that only the engine takes for open."""
        going_on = {run.run: run for run in self._ledger.runs(status="running")}
        owners = {run_id: run.slot or "" for run_id, run in going_on.items()}
        owners = self._durable.open_runs() | owners
        return {
            run_id: going_on.get(run_id)
            for run_id, owner in owners.items()
            if not self._goes_on_here(run_id) and self._is_gone(owner)
        }

    def _go_on(self, run_id: str, run: RunState | None) -> bool:
        if not self._may_hold() or (run is not None and run.workflow not in self._workflows):
            return False
        envelope = None
        if run is not None:
            again = "its worker was started again" if run.slot == self.identity else f"{run.slot} is gone"
            sentence = f"{again}; the run goes on at its first step that had not ended"
            envelope = self._queue.take_over(run, sentence, told=run_id not in self._broken)
            if envelope is None:
                return False
        self._crash("taken over:run")
        self._admit(run_id)
        if run_id in self._durable.open_runs():
            self._durable.adopt(run_id)
        elif envelope is not None:  # its worker died before it had begun
            self._durable.start(run_id, msgspec.to_builtins(envelope))
        return True

    def _is_gone(self, owner: str) -> bool:
        """Whether no process lives under this slot; this one's own runs that do not go on here are left too."""
        if owner == self.identity:
            return True
        shared = self._ledger.shared_address is not None
        if not shared or self._slot.shares_place_with(owner):
            return self._slot.is_free(owner)
        return is_silent(self._ledger, owner)

    def _goes_on_here(self, run_id: str) -> bool:
        with self._changed:
            future = self._futures.get(run_id)
            return future is not None and (not future.done() or future.exception() is None)

    def _may_hold(self) -> bool:
        """Whether nobody can have taken this worker for dead."""
        return self._alive is None or self._alive.believed

    def interrupted(self) -> list[str]:
        """The runs that wait for `recover`."""
        return list(self._left())

    def resume(self, run_id: str) -> None:
        """Go on with a run now that was interrupted, or waits.

        Raises NotFound, AlreadyRunning where a living worker runs it or it waits for another of its lane,
        WorkflowError for one that has ended.
        """
        run = self._ledger.run(run_id)
        if not run.open:
            does = f"goes on from {run.step}" if run.status in ("failed", "refused") and run.step else "starts it anew"
            raise WorkflowError(f"run {run_id} has ended ({run.status}); 'everloop run retry {run_id}' {does}")
        if run.status == "queued":
            if self._begin(run_id=run_id) is None:
                raise AlreadyRunning(f"run {run_id} waits for its turn in {run.lane}; 'everloop run list' shows which")
        elif not self._recover(lambda one: one == run_id):
            raise AlreadyRunning(f"run {run_id} is being run by {run.slot}, which lives")

    def cancel(self, run_id: str, *, actor: str, reason: str = "cancelled") -> RunResult:
        """`cancel_run`, and a step of it that goes on in this process is told at once."""
        ended = cancel_run(self._ledger, run_id, actor=actor, reason=reason)
        with self._changed:
            self._cancelled.add(run_id)
            self._changed.notify_all()
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
            if self._alive is not None:
                self._alive.close()
            self._slot.release()

    def _settle(self) -> None:
        """Let the engine's own record of runs that have ended be written before it goes."""
        pause = threading.Event()
        limit_s = self._clock.monotonic_s() + _SETTLING_S
        ended = [run_id for run_id, future in self._futures.items() if future.done() and not future.exception()]
        while ended and self._clock.monotonic_s() < limit_s:
            open_runs = self._durable.open_runs()
            ended = [run_id for run_id in ended if run_id in open_runs]
            if ended:
                pause.wait(_SHORT_S)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _admit(self, run_id: str) -> None:
        with self._changed:
            if not self._goes_on_here(run_id):
                self._futures[run_id] = Future()

    def _body(self, envelope: dict[str, Any]) -> dict[str, Any]:
        """What the durable engine runs, and runs again after a crash."""
        run = msgspec.convert(envelope, Envelope)
        future = self._enter(run.run_id)
        try:
            result = self._through(self._execution(run))
        except EverloopError as error:  # of the ledger or the engine, not of a step: the run can go on later
            self._note_broken(run.run_id)
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
            if no_room(error):
                raise _no_room(execution.envelope.run_id) from error
            return execution.broke(error)

    def _enter(self, run_id: str) -> Future[RunResult]:
        with self._changed:
            if self._closing or run_id not in self._futures:
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
            queue=self._queue,
            patient=self._alive is not None,
            files=self._files,
            stopping=lambda: self._is_stopping(run.run_id),
            leave=lambda: self._leave(run.run_id),
            durably=self._durable.step,
            crash=self._crash,
        )

    def _is_stopping(self, run_id: str) -> bool:
        with self._changed:
            if self._closing or run_id in self._cancelled:
                return True
        try:
            if not self._may_hold() and not self._queue.holds(self._ledger, run_id):
                return True
            return self._ledger.keyed(*run_key(run_id, ended=True)) is not None  # cancelled by another process
        except LedgerUnreadable:
            if self._alive is None:
                raise
            return False  # hours of a fit are not thrown away because the database is restarted

    def _leave(self, run_id: str) -> None:
        """Leave the run as it is where this process ends, or another has taken it over.

        While a database that several machines share does not answer, nobody can have taken it: then this waits.
        """
        pause = threading.Event()
        while True:
            with self._changed:
                if self._closing:
                    raise self._interrupted()
            try:
                if not self._queue.holds(self._ledger, run_id):
                    raise self._interrupted()
                if self._alive is None or self._alive.believed:
                    return
                self._alive.say()  # silent for too long, and yet the run is still this worker's
            except LedgerUnreadable:
                if self._alive is None:
                    raise
            pause.wait(_AWAY_S)

    @staticmethod
    def _interrupted() -> BaseException:
        from everloop.workflows.durable import Interrupted

        return Interrupted()

    def _crash(self, point: str) -> None:
        if point == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)


def cancel_run(ledger: Ledger, run_id: str, *, actor: str, reason: str = "cancelled") -> RunResult:
    """End a run that waits, or goes on in whatever process: there before its next step; a step is asked to stop.

    A run that has ended keeps its end. Raises NotFound.
    """
    begun, key = ledger.run(run_id).seq, run_key(run_id, ended=True)
    with ledger.transaction() as transaction:
        if transaction.keyed(*key) is None:
            payload = RunCancelled(run=run_id, sentence=reason)
            transaction.append("run.cancelled", run_id, payload, actor=actor, cause=begun, key=key)
    return _known_end(ledger, run_id)


def _known_end(ledger: Ledger, run_id: str) -> RunResult:
    ended = ending_of(ledger, run_id, {})
    if ended is None:
        raise AssertionError(f"run {run_id} has no end after it was written")
    return ended


def _still_running(run_id: str, timeout_s: float | None) -> WorkflowError:
    return WorkflowError(f"run {run_id} has not ended after {timeout_s} s; it goes on, ask again later")


def _no_room(run_id: str) -> StorageFull:
    goes_on = f"free some space, and 'everloop run resume {run_id}' goes on with it"
    return StorageFull(f"run {run_id} was left before it ended, for the disk is full; {goes_on}")


class _Left(WorkflowError):
    """The run is another worker's, or waits for one."""


def _left(run_id: str) -> _Left:
    return _Left(f"run {run_id} was left before it ended; 'everloop run resume {run_id}' goes on with it")
