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
from everloop.ledger.origin import Origin

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
    "KeyCreated",
    "KeyRevoked",
    "LeaseAcquired",
    "LeaseReleased",
    "NoticeSent",
    "Payload",
    "ProjectCreated",
    "ProposalMade",
    "Removed",
    "RetentionDone",
    "RolesChanged",
    "RollbackDone",
    "RolloutMoved",
    "RolloutPromoted",
    "RolloutStarted",
    "RolloutStopped",
    "RoutingChanged",
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
    "ScheduleAsked",
    "ScheduleDeclined",
    "ScheduleFired",
    "SchedulePaused",
    "ScheduleResumed",
    "ScheduleSet",
    "SearchEnded",
    "SegmentEstimate",
    "SpecApproved",
    "SpecArrived",
    "SpecPut",
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


class SegmentEstimate(_Record, frozen=True, kw_only=True):
    """How a version does on the test rows of one value of a segment; `rest`: of all values too rare to be told."""

    segment: Name
    value: str
    rows: Count
    positives: float | None = None
    metrics: dict[str, Estimate] = msgspec.field(default_factory=dict)
    rest: bool = False


class Removed(_Record, frozen=True, kw_only=True):
    """Something old that was removed: a bundle by its id, a run's folder, a spool's file; `versions` were made of it.

    since: when it was last of use. rule: the sentence by which it went.
    """

    what: Literal["bundle", "run", "spool"]
    name: Name
    bytes: Count = 0
    model: str | None = None
    versions: list[Number] = msgspec.field(default_factory=list)
    since: datetime | None = None
    rule: str = ""


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


class SpecArrived(Payload, frozen=True, kw_only=True):
    """A store's configuration changed by somebody's hand, and asks for a run. `modifier` is who, as the store knows."""

    model: Name
    spec: Name
    spec_hash: Name
    store: Name
    version: Name
    modifier: str = ""
    notes: list[str] = msgspec.field(default_factory=list)


class SpecPut(Payload, frozen=True, kw_only=True):
    """A spec was written into the model's store, where it has the version `version`."""

    model: Name
    spec: Name
    spec_hash: Name
    store: Name
    version: Name
    label: str | None = None


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
    segments: list[SegmentEstimate] = msgspec.field(default_factory=list)
    origin: Origin | None = None


class RoutingChanged(Payload, frozen=True, kw_only=True):
    """Who answers from now on, whole. `revision` is one more than the routing it replaces."""

    model: Name
    revision: Number
    champion: Number | None = None
    previous: Number | None = None
    challengers: list[Exposure] = msgspec.field(default_factory=list)
    reason: str = ""


class RetentionDone(Payload, frozen=True, kw_only=True):
    """What the retention rule took away, written before the files go. rules: the spans that held, as settings say them.

    bytes: of all of it, on this machine.
    """

    removed: list[Removed]
    bytes: Count = 0
    rules: dict[str, str] = msgspec.field(default_factory=dict)


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


class KeyCreated(Payload, frozen=True, kw_only=True):
    """Someone got a key that shows who they are. sha256: of its secret, which stands nowhere.

    first: there was no key before, so nobody had to show one.
    """

    name: Name
    key: Name
    sha256: Name
    first: bool = False


class KeyRevoked(Payload, frozen=True, kw_only=True):
    """A key shows nobody any more."""

    name: Name
    key: Name
    reason: str = ""


class RolesChanged(Payload, frozen=True, kw_only=True):
    """everloop.yaml names other people for its roles than it did when something was last changed under them."""

    roles: dict[str, list[str]]
    before: dict[str, list[str]] = msgspec.field(default_factory=dict)


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
    """People were told, or could not be."""

    channel: Name
    sentence: Name
    delivered: bool
    problem: str = ""


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
    "key.created": KeyCreated,
    "key.revoked": KeyRevoked,
    "lease.acquired": LeaseAcquired,
    "lease.released": LeaseReleased,
    "notice.sent": NoticeSent,
    "project.created": ProjectCreated,
    "proposal.made": ProposalMade,
    "roles.changed": RolesChanged,
    "retention.done": RetentionDone,
    "rollback.done": RollbackDone,
    "rollout.moved": RolloutMoved,
    "rollout.promoted": RolloutPromoted,
    "rollout.started": RolloutStarted,
    "rollout.stopped": RolloutStopped,
    "routing.changed": RoutingChanged,
    "run.cancelled": RunCancelled,
    "run.configured": RunConfigured,
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
    "search.ended": SearchEnded,
    "spec.approved": SpecApproved,
    "spec.arrived": SpecArrived,
    "spec.put": SpecPut,
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
