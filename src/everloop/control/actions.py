"""What control may do: small records that `decide` returns and the controller carries out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

__all__ = [
    "Action",
    "ApproveByPolicy",
    "CloseAlert",
    "FireSchedule",
    "Investigate",
    "JudgeWindows",
    "NoteBatches",
    "NoteSchedule",
    "Propose",
    "RemoveOld",
    "StartRollout",
    "StartScoring",
    "StartTraining",
    "StepRollout",
    "StopRollout",
]

Trigger = Literal["person", "schedule", "store", "alert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeWindows:
    """Let the monitor judge the windows that are due."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Investigate:
    """Find out what changed."""

    model: str
    alert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """Write the configuration that answers the alert."""

    model: str
    alert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveByPolicy:
    """Approve a proposal in the name of `on_alert: rollout`."""

    model: str
    spec: str
    alert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FireSchedule:
    """Write down that the model's schedule came due; `skipped` says why no run follows.

    after: the time before that was fired, or when the schedule began to count. sentence: why it is late.
    """

    model: str
    due: datetime
    skipped: str | None = None
    after: datetime | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSchedule:
    """Write down that model.yaml says another schedule than the ledger (`before`); it counts from `since` on."""

    model: str
    before: str | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteBatches:
    """Write down that model.yaml says another schedule of batch scoring than the ledger; it counts from `since` on."""

    model: str
    before: str | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StartScoring:
    """Write down that batch scoring came due, where that is not yet, and ask for its run."""

    model: str
    due: datetime
    missed: int = 0
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTraining:
    """Begin a run. name: what the run's id follows from, the same for the same request, unless `run` is its id.

    spec: of a model whose configuration lives in a store the run reads what is there by then, unless it answers an
        alert.
    """

    model: str
    spec: str
    trigger: Trigger
    name: str
    alert: str | None = None
    cause: int | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRollout:
    """Begin to expose a registered version against the champion."""

    model: str
    version: int
    champion: int
    answers_alert: bool
    trigger: str
    cause: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRollout:
    """Look at the evidence of the rollout that goes on, and let it move by it."""

    model: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRollout:
    """End a rollout that a newer version supersedes."""

    model: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAlert:
    """Nobody needs to act on the alert any more."""

    model: str
    alert: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOld:
    """Remove what everloop.yaml's `retention` lets go. model: the project's name, as no model alone is meant."""

    model: str


Action: TypeAlias = (
    JudgeWindows
    | Investigate
    | Propose
    | ApproveByPolicy
    | FireSchedule
    | NoteSchedule
    | NoteBatches
    | StartTraining
    | StartScoring
    | StartRollout
    | StepRollout
    | StopRollout
    | CloseAlert
    | RemoveOld
)
