"""What may go: the retention rule, as a pure function of what the ledger says and of what lies on this machine.

A bundle goes once none of its versions was in use for as long as `retention.bundles` says. Never the bundle of a
version that answers, that is being tried, that answered before (where a rollback leads), of the last good version
(the newest before the champion that ever was champion), of the newest version, of one that an open alert is about; and
none of a model while a run of it waits or goes on, or while nothing of it answers. None goes before the outcomes of
what it answered are due and judged. A run's folder goes once `retention.runs` is over since its end, unless a version
that is still kept came from it, or it answers an open alert. A spool goes once it is empty and nobody holds it.
A day of the traffic log goes once `retention.traffic` is over since it ended, its outcomes are due, its windows are
judged, and nothing may still look at it: no open alert of the model, no run that waits or goes on, no rollout that
began before the day ended. What the ledger does not know is left alone. No rule, no removal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from everloop.ledger import AlertState, Removed, RolloutState, RoutingState, RunState, Version
from everloop.project import Retention, format_duration

__all__ = ["DayFound", "Found", "History", "SpoolFound", "kept_versions", "last_used", "needed_traffic", "removable"]

_DAYS_AT_ONCE: Final = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A model's life as far as the rule asks: all by the ledger, oldest first.

    routings: every change of who answers. matures_in: how long until what was answered has its outcome and is judged.
    judged_to: up to when the windows of its traffic are judged, None where none is.
    """

    model: str
    versions: tuple[Version, ...] = ()
    routings: tuple[RoutingState, ...] = ()
    rollouts: tuple[RolloutState, ...] = ()
    alerts: tuple[AlertState, ...] = ()
    runs: tuple[RunState, ...] = ()
    matures_in: timedelta = timedelta(0)
    judged_to: datetime | None = None

    @property
    def busy(self) -> bool:
        """Whether a run waits or goes on."""
        return any(run.open for run in self.runs)

    @property
    def open_alerts(self) -> tuple[AlertState, ...]:
        """Those that still need someone."""
        return tuple(alert for alert in self.alerts if alert.status == "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFound:
    """A spool that nobody holds and in which nothing waits. since: its last recorded row."""

    name: str
    bytes: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFound:
    """A UTC day of a model's traffic log."""

    model: str
    day: date
    bytes: int

    @property
    def end(self) -> datetime:
        """When it was over."""
        return datetime.combine(self.day, time(), tzinfo=UTC) + timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies on this machine. bundles, runs: name → bytes. made_by: bundle → the runs that packaged it.

    gone: bundles that were removed by the rule before. days: of the traffic logs.
    """

    bundles: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)
    spools: Sequence[SpoolFound] = ()
    made_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    days: Sequence[DayFound] = ()


def kept_versions(history: History) -> dict[int, str]:
    """version → why its bundle is never removed as things stand; the others may go once they are old."""
    now = history.routings[-1] if history.routings else None
    everything = None
    if history.busy:
        everything = "a run of the model waits or goes on"
    elif now is None or now.champion is None:
        everything = "no version of the model answers"
    if everything is not None:
        return {version.number: everything for version in history.versions}
    assert now is not None
    assert now.champion is not None
    kept: dict[int, str] = {}
    for number, why in _protected(history, now, now.champion):
        kept.setdefault(number, why)
    return kept


def _protected(history: History, now: RoutingState, champion: int) -> Iterator[tuple[int, str]]:
    yield champion, "it is the champion"
    yield from ((exposure.version, "it is a challenger") for exposure in now.challengers)
    if now.previous is not None:
        yield now.previous, "a rollback leads to it"
    been = {routing.champion for routing in history.routings} - {None, champion}
    before = [number for number in been if number is not None and number < champion]
    if before:
        yield max(before), "it is the last good version"
    for rollout in history.rollouts:
        if rollout.status == "running":
            yield rollout.version, "a rollout of it goes on"
            if rollout.against is not None:
                yield rollout.against, "a rollout against it goes on"
    for alert in history.open_alerts:
        number = alert.record.get("version")
        if number is not None:
            yield number, f"the open alert {alert.alert} is about it"
    if history.versions:
        yield max(version.number for version in history.versions), "it is the newest version"


def last_used(history: History, version: Version) -> datetime:
    """When the version last answered, was tried, or was where a rollback led; else when it was registered."""
    used = version.at
    for routing, following in zip(history.routings, history.routings[1:], strict=False):
        if version.number in _named(routing):
            used = max(used, following.at)
    for rollout in history.rollouts:
        if version.number in (rollout.version, rollout.against) and rollout.ended_at is not None:
            used = max(used, rollout.ended_at)
    return used


def _named(routing: RoutingState) -> set[int | None]:
    return {routing.champion, routing.previous, *(exposure.version for exposure in routing.challengers)}


def removable(histories: Sequence[History], found: Found, rules: Retention, *, now: datetime) -> list[Removed]:
    """What the rules let go now of what was found, in a fixed order."""
    bundles = list(_bundles(histories, found, rules.bundles, now)) if rules.bundles is not None else []
    going = {removed.name for removed in bundles}
    runs = list(_runs(histories, found, rules.runs, now, going)) if rules.runs is not None else []
    spools = list(_spools(found, rules.spools, now)) if rules.spools is not None else []
    days = list(_days(histories, found, rules.traffic, now)) if rules.traffic is not None else []
    return [*bundles, *runs, *spools, *days]


def _bundles(histories: Sequence[History], found: Found, span: timedelta, now: datetime) -> Iterator[Removed]:
    kept = {history.model: kept_versions(history) for history in histories}
    runs = {run.run: (history, run) for history in histories for run in history.runs}
    for bundle in sorted(found.bundles):
        of = [(history, one) for history in histories for one in history.versions if one.bundle == bundle]
        makers = [runs[name] for name in found.made_by.get(bundle, ()) if name in runs]
        if len(makers) < len(found.made_by.get(bundle, ())):
            continue  # by a run of a model that is no longer in the project
        if any(one.number in kept[history.model] for history, one in of):
            continue
        if any(history.busy for history, _ in makers) or not (of or makers):
            continue
        since = max([*(last_used(*one) for one in of), *(run.ended_at or now for _, run in makers)])
        wait = max([span, *(history.matures_in for history, _ in of)])
        if now - since < wait:
            continue
        model = (of or makers)[0][0].model
        what = "no longer in use" if of else "refused, or never registered"
        rule = f"{what} since {since:%Y-%m-%d}; retention.bundles is {format_duration(span)}"
        yield Removed(
            what="bundle",
            name=bundle,
            bytes=found.bundles[bundle],
            model=model,
            versions=sorted(one.number for history, one in of if history.model == model),
            since=since,
            rule=rule,
        )


def _runs(
    histories: Sequence[History], found: Found, span: timedelta, now: datetime, going: set[str]
) -> Iterator[Removed]:
    for history in histories:
        alerts = {alert.alert for alert in history.open_alerts}
        for run in history.runs:
            if run.run not in found.runs or history.busy or run.ended_at is None or now - run.ended_at < span:
                continue
            versions = [version for version in history.versions if version.run == run.run]
            if any(one.bundle not in going and one.bundle not in found.gone for one in versions):
                continue  # its evidence is that of a version that is kept
            if run.inputs.get("alert") in alerts:
                continue
            rule = f"ended on {run.ended_at:%Y-%m-%d} ({run.status}); retention.runs is {format_duration(span)}"
            yield Removed(
                what="run",
                name=run.run,
                bytes=found.runs[run.run],
                model=history.model,
                versions=sorted(one.number for one in versions),
                since=run.ended_at,
                rule=rule,
            )


def _spools(found: Found, span: timedelta, now: datetime) -> Iterator[Removed]:
    for spool in found.spools:
        if now - spool.since >= span:
            rule = f"empty since {spool.since:%Y-%m-%d}; retention.spools is {format_duration(span)}"
            yield Removed(what="spool", name=spool.name, bytes=spool.bytes, since=spool.since, rule=rule)


def needed_traffic(history: History) -> str | None:
    """Why no day of the model's traffic may go as things stand; None where old ones may."""
    if history.busy:
        return "a run of the model waits or goes on"
    if history.open_alerts:
        return f"the alert {history.open_alerts[0].alert} is open"
    return None if history.judged_to is not None else "no window of it was judged yet"


def _days(histories: Sequence[History], found: Found, span: timedelta, now: datetime) -> Iterator[Removed]:
    """A month of each model's at most; the others' turn comes."""
    for history in histories:
        if needed_traffic(history) is not None or history.judged_to is None:
            continue
        until = min(now - max(span, history.matures_in), history.judged_to)
        until = min([until, *(rollout.started_at for rollout in history.rollouts if rollout.status == "running")])
        old = sorted((one for one in found.days if one.model == history.model and one.end <= until), key=_day)
        for one in old[:_DAYS_AT_ONCE]:
            rule = f"over since {one.end:%Y-%m-%d}; retention.traffic is {format_duration(span)}"
            name = f"{one.model}/{one.day.isoformat()}"
            yield Removed(what="traffic", name=name, bytes=one.bytes, model=one.model, since=one.end, rule=rule)


def _day(found: DayFound) -> date:
    return found.day
