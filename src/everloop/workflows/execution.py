"""One run, from its first fact to its last: the part that is repeated after a crash and ends as if there was none."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from everloop.clock import Clock
from everloop.errors import EverloopError, Refused, StepTimeout, WorkflowError
from everloop.ledger import Fact, Ledger, RunFailed, RunFinished, RunRefused, RunStarted, RunStep, VerdictRecord
from everloop.workflows.context import RunContext
from everloop.workflows.result import RunResult
from everloop.workflows.workflow import State, Step, Workflow

__all__ = ["ENDINGS", "Envelope", "Execution", "ending_of"]

ENDINGS: Final = {
    "run.finished": "finished",
    "run.refused": "refused",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}
_LONGEST_TEXT: Final = 200
_LONGEST_LIST: Final = 20
_FIRST_PAUSE_S: Final = 0.2
Record = dict[str, Any]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What a run needs to begin, kept by the workflow engine."""

    run_id: str
    workflow: str
    inputs: dict[str, Any]
    actor: str
    cause: int | None = None

    def start(self, ledger: Ledger, *, slot: str) -> Fact:
        """Write the fact that the run began, once."""
        named: dict[str, Any] = {
            name: _text(self.inputs.get(name)) for name in ("model", "spec", "spec_hash", "trigger")
        }
        payload = RunStarted(run=self.run_id, workflow=self.workflow, slot=slot, inputs=_summary(self.inputs), **named)
        key = (self.run_id, "run", 0)
        return ledger.append("run.started", self.run_id, payload, actor=self.actor, cause=self.cause, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A workflow being run. `durably(name, f)` is the engine's: f's result, of the first time it ended."""

    envelope: Envelope
    workflow: Workflow
    ledger: Ledger
    clock: Clock
    workdir: Path
    resources: Any
    slot: str
    stopping: Callable[[], bool]
    leave: Callable[[], None]
    durably: Callable[[str, Callable[[], Record]], Record]
    crash: Callable[[str], None]

    def run(self) -> RunResult:
        """Run what has not been run yet, and record how it ended."""
        self.crash("before:run")
        started = self.envelope.start(self.ledger, slot=self.slot)
        self.crash("started:run")
        self.workdir.mkdir(parents=True, exist_ok=True)
        state = dict(self.envelope.inputs)
        for position, step in enumerate(self.workflow.steps):
            self.leave()
            ended = ending_of(self.ledger, self.envelope.run_id, state)
            if ended is not None and ended.status == "cancelled":
                return ended
            self.crash(f"before:{step.name}")
            record = self.durably(step.name, partial(self._step, step, position, started.seq, state))
            self.crash(f"after:{step.name}")
            if "output" not in record:
                return self._end_badly(step, record, state, cause=started.seq)
            state |= record["output"]
        return self._end("run.finished", self._finished(state), state, cause=started.seq)

    def _step(self, step: Step, position: int, cause: int, state: State) -> Record:
        """Attempt a step until it ends well, refuses, or has no attempt left."""
        record: Record = {}
        for attempt in range(1, step.attempts + 1):
            if attempt > 1:
                self.leave()
                threading.Event().wait(_FIRST_PAUSE_S * 2 ** (attempt - 2))
            begun_s = self.clock.monotonic_s()
            record = self._attempt(step, self._context(step, attempt, cause), state)
            if "output" in record:
                payload = RunStep(
                    run=self.envelope.run_id,
                    step=step.name,
                    position=position,
                    attempt=attempt,
                    seconds=self.clock.monotonic_s() - begun_s,
                    outputs=_summary(record["output"]),
                )
                self._append("run.step", payload, (self.envelope.run_id, step.name, 0), cause=cause)
                self.crash(f"written:{step.name}")
                break
            # A step out of time may still be at work in its thread: a second one beside it would collide.
            if record["status"] == "refused" or record["error"] == "StepTimeout" or self.stopping():
                break
        return record

    def _attempt(self, step: Step, context: RunContext, state: State) -> Record:
        try:
            output = _plain(_in_time(step, context, state))
            self._refuse_unfinished(context)
        except Refused as refused:
            return {
                "status": "refused",
                "sentence": str(refused),
                "evidence_path": refused.evidence_path,
                "verdicts": _plain({"all": list(refused.verdicts)})["all"],
            }
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
        )

    def broke(self, error: Exception) -> RunResult:
        """Record that not a step but what runs it failed, e.g. steps that are not those the run began with."""
        started = self.envelope.start(self.ledger, slot=self.slot)
        sentence = f"the run cannot go on: {error}; start it anew"
        failed = RunFailed(run=self.envelope.run_id, sentence=sentence, error=type(error).__name__)
        return self._end("run.failed", failed, dict(self.envelope.inputs), cause=started.seq)

    def _finished(self, state: Record) -> RunFinished:
        sentence = _text(state.get("sentence")) or ""
        return RunFinished(run=self.envelope.run_id, sentence=sentence, outputs=_summary(state))

    def _end_badly(self, step: Step, record: Record, state: Record, *, cause: int) -> RunResult:
        run_id = self.envelope.run_id
        ended = ending_of(self.ledger, run_id, state)
        if ended is not None:
            return ended
        if self.workflow.on_failure is not None:
            result = RunResult(run_id=run_id, state=state, step=step.name, **record)
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
        failed = RunFailed(run=run_id, sentence=sentence, step=step.name, error=record["error"])
        return self._end("run.failed", failed, state, cause=cause)

    def _on_failure(self, result: RunResult) -> Callable[[RunContext, State], State]:
        def run(context: RunContext, _state: State) -> State:
            if self.workflow.on_failure is not None:
                self.workflow.on_failure(context, result)
            return {}

        return run

    def _end(self, kind: str, payload: Any, state: Record, *, cause: int) -> RunResult:
        run_id = self.envelope.run_id
        key = (run_id, "run", 1)
        self.crash("ending:run")
        with self.ledger.transaction() as transaction:
            if transaction.keyed(*key) is None:  # else it was cancelled meanwhile, or this is a repetition
                transaction.append(kind, run_id, payload, actor=self.envelope.actor, cause=cause, key=key)
        self.crash("after:run")
        ended = ending_of(self.ledger, run_id, state)
        if ended is None:
            raise AssertionError(f"run {run_id} has no end after it was written")
        return ended

    def _append(self, kind: str, payload: Any, key: tuple[str, str, int], *, cause: int) -> Fact:
        run_id = self.envelope.run_id
        return self.ledger.append(kind, run_id, payload, actor=self.envelope.actor, cause=cause, key=key)


def ending_of(ledger: Ledger, run_id: str, state: Record) -> RunResult | None:
    """How the run ended as the ledger tells it, or None while it goes on."""
    fact = ledger.keyed(run_id, "run", 1)
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


def _in_time(step: Step, context: RunContext, state: State) -> State:
    """The step's output; in a thread of its own where its time is limited, so that we can stop waiting for it."""
    if step.timeout_s is None:
        return step.run(context, state)
    box: list[State | BaseException] = []

    def work() -> None:
        try:
            box.append(step.run(context, state))
        except BaseException as error:  # handed to the waiting thread, which raises it
            box.append(error)

    worker = threading.Thread(target=work, name=f"{context.run_id}-{step.name}", daemon=True)
    worker.start()
    worker.join(step.timeout_s)
    if not box or context.remaining_s() == 0:
        raise StepTimeout(f"step {step.name} took longer than {step.timeout_s:g} s; give it more, or less to do")
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


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


def _summary(values: State) -> Record:
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
