"""The schedules of a project as people see them: what they say, whether they fire, what came of it, what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo

from everloop.control.schedules import declined_key
from everloop.control.worker import LEASE
from everloop.errors import NotFound
from everloop.ledger import Fact, Ledger, ScheduleState
from everloop.project import EXTERNAL, Model, due_times

__all__ = ["Firing", "ScheduleStatus", "pause_record", "schedule_status", "worker_is_alive"]

State = Literal["active", "paused", "external", "none", "waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A time that a run was asked for, or skipped.

    by: who asked, None where the schedule came due itself; then `due` says for when. late_s: how long after it. missed:
    earlier times that it stands for. sentence: why it was late, or what the person gave as reason. skipped: why no run
    followed. run, result: what followed: `waiting` before it began, `declined` where it cannot, else the run's own
    status; None for none. ended: how, in a sentence.
    """

    at: datetime
    due: datetime | None
    by: str | None
    late_s: float
    missed: int
    sentence: str
    skipped: str | None
    run: str | None
    result: str | None
    ended: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = ("by", "late_s", "missed", "sentence", "skipped", "run", "result", "ended")
        record: dict[str, Any] = {name: getattr(self, name) for name in names}
        due = None if self.due is None else self.due.isoformat()
        return {"at": self.at.isoformat(), "due": due} | record


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """One model's schedule.

    state: active; paused; external, where something else calls; none; waiting, for the first champion. since: from when
    on it counts. firings: the newest first. next: when it comes due, in the model's time zone, also while it is paused.
    worker: one is alive, without which nothing fires.
    """

    model: str
    schedule: str | None
    timezone: str
    missed: str
    state: State
    since: datetime | None
    pause: ScheduleState | None
    firings: tuple[Firing, ...]
    next: tuple[datetime, ...]
    worker: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `last` is the newest firing."""
        paused = self.pause if self.state == "paused" else None
        return {
            "model": self.model,
            "schedule": self.schedule,
            "timezone": self.timezone,
            "missed": self.missed,
            "state": self.state,
            "since": None if self.since is None else self.since.isoformat(),
            "paused": None if paused is None else pause_record(paused),
            "last": self.firings[0].to_dict() if self.firings else None,
            "next": [at.isoformat() for at in self.next],
            "worker": self.worker,
        }


def pause_record(pause: ScheduleState) -> Mapping[str, Any]:
    """Who paused it, when and why."""
    return {"by": pause.paused_by, "at": pause.paused_at.isoformat(), "reason": pause.reason}


def schedule_status(ledger: Ledger, model: Model, *, now: datetime, count: int = 5, firings: int = 1) -> ScheduleStatus:
    """How the model's schedule stands. count: of the next times. firings: of the last ones."""
    schedule, zone = model.train.schedule, ZoneInfo(model.timezone)
    pause, state = ledger.schedule(model.name), _state(ledger, model)
    following = iter(()) if schedule is None else due_times(schedule, after=now, timezone=model.timezone)
    changed = ledger.last("schedule.set", model.name)
    facts = ledger.facts(
        kind=("schedule.asked", "schedule.fired"), subject=model.name, limit=firings, newest_first=True
    )
    return ScheduleStatus(
        model=model.name,
        schedule=schedule,
        timezone=model.timezone,
        missed=model.train.missed,
        state=state,
        since=None if changed is None else _moment(changed.payload["since"]),
        pause=pause,
        firings=tuple(_firing(ledger, fact) for fact in facts),
        next=tuple(at.astimezone(zone) for at in islice(following, count)),
        worker=worker_is_alive(ledger),
    )


def worker_is_alive(ledger: Ledger) -> bool:
    """Whether a worker holds the lease under which schedules fire."""
    lease = ledger.lease(LEASE)
    return lease is not None and lease.alive


def _state(ledger: Ledger, model: Model) -> State:
    if model.train.schedule is None:
        return "none"
    if model.train.schedule == EXTERNAL:
        return "external"
    pause, routing = ledger.schedule(model.name), ledger.routing(model.name)
    if pause is not None and pause.status == "paused":
        return "paused"
    return "waiting" if routing is None or routing.champion is None else "active"


def _firing(ledger: Ledger, fact: Fact) -> Firing:
    payload, run = fact.payload, fact.payload["run"]
    asked = fact.kind == "schedule.asked"
    result, ended = _result(ledger, run)
    return Firing(
        at=fact.at,
        due=None if asked else _moment(payload["due"]),
        by=fact.actor if asked else None,
        late_s=payload.get("late_s", 0.0),
        missed=payload.get("missed", 0),
        sentence=payload["reason"] if asked else payload.get("sentence", ""),
        # facts of before these were fields have it among their details
        skipped=payload.get("skipped") or payload["details"].get("skipped"),
        run=run,
        result=result,
        ended=ended,
    )


def _result(ledger: Ledger, run: str | None) -> tuple[str | None, str | None]:
    if run is None:
        return None, None
    declined = ledger.keyed(*declined_key(run))
    if declined is not None:
        return "declined", declined.payload["sentence"]
    try:
        found = ledger.run(run)
    except NotFound:
        return "waiting", None
    return found.status, found.sentence


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
