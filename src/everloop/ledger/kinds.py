"""What may be written down: one payload per kind of fact, checked before it enters the chain.

Every payload has `details`, an open dictionary for what a room wants to keep besides. Times are UTC. A name
that ends in `_path` is relative to the project's root.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from everloop.errors import LedgerError
from everloop.ledger.origin import Origin
from everloop.ledger.payload import (
    JSON,
    Count,
    DataSpan,
    Estimate,
    Exposure,
    Name,
    Number,
    Payload,
    Record,
    SegmentEstimate,
    Share,
    StepFailure,
    VerdictRecord,
    Window,
)
from everloop.ledger.run_facts import (
    RunCancelled,
    RunConfigured,
    RunFailed,
    RunFinished,
    RunFolded,
    RunQueued,
    RunRefused,
    RunStarted,
    RunStep,
    RunTaken,
)
from everloop.ledger.schedule_facts import (
    ScheduleAsked,
    ScheduleDeclined,
    ScheduleFired,
    SchedulePaused,
    ScheduleResumed,
    ScheduleSet,
)
from everloop.ledger.spec_facts import (
    ProposalMade,
    SearchEnded,
    SpecApproved,
    SpecArrived,
    SpecPut,
    SpecWritten,
)

if TYPE_CHECKING:
    pass

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
    "NoticeSet",
    "Payload",
    "ProjectCreated",
    "ProposalMade",
    "RefusedInput",
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
    "ScoreDone",
    "ScoredInput",
    "SearchEnded",
    "SegmentEstimate",
    "SpecApproved",
    "SpecArrived",
    "SpecPut",
    "SpecWritten",
    "StepFailure",
    "TrafficForgotten",
    "TrafficImported",
    "VerdictRecord",
    "VersionRegistered",
    "Window",
    "decode_payload",
    "encode_payload",
]


class Removed(Record, frozen=True, kw_only=True):
    """Something old that was removed: a bundle by its id, a run's folder, a spool's file, a day of a model's traffic as
    `fraud/2026-03-01`; `versions` were made of it.

    since: when it was last of use. rule: the sentence by which it went.
    """

    what: Literal["bundle", "run", "spool", "traffic"]
    name: Name
    bytes: Count = 0
    model: str | None = None
    versions: list[Number] = msgspec.field(default_factory=list)
    since: datetime | None = None
    rule: str = ""


class ProjectCreated(Payload, frozen=True, kw_only=True):
    """A project began."""

    project: Name
    models: list[str] = msgspec.field(default_factory=list)
    template: str | None = None
    everloop: str | None = None


class ScoredInput(Record, frozen=True, kw_only=True):
    """A file that was scored in batch. stamp: its size and time, by which it is known again; hash: of its content.

    rows: how many were scored; rejected: how many were not, each written aside with its reason.
    """

    name: Name
    stamp: str
    hash: str = ""
    rows: Count = 0
    rejected: Count = 0


class RefusedInput(Record, frozen=True, kw_only=True):
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


class VersionRegistered(Payload, frozen=True, kw_only=True):
    """A bundle that passed its gates got a number. `Ledger.register_version` gives `number`.

    external: something else made it and serves it; it passed no gate here, and its bundle has no graph.
    """

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
    external: bool = False


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


class KeyCreated(Payload, frozen=True, kw_only=True):
    """Someone got a key that shows who they are. sha256: of its secret, which stands nowhere.

    first: there was no key before, so nobody had to show one. scopes: what a key for the endpoint may ask of it; such
    a key shows nobody elsewhere, and a key without any is one of those that do. rate: of its requests, such as 100/s.
    """

    name: Name
    key: Name
    sha256: Name
    first: bool = False
    scopes: list[Literal["predict", "outcomes", "operate"]] = msgspec.field(default_factory=list)
    rate: Name | None = None


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


class TrafficImported(Payload, frozen=True, kw_only=True):
    """Predictions that another system made came to the log, as those of `version`; each row once.

    source: the file as it was named. sha256: of its bytes; of a folder, of its files' names and theirs. rows: added;
    repeated: that were there as they are; left_out: that could not be used, or are of someone who was forgotten.
    outcomes: added. start, end: event times of the rows. columns: what was read as what.
    """

    model: Name
    version: Number
    source: Name
    sha256: Name
    rows: Count = 0
    repeated: Count = 0
    left_out: Count = 0
    outcomes: Count = 0
    start: datetime | None = None
    end: datetime | None = None
    columns: dict[str, JSON] = msgspec.field(default_factory=dict)


class TrafficForgotten(Payload, frozen=True, kw_only=True):
    """Someone's rows go from the traffic, written before they do; asked for again, what is left goes.

    subject: HMAC-SHA256 of the entity's key, under a secret that lies with the traffic tables and not in the ledger.
    predictions, outcomes: rows of the log that were found; waiting: rows in the spools of the machine. unreached: what
    may hold rows still, in words.
    """

    model: Name
    subject: Name
    reason: Name
    predictions: Count = 0
    outcomes: Count = 0
    waiting: Count = 0
    unreached: list[str] = msgspec.field(default_factory=list)


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
    "notice.set": NoticeSet,
    "project.created": ProjectCreated,
    "proposal.made": ProposalMade,
    "retention.done": RetentionDone,
    "roles.changed": RolesChanged,
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
    "score.done": ScoreDone,
    "search.ended": SearchEnded,
    "spec.approved": SpecApproved,
    "spec.arrived": SpecArrived,
    "spec.put": SpecPut,
    "spec.written": SpecWritten,
    "traffic.forgotten": TrafficForgotten,
    "traffic.imported": TrafficImported,
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
