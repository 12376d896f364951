"""What control sees at one moment, all that `decide` is asked of; nothing in it reads anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from everloop.ledger import AlertState, RoutingState, RunState, Version
from everloop.project import Model
from everloop.rollout import Rollout

__all__ = ["AlertView", "Arrived", "Asked", "BatchSchedule", "Late", "ModelView", "Schedule", "Try", "View"]

Late = Literal["", "busy", "idle", "paused"]
"""Why a schedule is fired after its time: not at all, a run went on, nothing watched, someone had paused it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A training run that was to answer an alert.

    positives: of the changed span, those it could be fitted on when it began. error: the class it failed with.
    """

    run: str
    spec: str
    status: str
    as_of: datetime
    positives: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertView:
    """An open alert and how far it is answered.

    since: when the change began, as far as known. proposal_seq, approval_seq: the facts, None before them.
    by_policy: the approval is the policy's own. positives: of the changed span, those a run begun now could be
    fitted on; None where nobody needs to know.
    """

    state: AlertState
    since: datetime
    proposal: str | None = None
    proposal_seq: int | None = None
    approval_seq: int | None = None
    by_policy: bool = False
    positives: int | None = None

    @property
    def id(self) -> str:
        """Its name."""
        return self.state.alert

    @property
    def investigated(self) -> bool:
        """Whether it holds its investigation."""
        return self.state.investigation is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Someone's request for the schedule's run, now: its fact, the run's name, who and when."""

    seq: int
    run: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """The newest configuration that somebody promoted in the model's store. seq: the fact.

    approved: whether somebody answers for it. trained: whether a run followed.
    """

    spec: str
    seq: int
    approved: bool
    trained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Where the model's schedule stands.

    known: the ledger has it as model.yaml has it; else `said` is what the ledger has, and it counts from `since` on.
    due: the latest time that came due and was not fired, None where none did; others may lie between `after` and it.
    late, sentence: why it was not fired at its time. next: the first one after now.
    fired: the last time that fired with a run to follow; started: whether that run began. fired_seq: its fact.
    asked: the run that someone asked for and that has not begun. paused: nothing is fired.
    """

    known: bool = True
    said: str | None = None
    since: datetime | None = None
    due: datetime | None = None
    after: datetime | None = None
    late: Late = ""
    sentence: str = ""
    next: datetime | None = None
    fired: datetime | None = None
    fired_seq: int | None = None
    started: bool = True
    asked: Asked | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSchedule:
    """Where the schedule of batch scoring stands.

    known, said, since: as of `Schedule`. due: the latest time that came due and has no run, None where there is none;
    missed: times before it that it stands for. sentence: why it is late.
    """

    known: bool = True
    said: str | None = None
    since: datetime | None = None
    due: datetime | None = None
    missed: int = 0
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One model.

    been_champion: versions that ever answered by default. rolled_out: versions that ever began a rollout.
    tries: runs that answer the open alerts, oldest first; `tries_before` counts all runs for alerts ever.
    promotions: challengers promoted to answer what is open now. recovered: the champion was judged, at its gates,
    to be as good as what the alerted version promised. policy_approves: whether `on_alert: rollout` may approve by
    itself, or waits for an approver. looked_at: when the rollout's evidence was last looked at.
    """

    model: Model
    routing: RoutingState | None = None
    versions: tuple[Version, ...] = ()
    been_champion: frozenset[int] = frozenset()
    rolled_out: frozenset[int] = frozenset()
    rollout: Rollout | None = None
    rollout_trigger: str = ""
    looked_at: datetime | None = None
    alerts: tuple[AlertView, ...] = ()
    running: tuple[RunState, ...] = ()
    tries: tuple[Try, ...] = ()
    tries_before: int = 0
    promotions: int = 0
    recovered: bool = False
    policy_approves: bool = True
    schedule: Schedule = Schedule()
    arrived: Arrived | None = None
    batches: BatchSchedule = BatchSchedule()
    windows_due: bool = False

    @property
    def champion(self) -> int | None:
        """The version that answers by default."""
        return None if self.routing is None else self.routing.champion

    @property
    def champion_is_external(self) -> bool:
        """Whether something else serves the version that answers by default."""
        found = None if self.champion is None else self.version(self.champion)
        return found is not None and found.external

    def version(self, number: int) -> Version | None:
        """A registered version."""
        return next((version for version in self.versions if version.number == number), None)

    @property
    def waiting(self) -> Version | None:
        """The registered version that waits for its rollout: the newest, if it was never tried nor deployed.

        What something else made passed no gate here, and is exposed by nobody but a person.
        """
        ours = [version for version in self.versions if not version.external]
        if self.champion is None or not ours:
            return None
        newest = max(ours, key=lambda version: version.number)
        tried = newest.number in self.rolled_out or newest.number in self.been_champion
        return None if tried or newest.number < self.champion else newest


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything, at one moment. rollout_every: the least time between two looks at a rollout's evidence.

    project: its name. retention_due: it is a day since somebody looked for what the retention rule lets go.
    unread: what of which model could not be read and why, a sentence each; it is not in `models`, or looks idle there.
    """

    now: datetime
    models: tuple[ModelView, ...]
    rollout_every: timedelta = timedelta(minutes=1)
    project: str = ""
    retention_due: bool = False
    unread: tuple[str, ...] = ()
