"""What happened in a run, told from its facts: who asked, how long it waited, each step, every failure, who ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from everloop.errors import NotFound
from everloop.ledger import Fact, Ledger, RunState, StepFailure
from everloop.workflows.records import StepRecord, step_records

__all__ = ["Handover", "RunStory", "StepStory", "run_story", "step_of"]

_ENDS = ("run.finished", "run.refused", "run.failed", "run.cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStory:
    """A step: when it began and ended, what it read and gave, and how the attempts before failed.

    seconds: of the last attempt. kept_from: the run that this output was taken from by a retry. inputs, outputs: whole
    where the run's folder is on this machine, else with long values cut.
    """

    step: str
    status: Literal["done", "refused", "failed"]
    began: datetime
    ended: datetime
    seconds: float
    attempts: int
    slot: str | None = None
    kept_from: str | None = None
    failures: tuple[StepFailure, ...] = ()
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = ("step", "status", "seconds", "attempts", "slot", "kept_from")
        told = {name: getattr(self, name) for name in names}
        told |= {"began": self.began.isoformat(), "ended": self.ended.isoformat()}
        failures = msgspec.to_builtins(self.failures)
        return told | {"failures": failures, "inputs": dict(self.inputs), "outputs": dict(self.outputs)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A moment at which the run went on with another worker, or with its own started again."""

    at: datetime
    slot: str
    taken_from: str | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStory:
    """A run with all that its facts tell.

    asked_by: who wanted it. folded: requests that became one with it, as (who, when). waited_s: in the queue.
    retry_of: the run whose first steps it kept. configured: where the values that it used came from: store, version,
    modifier; None for a run that read none.
    """

    run: RunState
    asked_by: str
    asked_at: datetime
    waited_s: float
    retry_of: str | None
    configured: Mapping[str, Any] | None
    folded: tuple[tuple[str, datetime], ...]
    steps: tuple[StepStory, ...]
    handovers: tuple[Handover, ...]

    @property
    def seconds(self) -> float | None:
        """From its beginning to its end; None while it waits or goes on, 0 where the clock was put back meanwhile."""
        ended = self.run.ended_at
        return None if ended is None else _between_s(self.run.started_at, ended)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        run = self.run
        names = ("run", "workflow", "model", "spec", "trigger", "status", "slot", "sentence", "evidence_path")
        told = {name: getattr(run, name) for name in names}
        told |= {"asked_by": self.asked_by, "asked_at": self.asked_at.isoformat(), "waited_s": self.waited_s}
        told |= {"started_at": run.started_at.isoformat(), "seconds": self.seconds, "retry_of": self.retry_of}
        told |= {"ended_at": None if run.ended_at is None else run.ended_at.isoformat(), "inputs": dict(run.inputs)}
        told["configured"] = None if self.configured is None else dict(self.configured)
        told["folded"] = [{"by": who, "at": at.isoformat()} for who, at in self.folded]
        told["handovers"] = [
            {"at": one.at.isoformat(), "slot": one.slot, "taken_from": one.taken_from, "sentence": one.sentence}
            for one in self.handovers
        ]
        return told | {"steps": [step.to_dict() for step in self.steps]}


def run_story(ledger: Ledger, runs_folder: Path, run_id: str) -> RunStory:
    """The story of a run, so far. Raises NotFound."""
    run = ledger.run(run_id)
    facts = ledger.facts(subject=run_id)
    queued = next((fact for fact in facts if fact.kind == "run.queued"), None)
    first = ledger.fact(run.seq) if queued is None else queued
    retry_of = None if queued is None else queued.payload["retry_of"]
    records = {record.step: record for record in step_records(runs_folder / run_id)}
    steps = [_done(fact, records.get(fact.payload["step"])) for fact in facts if fact.kind == "run.step"]
    own = {step.step for step in steps}
    kept = [_kept(record, str(retry_of)) for record in records.values() if retry_of and record.step not in own]
    end = next((fact for fact in facts if fact.kind in _ENDS), None)
    steps += _broken(end, after=steps[-1].ended if steps else run.started_at)
    return RunStory(
        run=run,
        asked_by=first.actor,
        asked_at=first.at,
        waited_s=_between_s(first.at, run.started_at),
        retry_of=retry_of,
        configured=next((fact.payload for fact in facts if fact.kind == "run.configured"), None),
        folded=tuple((fact.actor, fact.at) for fact in facts if fact.kind == "run.folded"),
        steps=(*kept, *steps),
        handovers=tuple(_handover(fact) for fact in facts if fact.kind == "run.taken"),
    )


def _between_s(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def _done(fact: Fact, record: StepRecord | None) -> StepStory:
    said = fact.payload
    began = fact.at - timedelta(seconds=said["seconds"]) if record is None else record.began
    return StepStory(
        step=said["step"],
        status="done",
        began=began,
        ended=fact.at if record is None else record.ended,
        seconds=said["seconds"],
        attempts=said["attempt"],
        slot=said.get("slot"),
        failures=_failures(said),
        inputs=said.get("inputs", {}) if record is None else record.inputs,
        outputs=said["outputs"] if record is None else record.output,
    )


def _kept(record: StepRecord, retry_of: str) -> StepStory:
    return StepStory(
        step=record.step,
        status="done",
        began=record.began,
        ended=record.ended,
        seconds=record.seconds,
        attempts=record.attempt,
        kept_from=retry_of,
        failures=tuple(record.failures),
        inputs=record.inputs,
        outputs=record.output,
    )


def _broken(end: Fact | None, *, after: datetime) -> list[StepStory]:
    """The step that refused or failed, which has no fact of its own."""
    if end is None or end.kind not in ("run.refused", "run.failed") or end.payload["step"] is None:
        return []
    failures = _failures(end.payload)
    return [
        StepStory(
            step=end.payload["step"],
            status="refused" if end.kind == "run.refused" else "failed",
            began=after,
            ended=end.at,
            seconds=failures[-1].seconds if failures else (end.at - after).total_seconds(),
            attempts=max(1, len(failures)),
            failures=failures,
            inputs={},
            outputs={},
        )
    ]


def _failures(said: Mapping[str, Any]) -> tuple[StepFailure, ...]:
    return tuple(msgspec.convert(said.get("failures", []), list[StepFailure]))


def _handover(fact: Fact) -> Handover:
    said = fact.payload
    return Handover(at=fact.at, slot=said["slot"], taken_from=said["taken_from"], sentence=said["sentence"])


def step_of(story: RunStory, name: str) -> StepStory:
    """The step of this name. Raises NotFound that names those there are."""
    found = next((step for step in story.steps if step.step == name), None)
    if found is None:
        known = ", ".join(step.step for step in story.steps) or "none has ended yet"
        raise NotFound(f"run {story.run.run} has no step {name!r} to show; there are: {known}")
    return found
