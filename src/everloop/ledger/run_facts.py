"""The payloads of runs: asked for, begun, gone on with, step by step, ended."""

from __future__ import annotations

import msgspec

from everloop.ledger.payload import JSON, Count, Name, Number, Payload, StepFailure, VerdictRecord

__all__ = [
    "RunCancelled",
    "RunConfigured",
    "RunFailed",
    "RunFinished",
    "RunFolded",
    "RunQueued",
    "RunRefused",
    "RunStarted",
    "RunStep",
    "RunTaken",
]


class RunQueued(Payload, frozen=True, kw_only=True):
    """A run was asked for; a worker begins it once no other of its lane goes on.

    inputs: whole, so that any worker can begin it. lane: runs of one lane follow each other; empty for none. fold: a
    request of the same lane and fold that still waits is this one. retry_of: the run whose steps before `from_step`
    are kept.
    """

    run: Name
    workflow: Name
    lane: str = ""
    fold: str = ""
    model: str | None = None
    spec: str | None = None
    trigger: str | None = None
    inputs: dict[str, JSON] = msgspec.field(default_factory=dict)
    retry_of: str | None = None
    from_step: str | None = None


class RunFolded(Payload, frozen=True, kw_only=True):
    """A request for a run became one with a run that waits already, which takes its inputs: they are the newer ones."""

    run: Name
    into: Name
    trigger: str | None = None
    inputs: dict[str, JSON] = msgspec.field(default_factory=dict)


class RunTaken(Payload, frozen=True, kw_only=True):
    """A run goes on with another worker, or with the same one started again; the one before is gone."""

    run: Name
    slot: Name
    taken_from: str | None = None
    sentence: str = ""


class RunConfigured(Payload, frozen=True, kw_only=True):
    """Exactly what a run trains and where that came from: the store, its version there, who wrote it.

    parts: of a store that keeps each value by itself, name → its own version and who wrote it. approval: the fact.
    """

    run: Name
    model: Name
    spec: Name
    spec_hash: Name
    store: Name
    version: str
    modifier: str = ""
    learner: Name
    hyperparameters: dict[str, JSON] = msgspec.field(default_factory=dict)
    parts: dict[str, dict[str, JSON]] = msgspec.field(default_factory=dict)
    approval: Number | None = None
    notes: list[str] = msgspec.field(default_factory=list)


class RunStarted(Payload, frozen=True, kw_only=True):
    """A durable workflow began, run by the worker `slot`."""

    run: Name
    workflow: Name
    model: str | None = None
    spec: str | None = None
    spec_hash: str | None = None
    trigger: str | None = None
    slot: str | None = None
    inputs: dict[str, JSON] = msgspec.field(default_factory=dict)


class RunStep(Payload, frozen=True, kw_only=True):
    """A step of a run ended well after `seconds` in its last attempt, and how the attempts before failed.

    inputs: what the step read of the state; outputs: what it added. Both are summaries, long values are cut.
    """

    run: Name
    step: Name
    position: Count
    seconds: float
    attempt: Number = 1
    inputs: dict[str, JSON] = msgspec.field(default_factory=dict)
    outputs: dict[str, JSON] = msgspec.field(default_factory=dict)
    failures: list[StepFailure] = msgspec.field(default_factory=list)
    slot: str | None = None


class RunFinished(Payload, frozen=True, kw_only=True):
    """A run ended well."""

    run: Name
    sentence: str = ""
    outputs: dict[str, JSON] = msgspec.field(default_factory=dict)


class RunRefused(Payload, frozen=True, kw_only=True):
    """A gate, a policy or a person said no; what was made is kept and never served."""

    run: Name
    sentence: Name
    step: str | None = None
    evidence_path: str | None = None
    verdicts: list[VerdictRecord] = msgspec.field(default_factory=list)


class RunFailed(Payload, frozen=True, kw_only=True):
    """A run ended with an error: that of the last of the step's attempts, `failures` those of all of them."""

    run: Name
    sentence: Name
    step: str | None = None
    error: str = ""
    failures: list[StepFailure] = msgspec.field(default_factory=list)


class RunCancelled(Payload, frozen=True, kw_only=True):
    """Someone stopped a run."""

    run: Name
    sentence: Name
