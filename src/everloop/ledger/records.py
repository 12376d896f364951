"""What the ledger answers: versions, routing, rollouts, alerts, approvals, runs, pauses, leases, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from everloop.ledger.kinds import Exposure

__all__ = ["AlertState", "Approval", "Lease", "RolloutState", "RoutingState", "RunState", "ScheduleState", "Version"]

Role = Literal["champion", "challenger", "previous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered bundle. `metrics` maps a name to `{"point", "low", "high", …}`; `role` is today's."""

    model: str
    number: int
    bundle: str
    run: str
    spec: str
    spec_hash: str
    at: datetime
    seq: int
    role: Role | None
    metrics: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, Any] | None
    trigger: str
    record: Mapping[str, Any]

    @property
    def external(self) -> bool:
        """Whether something else made it and serves it."""
        return bool(self.record.get("external"))

    @property
    def name(self) -> str:
        """How people call it: `fraud/v2`."""
        return f"{self.model}/v{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingState:
    """Who answers for a model, since `at`. Numbers are versions."""

    model: str
    revision: int
    champion: int | None
    previous: int | None
    challengers: tuple[Exposure, ...]
    reason: str
    at: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """A rollout: `step` is the index into `steps`; `seq` is the fact that began it, `last_seq` the last about it."""

    model: str
    version: int
    status: Literal["running", "stopped", "promoted"]
    step: int
    steps: tuple[str, ...]
    against: int | None
    salt: str
    trigger: str
    promote: str
    started_at: datetime
    moved_at: datetime
    ended_at: datetime | None
    sentence: str
    seq: int
    last_seq: int
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """An alert; `investigation` is the seq of the fact, `proposal` the spec that answers it."""

    alert: str
    model: str
    status: Literal["open", "closed"]
    check: str
    sentence: str
    evidence_kind: Literal["labels", "no labels"]
    evidence: Mapping[str, Any]
    window: Mapping[str, str]
    policy: str
    opened_at: datetime
    closed_at: datetime | None
    closed_reason: str | None
    investigation: int | None
    proposal: str | None
    seq: int
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who answers for a spec."""

    model: str
    spec: str
    spec_hash: str
    by: str
    at: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run as the facts tell it.

    step: the last that ended, or the one that refused or failed. lane: runs of one lane follow each other. slot: the
    worker that runs it, or ran it last. queued_at: when it was asked for; None for a run that began at once.
    started_at: of a queued one when it was asked for. seq: the fact that it began, of a queued one that it waits.
    """

    run: str
    workflow: str
    model: str | None
    spec: str | None
    trigger: str | None
    status: Literal["queued", "running", "finished", "refused", "failed", "cancelled"]
    step: str | None
    started_at: datetime
    ended_at: datetime | None
    sentence: str | None
    evidence_path: str | None
    seq: int
    last_seq: int
    lane: str = ""
    fold: str = ""
    slot: str | None = None
    queued_at: datetime | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it waits or goes on."""
        return self.status in ("queued", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """The last pause of a model's schedule: `active` once it was resumed. `seq` is the last fact about it."""

    model: str
    status: Literal["paused", "active"]
    reason: str
    paused_by: str
    paused_at: datetime
    resumed_by: str | None
    resumed_at: datetime | None
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease and its holder.

    token: rises with every new holder, to fence off an older one. remaining_s: by the database's time, when it
    was read; ≤ 0 once it ran out. deadline_s: on this process's monotonic clock; the holder must have renewed
    before it, or stop.
    """

    name: str
    holder: str
    token: int
    remaining_s: float
    deadline_s: float

    @property
    def alive(self) -> bool:
        """Whether it had not run out when it was read."""
        return self.remaining_s > 0
