"""The pure state machine of exposure: what happened goes in, what must be done comes out.

A rollout walks its stages: each lasts at least its duration and is left only when every guardrail has passed on
enough rows. Whatever fails at any time stops it, at once. The last move, to everybody, is the promotion: it needs
the comparison on matured cohorts, or a person who puts their name to it. A question that stays undecided is waited
for up to `patience`, then the rollout stops as undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from everloop.project import Step
from everloop.rollout.routing import Mode
from everloop.stats import Verdict

__all__ = [
    "DEFAULT_PATIENCE",
    "DEFAULT_STAGE_DURATION",
    "AbortRequested",
    "Action",
    "Comparison",
    "ComparisonJudged",
    "Event",
    "Evidence",
    "GuardrailsJudged",
    "PauseRequested",
    "Promote",
    "PromoteRequested",
    "ResumeRequested",
    "Rollout",
    "SetExposure",
    "Stage",
    "Started",
    "Stop",
    "Tick",
    "stages",
    "step",
]

DEFAULT_STAGE_DURATION = timedelta(days=1)
"""How long a step without a duration lasts at least."""
DEFAULT_PATIENCE = timedelta(days=30)
"""How long an undecided question is waited for, counted from the stage's own duration on."""

Status = Literal["running", "paused", "promoted", "stopped"]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a rollout: how its challenger is exposed, and for how long at least."""

    mode: Mode
    share: float
    duration: timedelta


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What the paired comparison on matured cohorts says of the challenger against its champion.

    `better` implies not worse; `not_worse` is surely no loss beyond the margin, and not surely a gain.
    """

    outcome: Literal["better", "not_worse", "worse", "undecided"]
    sentence: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a rollout at one moment; verdicts over all rows since it started."""

    guardrails: tuple[Verdict, ...] = ()
    comparison: Comparison | None = None


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """Where one rollout stands.

    index: the stage it is in. entered_at: when it entered it, moved on by every pause.
    promote: what the comparison must say; `not_worse` is mostly for what answers an alert (`Model.promotes_if`).
    """

    id: str
    model: str
    challenger: int
    champion: int
    plan: tuple[Stage, ...]
    salt: str
    started_at: datetime
    entered_at: datetime
    promote: Literal["better", "not_worse"] = "better"
    answers_alert: bool = False
    patience: timedelta = DEFAULT_PATIENCE
    index: int = 0
    status: Status = "running"
    paused_at: datetime | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.plan:
            raise ValueError(f"{self.id}: a rollout needs at least one step")
        shares = [stage.share for stage in self.plan]
        if shares != sorted(shares) or not all(0.0 <= share < 1.0 for share in shares):
            raise ValueError(f"{self.id}: steps must grow within 0 and 1, and promotion alone gives 1: {shares}")

    @property
    def open(self) -> bool:
        """Whether it still goes on."""
        return self.status in ("running", "paused")

    @property
    def stage(self) -> Stage:
        """The stage it is in, or was in when it ended."""
        return self.plan[self.index]

    @property
    def share(self) -> float:
        """The share of keys that the challenger answers now."""
        if self.status == "promoted":
            return 1.0
        return self.stage.share if self.open else 0.0

    @property
    def due_at(self) -> datetime:
        """When the stage's own duration is over."""
        return self.entered_at + self.stage.duration


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The rollout begins."""

    at: datetime


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Time went by; this is what is known now. The only event that moves a rollout on by evidence."""

    at: datetime
    evidence: Evidence


class GuardrailsJudged(msgspec.Struct, frozen=True, kw_only=True):
    """Guardrails were looked at between two ticks: a failed one stops the rollout, nothing else happens."""

    at: datetime
    verdicts: tuple[Verdict, ...]


class ComparisonJudged(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison was looked at between two ticks: worse stops the rollout, nothing else happens."""

    at: datetime
    comparison: Comparison


class PauseRequested(msgspec.Struct, frozen=True, kw_only=True):
    """A person holds the rollout where it is; guardrails still stop it."""

    at: datetime
    by: str
    reason: str = ""


class ResumeRequested(msgspec.Struct, frozen=True, kw_only=True):
    """A person lets it go on; the pause does not count towards the stage."""

    at: datetime
    by: str


class AbortRequested(msgspec.Struct, frozen=True, kw_only=True):
    """A person ends it."""

    at: datetime
    by: str
    reason: str = ""


class PromoteRequested(msgspec.Struct, frozen=True, kw_only=True):
    """A person promotes the challenger on their own name, whatever the evidence."""

    at: datetime
    by: str
    reason: str = ""


Event: TypeAlias = (
    Started
    | Tick
    | GuardrailsJudged
    | ComparisonJudged
    | PauseRequested
    | ResumeRequested
    | AbortRequested
    | PromoteRequested
)


class SetExposure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Expose the challenger so far and no further."""

    version: int
    mode: Mode
    share: float
    salt: str
    reason: str


class Promote(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make the challenger the champion. by: the person who asked, None where the comparison decided."""

    version: int
    reason: str
    by: str | None = None


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Take the challenger out: it neither answers nor scores from now on."""

    version: int
    reason: str
    by: str | None = None


Action: TypeAlias = SetExposure | Promote | Stop


def stages(steps: Sequence[Step], *, default_duration: timedelta = DEFAULT_STAGE_DURATION) -> tuple[Stage, ...]:
    """A project's steps as stages. A last step of 100 % is the promotion itself and no stage.

    A plan of `100 %` alone still looks first: it becomes one shadow stage.
    """
    found = tuple(
        Stage(
            mode=one.kind,
            share=0.0 if one.kind == "shadow" else one.share,
            duration=default_duration if one.duration is None else one.duration,
        )
        for one in steps
        if one.kind == "shadow" or one.share < 1.0
    )
    return found or (Stage(mode="shadow", share=0.0, duration=default_duration),)


def step(rollout: Rollout, event: Event) -> tuple[Rollout, list[Action]]:
    """What `event` makes of `rollout`, and what must be done. A rollout that has ended stays as it is."""
    if not rollout.open:
        return rollout, []
    match event:
        case Started(at=at):
            begun = msgspec.structs.replace(rollout, started_at=at, entered_at=at, index=0)
            return begun, [_exposed(begun, "the rollout starts")]
        case Tick(at=at, evidence=evidence):
            return _tick(rollout, at, evidence)
        case GuardrailsJudged(verdicts=verdicts):
            return _stopped_by(rollout, _failure(verdicts, None))
        case ComparisonJudged(comparison=comparison):
            return _stopped_by(rollout, _failure((), comparison))
        case PauseRequested(at=at, by=by, reason=reason):
            return _paused(rollout, at, f"paused by {by}: {reason}" if reason else f"paused by {by}")
        case ResumeRequested(at=at):
            return _resumed(rollout, at), []
        case AbortRequested(by=by, reason=reason):
            return _stopped(rollout, f"stopped by {by}: {reason}" if reason else f"stopped by {by}", by=by)
        case PromoteRequested(by=by, reason=reason):
            return _promoted(rollout, f"promoted by {by}: {reason}" if reason else f"promoted by {by}", by=by)


def _tick(rollout: Rollout, at: datetime, evidence: Evidence) -> tuple[Rollout, list[Action]]:
    failure = _failure(evidence.guardrails, evidence.comparison)
    if failure is not None:
        return _stopped(rollout, failure)
    if rollout.status == "paused" or at < rollout.due_at:
        return rollout, []
    waits_for = _waits_for(rollout, evidence)
    if waits_for is not None:
        if at < rollout.due_at + rollout.patience:
            return rollout, []
        return _stopped(rollout, f"undecided for too long: {waits_for}")
    if rollout.index + 1 == len(rollout.plan):
        assert evidence.comparison is not None
        return _promoted(rollout, evidence.comparison.sentence)
    moved = msgspec.structs.replace(rollout, index=rollout.index + 1, entered_at=at)
    return moved, [_exposed(moved, "guardrails passed")]


def _failure(verdicts: Sequence[Verdict], comparison: Comparison | None) -> str | None:
    failed = [verdict.sentence for verdict in verdicts if verdict.outcome == "failed"]
    if comparison is not None and comparison.outcome == "worse":
        failed.append(comparison.sentence)
    return "; ".join(failed) if failed else None


def _waits_for(rollout: Rollout, evidence: Evidence) -> str | None:
    """What keeps a stage that is over from being left, or None."""
    undecided = [verdict.sentence for verdict in evidence.guardrails if verdict.outcome == "undecided"]
    if undecided:
        return "; ".join(undecided)
    if rollout.index + 1 < len(rollout.plan):
        return None
    comparison = evidence.comparison
    if comparison is None:
        return "no outcome has matured yet to compare on"
    if comparison.outcome == "better" or (comparison.outcome == "not_worse" and rollout.promote == "not_worse"):
        return None
    return comparison.sentence


def _exposed(rollout: Rollout, reason: str) -> SetExposure:
    stage = rollout.stage
    return SetExposure(version=rollout.challenger, mode=stage.mode, share=stage.share, salt=rollout.salt, reason=reason)


def _stopped_by(rollout: Rollout, failure: str | None) -> tuple[Rollout, list[Action]]:
    return (rollout, []) if failure is None else _stopped(rollout, failure)


def _stopped(rollout: Rollout, reason: str, *, by: str | None = None) -> tuple[Rollout, list[Action]]:
    ended = msgspec.structs.replace(rollout, status="stopped", reason=reason, paused_at=None)
    return ended, [Stop(version=rollout.challenger, reason=reason, by=by)]


def _promoted(rollout: Rollout, reason: str, *, by: str | None = None) -> tuple[Rollout, list[Action]]:
    ended = msgspec.structs.replace(rollout, status="promoted", reason=reason, paused_at=None)
    return ended, [Promote(version=rollout.challenger, reason=reason, by=by)]


def _paused(rollout: Rollout, at: datetime, reason: str) -> tuple[Rollout, list[Action]]:
    if rollout.status == "paused":
        return rollout, []
    return msgspec.structs.replace(rollout, status="paused", paused_at=at, reason=reason), []


def _resumed(rollout: Rollout, at: datetime) -> Rollout:
    if rollout.paused_at is None:
        return rollout
    waited = max(at - rollout.paused_at, timedelta())
    return msgspec.structs.replace(
        rollout, status="running", paused_at=None, reason="", entered_at=rollout.entered_at + waited
    )
