"""What may be written down: one payload per kind of fact, checked before it enters the chain.

Every payload has `details`, an open dictionary for what a room wants to keep besides. Times are UTC. A name
that ends in `_path` is relative to the project's root.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec

from everloop.errors import LedgerError

if TYPE_CHECKING:
    from everloop.project import Spec

__all__ = [
    "KINDS",
    "SCHEMAS",
    "AlertClosed",
    "AlertOpened",
    "CheckDone",
    "DataSpan",
    "Estimate",
    "Exposure",
    "InvestigationMade",
    "LeaseAcquired",
    "LeaseReleased",
    "NoticeSent",
    "NoticeSet",
    "Payload",
    "ProjectCreated",
    "ProposalMade",
    "RefusedInput",
    "RollbackDone",
    "RolloutMoved",
    "RolloutPromoted",
    "RolloutStarted",
    "RolloutStopped",
    "RoutingChanged",
    "RunCancelled",
    "RunFailed",
    "RunFinished",
    "RunFolded",
    "RunQueued",
    "RunRefused",
    "RunStarted",
    "RunStep",
    "RunTaken",
    "ScheduleAsked",
    "ScheduleDeclined",
    "ScheduleFired",
    "SchedulePaused",
    "ScheduleResumed",
    "ScheduleSet",
    "ScoreDone",
    "ScoredInput",
    "SearchEnded",
    "SpecApproved",
    "SpecWritten",
    "StepFailure",
    "VerdictRecord",
    "VersionRegistered",
    "Window",
    "decode_payload",
    "encode_payload",
]

JSON: TypeAlias = Any
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a payload."""


class Payload(_Record, frozen=True, kw_only=True):
    """What a fact says."""

    details: dict[str, JSON] = msgspec.field(default_factory=dict)


class Estimate(_Record, frozen=True, kw_only=True):
    """A metric with its interval, and how many positives it stands on."""

    point: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    rows: float | None = None
    positives: float | None = None


class VerdictRecord(_Record, frozen=True, kw_only=True):
    """A verdict as it is kept: which question was asked (a gate, a check, a stop rule) and the answer."""

    name: str = ""
    outcome: Literal["passed", "failed", "undecided"]
    sentence: str
    evidence: dict[str, JSON] = msgspec.field(default_factory=dict)


class Window(_Record, frozen=True, kw_only=True):
    """A span of event time, [start, end)."""

    start: datetime
    end: datetime


class StepFailure(_Record, frozen=True, kw_only=True):
    """An attempt at a step that failed, how long it took, and how long it was waited before the next."""

    sentence: str
    error: str = ""
    seconds: float = 0.0
    waited_s: float = 0.0


class DataSpan(_Record, frozen=True, kw_only=True):
    """The rows something was made from."""

    rows: Count
    start: datetime | None = None
    end: datetime | None = None
    source: str = ""
    hash: str = ""
    as_of: datetime | None = None
    positives: float | None = None


class Exposure(_Record, frozen=True, kw_only=True):
    """How much of the traffic one challenger answers: nothing in `shadow`, `share` of the keys in `canary`."""

    version: Number
    share: Share
    mode: Literal["shadow", "canary"] = "canary"
    salt: str = ""


class ProjectCreated(Payload, frozen=True, kw_only=True):
    """A project began."""

    project: Name
    models: list[str] = msgspec.field(default_factory=list)
    template: str | None = None
    everloop: str | None = None


class SpecWritten(Payload, frozen=True, kw_only=True):
    """A winning configuration was written to a file; `trigger` says what asked for it: search, alert, schedule."""

    model: Name
    spec: Name
    spec_hash: Name
    number: Number | None = None
    learner: str = ""
    parent: str | None = None
    reason: str = ""
    diff: dict[str, JSON] = msgspec.field(default_factory=dict)
    trigger: str = "search"
    run: str | None = None
    alert: str | None = None
    path: str | None = None
    expected: dict[str, Estimate] = msgspec.field(default_factory=dict)
    data: DataSpan | None = None

    @classmethod
    def of(cls, spec: Spec, *, trigger: str, **rest: Any) -> SpecWritten:
        """What the fact of every spec says; `rest` are the fields that who wrote it knows besides."""
        return cls(
            model=spec.model,
            spec=spec.name,
            spec_hash=spec.hash,
            number=spec.number,
            learner=spec.learner,
            parent=spec.parent,
            reason=spec.reason,
            diff=dict(spec.diff),
            trigger=trigger,
            path=f"{spec.model}/specs/{spec.name}.yaml",
            **rest,
        )


class ScoredInput(_Record, frozen=True, kw_only=True):
    """A file that was scored in batch. stamp: its size and time, by which it is known again; hash: of its content.

    rows: how many were scored; rejected: how many were not, each written aside with its reason.
    """

    name: Name
    stamp: str
    hash: str = ""
    rows: Count = 0
    rejected: Count = 0


class RefusedInput(_Record, frozen=True, kw_only=True):
    """A file of which nothing was scored; it is looked at again the next time."""

    name: Name
    sentence: Name


class ScoreDone(Payload, frozen=True, kw_only=True):
    """What was new in a source was scored by `version`: its rows are in `target` and in the traffic log, once.

    run: that scored it. inputs: never scored again. source_version: of a Delta table, up to which it was read.
    """

    model: Name
    run: Name
    source: Name
    target: Name
    version: Number | None = None
    rows: Count = 0
    rejected: Count = 0
    positives: int | None = None
    inputs: list[ScoredInput] = msgspec.field(default_factory=list)
    refused: list[RefusedInput] = msgspec.field(default_factory=list)
    source_version: int | None = None


class SearchEnded(Payload, frozen=True, kw_only=True):
    """A search of configurations came to its end; its trials lie in the folder `path`.

    trials: that were asked for, yardsticks aside, so many of them failed or given up. winner: the chosen trial's name;
    verdict: whether it may become a spec. beside: names of what people brought to stand beside it.
    """

    model: Name
    search: Name
    objective: str
    trials: Count
    failed: Count = 0
    pruned: Count = 0
    stopped: bool = False
    method: str = ""
    seed: int = 0
    winner: str | None = None
    learner: str = ""
    expected: Estimate | None = None
    verdict: VerdictRecord | None = None
    beside: list[str] = msgspec.field(default_factory=list)
    seconds: float = 0.0
    path: str | None = None
    data: DataSpan | None = None


class SpecApproved(Payload, frozen=True, kw_only=True):
    """Someone answers for a spec."""

    model: Name
    spec: Name
    spec_hash: Name
    by: Name
    note: str = ""


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


class VersionRegistered(Payload, frozen=True, kw_only=True):
    """A bundle that passed its gates got a number. `Ledger.register_version` gives `number`."""

    model: Name
    bundle: Name
    run: Name
    spec: Name
    spec_hash: Name
    number: Count = 0
    metrics: dict[str, Estimate] = msgspec.field(default_factory=dict)
    verdicts: list[VerdictRecord] = msgspec.field(default_factory=list)
    data: DataSpan | None = None
    trigger: str = "person"
    alert: str | None = None
    threshold: float | None = None
    evidence_path: str | None = None


class RoutingChanged(Payload, frozen=True, kw_only=True):
    """Who answers from now on, whole. `revision` is one more than the routing it replaces."""

    model: Name
    revision: Number
    champion: Number | None = None
    previous: Number | None = None
    challengers: list[Exposure] = msgspec.field(default_factory=list)
    reason: str = ""


class RolloutStarted(Payload, frozen=True, kw_only=True):
    """A challenger begins to be exposed."""

    model: Name
    version: Number
    against: Number | None = None
    steps: list[str] = msgspec.field(default_factory=list)
    step: Count = 0
    salt: str = ""
    trigger: str = "person"
    promote: Literal["better", "not_worse"] = "better"
    reason: str = ""


class RolloutMoved(Payload, frozen=True, kw_only=True):
    """A rollout went on to another step."""

    model: Name
    version: Number
    step: Count
    share: Share | None = None
    mode: str | None = None
    sentence: str = ""
    verdict: VerdictRecord | None = None


class RolloutStopped(Payload, frozen=True, kw_only=True):
    """A challenger was taken back."""

    model: Name
    version: Number
    sentence: Name
    step: Count | None = None
    verdict: VerdictRecord | None = None


class RolloutPromoted(Payload, frozen=True, kw_only=True):
    """A challenger became champion."""

    model: Name
    version: Number
    sentence: Name
    replaced: Number | None = None
    verdict: VerdictRecord | None = None


class RollbackDone(Payload, frozen=True, kw_only=True):
    """A champion gave way to the one before it."""

    model: Name
    from_version: Number
    to_version: Number
    reason: str = ""


class CheckDone(Payload, frozen=True, kw_only=True):
    """A window was judged."""

    model: Name
    window: Window
    verdicts: list[VerdictRecord]
    version: Number | None = None
    rows: Count = 0
    matured: Count = 0
    positives: float = 0.0
    metrics: dict[str, Estimate] = msgspec.field(default_factory=dict)


class AlertOpened(Payload, frozen=True, kw_only=True):
    """A failed verdict that someone or something must act on, and whether outcomes were known for it."""

    alert: Name
    model: Name
    check: Name
    window: Window
    sentence: Name
    evidence_kind: Literal["labels", "no labels"]
    evidence: dict[str, JSON] = msgspec.field(default_factory=dict)
    version: Number | None = None
    policy: str = "notify"


class AlertClosed(Payload, frozen=True, kw_only=True):
    """An alert needs nobody any more."""

    alert: Name
    model: Name
    reason: Name


class InvestigationMade(Payload, frozen=True, kw_only=True):
    """What changed, where, since when, what it costs, what would repair it."""

    alert: Name
    model: Name
    sentence: Name
    report_path: str | None = None
    notebook_path: str | None = None
    since: datetime | None = None
    findings: dict[str, JSON] = msgspec.field(default_factory=dict)


class ProposalMade(Payload, frozen=True, kw_only=True):
    """A new configuration with its parent, its diff and its reason."""

    model: Name
    spec: Name
    reason: Name
    spec_hash: str = ""
    parent: str | None = None
    diff: dict[str, JSON] = msgspec.field(default_factory=dict)
    investigation: int | None = None
    alert: str | None = None


class LeaseAcquired(Payload, frozen=True, kw_only=True):
    """A lease has a new holder; `taken_from` let it run out."""

    lease: Name
    holder: Name
    taken_from: str | None = None


class LeaseReleased(Payload, frozen=True, kw_only=True):
    """A holder gave its lease back."""

    lease: Name
    holder: Name


class NoticeSent(Payload, frozen=True, kw_only=True):
    """People were told, or could not be and will be later. notice: what kind. facts: how many it stands for."""

    channel: Name
    sentence: Name
    delivered: bool
    problem: str = ""
    notice: str = ""
    facts: Count = 1


class NoticeSet(Payload, frozen=True, kw_only=True):
    """What a channel of everloop.yaml hears of from now on: kind of notice → the fact after which it counts."""

    channel: Name
    kinds: dict[str, int]


class ScheduleAsked(Payload, frozen=True, kw_only=True):
    """Someone asked now for the run that the schedule would ask for; the worker begins it under this name."""

    model: Name
    schedule: Name
    run: Name
    reason: str = ""


class ScheduleDeclined(Payload, frozen=True, kw_only=True):
    """The run that someone asked for cannot begin, and is not tried again."""

    model: Name
    run: Name
    sentence: Name


class ScheduleFired(Payload, frozen=True, kw_only=True):
    """A schedule came due and asked for `run`, or for none: then `skipped` says why.

    late_s: how long after `due` that was. missed: times before it that had gone by since the last one, and that this
    one stands for. sentence: why it was late.
    """

    model: Name
    schedule: Name
    due: datetime
    run: str | None = None
    late_s: float = 0.0
    missed: Count = 0
    skipped: str | None = None
    sentence: str = ""


class SchedulePaused(Payload, frozen=True, kw_only=True):
    """Someone holds a model's schedule: it fires nothing until it is resumed."""

    model: Name
    reason: Name


class ScheduleResumed(Payload, frozen=True, kw_only=True):
    """A model's schedule fires again."""

    model: Name
    reason: str = ""


class ScheduleSet(Payload, frozen=True, kw_only=True):
    """The worker found another schedule in model.yaml than `before`; what is due after `since` is due by this one."""

    model: Name
    schedule: str | None
    timezone: Name
    since: datetime
    before: str | None = None


KINDS: Final[Mapping[str, type[Payload]]] = {
    "alert.closed": AlertClosed,
    "alert.opened": AlertOpened,
    "check.done": CheckDone,
    "investigation.made": InvestigationMade,
    "lease.acquired": LeaseAcquired,
    "lease.released": LeaseReleased,
    "notice.sent": NoticeSent,
    "notice.set": NoticeSet,
    "project.created": ProjectCreated,
    "proposal.made": ProposalMade,
    "rollback.done": RollbackDone,
    "rollout.moved": RolloutMoved,
    "rollout.promoted": RolloutPromoted,
    "rollout.started": RolloutStarted,
    "rollout.stopped": RolloutStopped,
    "routing.changed": RoutingChanged,
    "run.cancelled": RunCancelled,
    "run.failed": RunFailed,
    "run.finished": RunFinished,
    "run.folded": RunFolded,
    "run.queued": RunQueued,
    "run.refused": RunRefused,
    "run.started": RunStarted,
    "run.step": RunStep,
    "run.taken": RunTaken,
    "schedule.asked": ScheduleAsked,
    "schedule.declined": ScheduleDeclined,
    "schedule.fired": ScheduleFired,
    "schedule.paused": SchedulePaused,
    "schedule.resumed": ScheduleResumed,
    "schedule.set": ScheduleSet,
    "score.done": ScoreDone,
    "search.ended": SearchEnded,
    "spec.approved": SpecApproved,
    "spec.written": SpecWritten,
    "version.registered": VersionRegistered,
}

# Raised for a kind when the meaning of its payload changes; old facts keep the number they were written with.
SCHEMAS: Final[Mapping[str, int]] = dict.fromkeys(KINDS, 1)


def _plain(value: object) -> object:
    """What msgspec does not know: NumPy scalars and arrays, paths, mappings that are no dict."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"a fact cannot hold a {type(value).__name__}")


def encode_payload(kind: str, payload: Payload | Mapping[str, JSON]) -> bytes:
    """The bytes that are stored and hashed: JSON with sorted keys.

    Raises LedgerError where the kind is unknown or the payload is not one of it.
    """
    record = KINDS.get(kind)
    if record is None:
        raise LedgerError(f"there is no kind of fact {kind!r}; there are: {', '.join(KINDS)}")
    if isinstance(payload, Payload) and not isinstance(payload, record):
        raise LedgerError(f"a fact {kind} holds {record.__name__}, not {type(payload).__name__}")
    try:
        source = payload if isinstance(payload, Payload) else dict(payload)
        checked = msgspec.convert(msgspec.to_builtins(source, enc_hook=_plain), record)
    except (msgspec.ValidationError, TypeError) as error:
        raise LedgerError(f"the fact {kind} cannot be written: {error}") from error
    return msgspec.json.encode(checked, order="sorted")


def decode_payload(stored: bytes) -> dict[str, JSON]:
    """The payload as plain values. Facts of older schemas decode too: nothing is dropped or required."""
    payload: dict[str, JSON] = msgspec.json.decode(stored)
    return payload
