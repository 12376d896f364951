"""Where the schedule of a model's batch scoring stands: `score.schedule`, from its facts and the clock.

It has facts of its own under the subject `MODEL/score`. What came due while nothing watched is scored once, late: it is
only ever what is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from typing import Final

from everloop.control.schedules import PUNCTUAL
from everloop.control.view import BatchSchedule
from everloop.ledger import Key, Ledger
from everloop.project import Model, due_times, last_due

__all__ = ["BatchFacts", "batch_at", "batch_key", "batch_subject", "has_begun", "read_batches"]

_MOST_MISSED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """What the ledger says of the schedule.

    said: schedule and time zone as it has them, None before the first; since: what is due after it counts. fired: the
    last time that fired; begun: whether its run began.
    """

    said: tuple[str | None, str] | None = None
    since: datetime | None = None
    fired: datetime | None = None
    begun: bool = True


def batch_subject(model: str) -> str:
    """What the facts of the schedule are about."""
    return f"{model}/score"


def batch_key(model: str, due: datetime) -> Key:
    """Under which it is kept, once, that the time fired."""
    return f"schedule:{batch_subject(model)}", due.isoformat(), 0


def has_begun(ledger: Ledger, run: str) -> bool:
    """Whether the run waits, began, or became one with another."""
    return any(ledger.keyed(run, "run", n) is not None for n in (0, 2))


def read_batches(ledger: Ledger, model: Model) -> BatchFacts:
    """The facts of the model's schedule."""
    subject = batch_subject(model.name)
    changed, fired = ledger.last("schedule.set", subject), ledger.last("schedule.fired", subject)
    return BatchFacts(
        said=None if changed is None else (changed.payload["schedule"], changed.payload["timezone"]),
        since=None if changed is None else datetime.fromisoformat(changed.payload["since"]),
        fired=None if fired is None else datetime.fromisoformat(fired.payload["due"]),
        begun=fired is None or has_begun(ledger, str(fired.payload["run"])),
    )


def batch_at(facts: BatchFacts, model: Model, now: datetime) -> BatchSchedule:
    """The schedule with what is due at `now`; a change of it counts from now on."""
    schedule, zone = model.score.schedule, model.timezone
    said = None if facts.said is None else facts.said[0]
    if facts.said != (schedule, zone) and not (facts.said is None and schedule is None):
        return BatchSchedule(known=False, said=said, since=now)
    if schedule is None or facts.since is None:
        return BatchSchedule()
    if not facts.begun:
        return BatchSchedule(due=facts.fired)
    after = max(facts.since, facts.since if facts.fired is None else facts.fired)
    due = last_due(schedule, after=after, until=now, timezone=zone)
    if due is None:
        return BatchSchedule()
    passed = islice(due_times(schedule, after=after, timezone=zone), _MOST_MISSED)
    missed = sum(1 for _ in takewhile(lambda one: one < due, passed))
    sentence = "nothing watched when it came due" if now - due > PUNCTUAL else ""
    return BatchSchedule(due=due, missed=missed, sentence=sentence)
