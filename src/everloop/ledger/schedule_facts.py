"""The payloads of schedules: set, fired, paused, resumed, and what people ask of them."""

from __future__ import annotations

from datetime import datetime

from everloop.ledger.payload import Count, Name, Payload

__all__ = [
    "ScheduleAsked",
    "ScheduleDeclined",
    "ScheduleFired",
    "SchedulePaused",
    "ScheduleResumed",
    "ScheduleSet",
]


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
