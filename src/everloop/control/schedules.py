"""Where a model's schedule stands: from its facts, its pauses, its runs and the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from everloop.control.view import Asked, Late, Schedule
from everloop.ledger import Fact, Key, Ledger, RunState, ScheduleState, Transaction
from everloop.project import EXTERNAL, Model, last_due, next_due

__all__ = ["PUNCTUAL", "ScheduleFacts", "declined_key", "pending_request", "read_schedule", "schedule_at"]

PUNCTUAL = timedelta(minutes=10)
"""Later than this is late: a worker that is started again, or a long look at traffic, takes less."""
_CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFacts:
    """What the ledger says of a model's schedule.

    said: schedule and time zone as the last fact has them, None before the first. since: what is due after it counts;
    None before the first champion. fired: times that were fired or skipped, the latest not ahead of the clock and all
    that are ahead of it. asked_for: the last fact of a run to follow; begun: whether that run began. request: what a
    person asked for and has not begun. pause: the last one. runs: the model's trainings, oldest first.
    """

    said: tuple[str | None, str | None] | None
    since: datetime | None
    fired: tuple[datetime, ...] = ()
    asked_for: Fact | None = None
    begun: bool = True
    request: Asked | None = None
    pause: ScheduleState | None = None
    runs: tuple[RunState, ...] = ()


def read_schedule(
    ledger: Ledger, model: Model, *, runs: Sequence[RunState], deployed: datetime | None, now: datetime
) -> ScheduleFacts:
    """The facts. runs: the model's trainings, oldest first. deployed: when its first champion began to answer."""
    changed = ledger.last("schedule.set", model.name)
    last = ledger.last("schedule.fired", model.name)
    told = last if changed is None else changed  # ledgers of before have no other word of it than what fired
    wanted = last is not None and last.payload["run"] is not None
    return ScheduleFacts(
        said=None if told is None else (told.payload["schedule"], told.payload.get("timezone")),
        since=deployed if changed is None else _moment(changed.payload["since"]),
        fired=_times_fired(ledger, model.name, now),
        asked_for=last if wanted else None,
        begun=last is None or not wanted or _has_begun(ledger, last),
        request=pending_request(ledger, model.name),
        pause=ledger.schedule(model.name),
        runs=tuple(runs),
    )


def declined_key(run: str) -> Key:
    """Under which it is written, once, that a run which someone asked for cannot begin."""
    return run, "declined", 0


def pending_request(ledger: Ledger | Transaction, model: str) -> Asked | None:
    """The run that someone asked for, and that has neither begun nor been declined."""
    fact = ledger.last("schedule.asked", model)
    if fact is None or _has_begun(ledger, fact) or ledger.keyed(*declined_key(fact.payload["run"])) is not None:
        return None
    return Asked(seq=fact.seq, run=fact.payload["run"], by=fact.actor, at=fact.at)


def _has_begun(ledger: Ledger | Transaction, request: Fact) -> bool:
    begun = ledger.keyed(request.payload["run"], "run", 0)
    return begun is not None and begun.seq > request.seq


def _times_fired(ledger: Ledger, model: str, now: datetime) -> tuple[datetime, ...]:
    """Newest facts first, until one is not ahead of the clock: it may have been put back since."""
    times: list[datetime] = []
    for limit in (1, _CHUNK, None):
        facts = ledger.facts(kind="schedule.fired", subject=model, limit=limit, newest_first=True)
        times = [_moment(fact.payload["due"]) for fact in facts]
        if limit is None or len(times) < limit or any(due <= now for due in times):
            break
    passed = max((due for due in times if due <= now), default=None)
    return tuple(sorted({due for due in times if due > now or due == passed}))


def schedule_at(facts: ScheduleFacts, model: Model, now: datetime) -> Schedule:
    """The schedule with what is due at `now`."""
    schedule, said = model.train.schedule, facts.said
    same = said is not None and said[0] == schedule and said[1] in (None, model.timezone)
    ahead = facts.since is not None and facts.since - now > PUNCTUAL  # the clock was put back
    asked_for = facts.asked_for
    base = Schedule(
        known=same and not ahead,
        said=None if said is None else said[0],
        since=facts.since if said is None and not ahead else now,
        fired=None if asked_for is None else _moment(asked_for.payload["due"]),
        fired_seq=None if asked_for is None else asked_for.seq,
        started=facts.begun,
        asked=facts.request,
        paused=facts.pause is not None and facts.pause.status == "paused",
    )
    if schedule is None or schedule == EXTERNAL or facts.since is None or not base.known:
        return base
    passed = [due for due in facts.fired if due <= now]
    after = max([facts.since, *passed])
    due = last_due(schedule, after=after, until=now, timezone=model.timezone)
    following = next_due(schedule, after=now, timezone=model.timezone)
    if due is None:
        return replace(base, next=following)
    late, sentence = _lateness(facts, due, now)
    return replace(base, next=following, due=due, after=after, late=late, sentence=sentence)


def _lateness(facts: ScheduleFacts, due: datetime, now: datetime) -> tuple[Late, str]:
    """Why what is due was not fired at its time, in a word and in a sentence; empty where it is fired at it."""
    pause = facts.pause
    if pause is not None and pause.paused_at <= due and (pause.resumed_at is None or due <= pause.resumed_at):
        return "paused", f"{pause.paused_by} had paused the schedule: {pause.reason}"
    if now - due <= PUNCTUAL:
        return "", ""
    free, busy = due, ""
    for run in facts.runs:
        if run.ended_at is not None and run.started_at <= free + PUNCTUAL and run.ended_at > free:
            free, busy = run.ended_at, run.run
    if now - free <= PUNCTUAL:
        return "busy", f"run {busy} went on until then"
    return "idle", "nothing watched when it came due"


def _moment(text: str | datetime) -> datetime:
    at = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
