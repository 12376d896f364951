"""One run, from its first fact to its last: the part that is repeated after a crash and ends as if there was none."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from everloop.clock import Clock
from everloop.errors import EverloopError, LedgerUnreadable, NotFound, Refused, WorkflowError
from everloop.ledger import Fact, Ledger, RunFailed, RunFinished, RunRefused, RunStep, StepFailure, VerdictRecord
from everloop.workflows.at_hand import AtHand
from everloop.workflows.context import RunContext
from everloop.workflows.limits import in_time, pause_s, waited
from everloop.workflows.queue import Envelope, Queue, run_key
from everloop.workflows.records import StepRecord, keep_step, kept_steps
from everloop.workflows.result import RunResult
from everloop.workflows.run_files import RunFiles
from everloop.workflows.workflow import ReadState, State, Step, Workflow

__all__ = ["ENDINGS", "Execution", "ending_of", "summary_of"]

ENDINGS: Final = {
    "run.finished": "finished",
    "run.refused": "refused",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}
_LONGEST_TEXT: Final = 200
_LONGEST_LIST: Final = 20
_AWAY_S: Final = 0.25
Record = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A workflow being run. `durably(name, f)` is the engine's: f's result, of the first time it ended.

    queue: says whether the run is still this worker's. patient: wait for a ledger that does not answer. files: where
    what steps leave is kept for other machines; None where all have one disk. leave: leaves the run as it is where this
    process ends or lost it.
    """

    envelope: Envelope
    workflow: Workflow
    ledger: Ledger
    queue: Queue
    patient: bool
    files: RunFiles | None
    clock: Clock
    workdir: Path
    resources: Any
    stopping: Callable[[], bool]
    leave: Callable[[], None]
    durably: Callable[[str, Callable[[], Record]], Record]
    crash: Callable[[str], None]
    at_hand: AtHand = field(default_factory=AtHand)

    def run(self) -> RunResult:
        """Run what has not been run yet, and record how it ended."""
        try:
            return self._run()
        finally:
            self.at_hand.close()

    def _run(self) -> RunResult:
        self.crash("before:run")
        started = self.ledger.run(self.envelope.run_id).seq
        self.crash("started:run")
        self.workdir.mkdir(parents=True, exist_ok=True)
        if self.files is not None:
            self.files.fetch(self.workdir)
        state = dict(self.envelope.inputs)
        try:
            kept = self._kept()
        except (NotFound, WorkflowError) as error:  # it would be so the next time as well
            return self.broke(error)
        for position, step in enumerate(self.workflow.steps):
            if step.name in kept:
                state |= kept[step.name]
                continue
            self.leave()
            ended = ending_of(self.ledger, self.envelope.run_id, state)
            if ended is not None and ended.status == "cancelled":
                return ended
            self.crash(f"before:{step.name}")
            record = self.durably(step.name, partial(self._step, step, position, started, state))
            self.crash(f"after:{step.name}")
            if "output" not in record:
                return self._end_badly(step, record, state, cause=started)
            state |= record["output"]
        return self._end("run.finished", self._finished(state), state, cause=started)

    def _kept(self) -> dict[str, Record]:
        """What the steps before `from_step` gave in the run that this one is a retry of."""
        retry_of, from_step = self.envelope.retry_of, self.envelope.from_step
        if retry_of is None or from_step is None:
            return {}
        names = [step.name for step in self.workflow.steps]
        if from_step not in names:
            raise WorkflowError(f"{self.workflow.name} has no step {from_step} any more; start the run anew")
        before, source = names[: names.index(from_step)], self.workdir.parent / retry_of
        if self.files is not None:
            self.files.fetch(source)

        def kept() -> dict[str, Record]:
            found = kept_steps(source, self.workdir, before)
            self._send()  # else a machine that takes the run over before its first step has ended finds nothing
            return found

        return self.durably("keep", kept)

    def _step(self, step: Step, position: int, cause: int, state: State) -> Record:
        """Attempt a step until it ends well, refuses, or has no attempt left."""
        record: Record = {}
        failures: list[StepFailure] = []
        for attempt in range(1, step.attempts + 1):
            began, begun_s = self.clock.now(), self.clock.monotonic_s()
            record, reads = self._patiently(partial(self._attempt_anew, step, attempt, cause, state))
            seconds = self.clock.monotonic_s() - begun_s
            if "output" in record:
                done = StepRecord(
                    step=step.name, position=position, attempt=attempt, began=began, ended=self.clock.now(),
                    seconds=seconds, inputs=reads.read, output=record["output"], failures=failures,
                )  # fmt: skip
                self._tell_step(done, cause)
                break
            # A step out of time may still be at work in its thread: a second one beside it would collide.
            last = attempt == step.attempts or record["status"] == "refused" or record["error"] == "StepTimeout"
            wait_s = 0.0 if last else pause_s(step, attempt)
            failure = StepFailure(
                sentence=record["sentence"], error=record.get("error") or "", seconds=seconds, waited_s=wait_s
            )
            failures.append(failure)
            if last or not waited(wait_s, self.stopping):
                break
            self.leave()
        return record if "output" in record else record | {"failures": msgspec.to_builtins(failures)}

    def _tell_step(self, done: StepRecord, cause: int) -> None:
        """Keep what the step read and gave, whole in a file, in short as a fact."""
        keep_step(self.workdir, done)
        self._send()
        payload = RunStep(
            run=self.envelope.run_id,
            step=done.step,
            position=done.position,
            attempt=done.attempt,
            seconds=done.seconds,
            inputs=summary_of(done.inputs),
            outputs=summary_of(done.output),
            failures=done.failures,
            slot=self.queue.slot,
        )
        self._append("run.step", payload, (self.envelope.run_id, done.step, 0), cause=cause)
        self.crash(f"written:{done.step}")

    def _send(self) -> None:
        """What the folder holds now, so that whoever goes on finds it."""
        if self.files is not None:
            self.files.send(self.workdir)

    def _attempt_anew(self, step: Step, attempt: int, cause: int, state: State) -> tuple[Record, ReadState]:
        """An attempt with surroundings of its own, whose facts are numbered from the first; and what it read."""
        reads = ReadState(state)
        return self._attempt(step, self._context(step, attempt, cause), reads), reads

    def _attempt(self, step: Step, context: RunContext, state: State) -> Record:
        try:
            output = _plain(in_time(step, context, state))
            self._refuse_unfinished(context)
        except Refused as refused:
            return {
                "status": "refused",
                "sentence": str(refused),
                "evidence_path": refused.evidence_path,
                "verdicts": _plain({"all": list(refused.verdicts)})["all"],
            }
        except LedgerUnreadable:
            raise  # not the step failed but what the run stands on: it goes on once that is back
        except EverloopError as error:
            self.leave()  # a step that was asked to stop because the process ends has not failed
            return {"status": "failed", "sentence": str(error), "error": type(error).__name__}
        except Exception as error:  # the run's own loop: whatever a step raises is recorded as a fact
            self.leave()
            trace = self.workdir / f"{step.name}.error.txt"
            trace.write_text(traceback.format_exc(), encoding="utf-8")
            sentence = f"step {step.name} raised {type(error).__name__}: {error}; the trace is in {trace}"
            return {"status": "failed", "sentence": sentence, "error": type(error).__name__}
        return {"output": output}

    def _refuse_unfinished(self, context: RunContext) -> None:
        """What a step gave because it was told to stop is no output: after a crash nobody could tell."""
        if context.told.is_set():
            self.leave()
            raise WorkflowError(f"step {context.step} was stopped: the run was cancelled")

    def _context(self, step: Step, attempt: int, cause: int) -> RunContext:
        limit = step.timeout_s
        return RunContext(
            run_id=self.envelope.run_id,
            workflow=self.workflow.name,
            step=step.name,
            attempt=attempt,
            workdir=self.workdir,
            clock=self.clock,
            ledger=self.ledger,
            actor=self.envelope.actor,
            cause=cause,
            resources=self.resources,
            deadline_s=None if limit is None else self.clock.monotonic_s() + limit,
            stopping=self.stopping,
            crash=self.crash,
            at_hand=self.at_hand,
            files=self.files,
        )

    def broke(self, error: Exception) -> RunResult:
        """Record that not a step but what runs it failed, e.g. steps that are not those the run began with."""
        started = self.ledger.run(self.envelope.run_id).seq
        sentence = f"the run cannot go on: {error}; start it anew"
        failed = RunFailed(run=self.envelope.run_id, sentence=sentence, error=type(error).__name__)
        return self._end("run.failed", failed, dict(self.envelope.inputs), cause=started)

    def _finished(self, state: Record) -> RunFinished:
        sentence = _text(state.get("sentence")) or ""
        return RunFinished(run=self.envelope.run_id, sentence=sentence, outputs=summary_of(state))

    def _end_badly(self, step: Step, record: Record, state: Record, *, cause: int) -> RunResult:
        run_id = self.envelope.run_id
        self._send()
        ended = ending_of(self.ledger, run_id, state)
        if ended is not None:
            return ended
        if self.workflow.on_failure is not None:
            told = {name: value for name, value in record.items() if name != "failures"}
            result = RunResult(run_id=run_id, state=state, step=step.name, **told)
            after = Step(name=f"after {step.name}", run=self._on_failure(result))
            outcome = self.durably(after.name, lambda: self._attempt(after, self._context(after, 1, cause), state))
            if "output" not in outcome:
                record = record | {"sentence": f"{record['sentence']} (then: {outcome['sentence']})"}
        sentence = record["sentence"] or f"step {step.name} ended with {record.get('error') or record['status']}"
        if record["status"] == "refused":
            refused = RunRefused(
                run=run_id,
                sentence=sentence,
                step=step.name,
                evidence_path=record["evidence_path"],
                verdicts=msgspec.convert(record["verdicts"], list[VerdictRecord]),
            )
            return self._end("run.refused", refused, state, cause=cause)
        failures = msgspec.convert(record["failures"], list[StepFailure])
        failed = RunFailed(run=run_id, sentence=sentence, step=step.name, error=record["error"], failures=failures)
        return self._end("run.failed", failed, state, cause=cause)

    def _on_failure(self, result: RunResult) -> Callable[[RunContext, State], State]:
        def run(context: RunContext, _state: State) -> State:
            if self.workflow.on_failure is not None:
                self.workflow.on_failure(context, result)
            return {}

        return run

    def _end(self, kind: str, payload: Any, state: Record, *, cause: int) -> RunResult:
        run_id = self.envelope.run_id
        key = run_key(run_id, ended=True)
        self.crash("ending:run")
        self._append(kind, payload, key, cause=cause)
        self.crash("after:run")
        ended = ending_of(self.ledger, run_id, state)
        if ended is None:
            raise AssertionError(f"run {run_id} has no end after it was written")
        return ended

    def _append(self, kind: str, payload: Any, key: tuple[str, str, int], *, cause: int) -> Fact:
        run_id = self.envelope.run_id

        def write() -> Fact:
            with self.ledger.transaction() as transaction:
                kept = transaction.keyed(*key)
                if kept is not None:  # a repetition, or the run was cancelled meanwhile
                    return kept
                if not self.queue.holds(transaction, run_id):
                    self.leave()
                return transaction.append(kind, run_id, payload, actor=self.envelope.actor, cause=cause, key=key)

        return self._patiently(write)

    def _patiently(self, act: Callable[[], T]) -> T:
        """What `act` gives; anew once the ledger answers again, where several machines share it."""
        while True:
            try:
                return act()
            except LedgerUnreadable:
                if not self.patient:
                    raise
                self.leave()  # waits until it answers, or leaves the run to others
                threading.Event().wait(_AWAY_S)


def ending_of(ledger: Ledger, run_id: str, state: Record) -> RunResult | None:
    """How the run ended as the ledger tells it, or None while it goes on."""
    fact = ledger.keyed(*run_key(run_id, ended=True))
    if fact is None:
        return None
    payload = fact.payload
    return RunResult(
        run_id=run_id,
        status=ENDINGS[fact.kind],  # type: ignore[arg-type]  # the four values are the four kinds
        state=dict(state),
        sentence=payload.get("sentence", ""),
        error=payload.get("error", ""),
        step=payload.get("step"),
        evidence_path=payload.get("evidence_path"),
        verdicts=payload.get("verdicts", []),
    )


def _plain(output: State) -> Record:
    """The output as it will be read back after a crash, so that a later step sees the same either way."""

    def known(value: object) -> object:
        if isinstance(value, Mapping):
            return dict(value)
        if hasattr(value, "tolist"):
            return value.tolist()
        if hasattr(value, "__fspath__"):
            return str(value)
        raise TypeError(f"a step's output cannot hold a {type(value).__name__}; write it to the workdir, pass its path")

    plain: Record = msgspec.json.decode(msgspec.json.encode(dict(output), enc_hook=known))
    return plain


def summary_of(values: State) -> Record:
    """What of a state goes into a fact: long texts and lists are cut, the whole is in the run's folder."""
    return {name: _short(value, depth=0) for name, value in values.items()}


def _short(value: Any, *, depth: int) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return value[: _LONGEST_TEXT - 1] + "…"
    if isinstance(value, (list, dict)) and (len(value) > _LONGEST_LIST or depth >= 3):
        return f"{len(value)} items"
    if isinstance(value, list):
        return [_short(item, depth=depth + 1) for item in value]
    if isinstance(value, dict):
        return {name: _short(item, depth=depth + 1) for name, item in value.items()}
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
