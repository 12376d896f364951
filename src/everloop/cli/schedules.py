"""`everloop schedule`: when models are trained by themselves, what came of it, and what people may ask of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.commands import Commands
from everloop.cli.context import me, opened
from everloop.cli.daily import AsJson, ModelName
from everloop.cli.output import fields, folded, lines, say, show, when

if TYPE_CHECKING:
    from everloop.control import Firing, ScheduleRequest, ScheduleStatus

__all__ = ["add_to"]

schedules = typer.Typer(
    name="schedule",
    help="Schedules: when models are trained by themselves.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Next = Annotated[int, typer.Option("--next", min=1, max=100, help="How many of the next times.")]


def add_to(app: typer.Typer) -> None:
    """The group."""
    app.add_typer(schedules)


@schedules.command("list")
def schedule_list(model: ModelName = None, count: Next = 5, as_json: AsJson = False) -> None:
    """Every model: its schedule, what it did last, when it is due."""
    from everloop.control import schedule_status

    with opened() as here:
        now = here.clock.now()
        names = [here.project.model(model).name] if model else sorted(here.project.models)
        found = [schedule_status(here.ledger, here.project.model(name), now=now, count=count) for name in names]
    if as_json:
        show([one.to_dict() for one in found])
        return
    for one in found:
        lines(folded(f"{one.model}: {_said(one)}", indent=2))
        if one.firings or one.next:
            lines(folded(f"  last  {_last(one)}", indent=8))
        for place, at in enumerate(one.next):
            lines(f"  {'next' if place == 0 else '    '}  {_stamp(at)}")
    if not found:
        say("the project has no model")
    _warn(found)


@schedules.command("show")
def schedule_show(
    model: ModelName = None,
    count: Next = 5,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many of the last firings.")] = 10,
    as_json: AsJson = False,
) -> None:
    """One model: its next times and its last firings, newest first."""
    from everloop.control import schedule_status

    with opened() as here:
        chosen = here.project.model(model)
        found = schedule_status(here.ledger, chosen, now=here.clock.now(), count=count, firings=last)
    if as_json:
        show(found.to_dict() | {"firings": [firing.to_dict() for firing in found.firings]})
        return
    missed = None if not found.next else "runs once, late" if found.missed == "once" else "is skipped"
    fields(
        {
            "model": found.model,
            "schedule": found.schedule,
            "timezone": found.timezone,
            "state": _state(found),
            "what was missed": missed,
            "counts since": None if found.since is None else f"{when(found.since)} UTC",
            "next": "\n".join(_stamp(at) for at in found.next) or None,
        }
    )
    if found.firings:
        lines("last")
    for firing in found.firings:
        lines(folded(f"  {_told(firing, found.timezone)}", indent=4))
    if found.next and not found.firings:
        say("it has not fired yet")
    _warn([found])


def _warn(found: list[ScheduleStatus]) -> None:
    if any(one.state == "active" and not one.worker for one in found):
        say("no worker is alive, so nothing fires: start 'everloop up' or 'everloop worker'")


@schedules.command("pause")
def schedule_pause(
    model: ModelName = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever finds no new version.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a schedule fire nothing until it is resumed."""
    from everloop.control import pause_schedule

    with opened(may="schedule") as here:
        chosen = here.project.model(model)
        state = pause_schedule(here.ledger, chosen, by=me(), reason=reason)
    if as_json:
        record = {"model": chosen.name, "state": state.status, "by": state.paused_by}
        show(record | {"at": state.paused_at, "reason": state.reason, "fact": state.seq})
        return
    lines(f"the schedule of {chosen.name} is paused")
    say(f"'everloop schedule resume {chosen.name}' lets it fire again")


@schedules.command("resume")
def schedule_resume(
    model: ModelName = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a paused schedule fire again, as train.missed says."""
    from everloop.control import resume_schedule, schedule_status

    with opened(may="schedule") as here:
        chosen = here.project.model(model)
        state = resume_schedule(here.ledger, chosen, by=me(), reason=reason)
        stands = schedule_status(here.ledger, chosen, now=here.clock.now(), count=1)
    if as_json:
        record = {"model": chosen.name, "state": state.status, "by": state.resumed_by, "at": state.resumed_at}
        show(record | {"next": list(stands.next), "fact": state.seq})
        return
    lines(f"the schedule of {chosen.name} fires again")
    missed = "runs once, late" if stands.missed == "once" else "is skipped"
    say(f"what came due in the pause {missed}; then {_stamp(stands.next[0]) if stands.next else 'nothing is due'}")


@schedules.command("run")
def schedule_run(
    model: ModelName = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "",
    as_json: AsJson = False,
) -> None:
    """Ask now for the run that the schedule would ask for. The worker begins it."""
    from everloop.control import ask_for_run

    with opened(may="train") as here:
        asked = ask_for_run(here.ledger, here.project.model(model), by=me(), reason=reason)
    if as_json:
        names = ("model", "run", "by", "new", "after", "worker", "paused", "fact")
        show({name: getattr(asked, name) for name in names})
        return
    lines(f"run {asked.run} of {asked.model} is asked for")
    for sentence in _what_follows(asked):
        say(sentence)


def _what_follows(asked: ScheduleRequest) -> list[str]:
    told = []
    if not asked.new:
        told.append(f"{asked.by} had asked for it before, and it has not begun yet: nothing was added")
    if asked.paused:
        told.append("the schedule stays paused; this run is a person's, and is not held by that")
    if asked.worker:
        after = f" once run {asked.after} has ended" if asked.after else ""
        return [*told, f"the worker starts it{after}; 'everloop run show {asked.run}' follows it"]
    return [*told, "no worker is alive: 'everloop up' or 'everloop worker' starts it"]


def _said(one: ScheduleStatus) -> str:
    if one.schedule is None or one.state == "external":  # of which there is no time to tell
        return _state(one)
    return f"{one.schedule}, {one.timezone}, {_state(one)}"


def _state(one: ScheduleStatus) -> str:
    if one.state == "paused" and one.pause is not None:
        return f"paused by {one.pause.paused_by} since {when(one.pause.paused_at)} UTC: {one.pause.reason}"
    return {
        "active": "active",
        "external": "external: what calls 'everloop train' decides",
        "none": "no schedule, trained by hand with 'everloop train'",
        "waiting": "waiting for a first version, from 'everloop train'",
    }[one.state]


def _last(one: ScheduleStatus) -> str:
    return _told(one.firings[0], one.timezone) if one.firings else "never fired"


def _told(firing: Firing, timezone: str) -> str:
    """`Sun 2026-11-22 02:00 CET: run r-7k2abc finished`, and what else there is to say."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(timezone)
    at = _stamp((firing.at if firing.due is None else firing.due).astimezone(zone))
    if firing.by is not None:
        reason = f" ({firing.sentence})" if firing.sentence else ""
        return f"{at}: {firing.by} asked{reason}: {_followed(firing)}"
    late = f"; {_span(firing.late_s)} late, {firing.sentence}" if firing.sentence else ""
    missed = f"; {firing.missed:,} earlier {'time' if firing.missed == 1 else 'times'} missed" if firing.missed else ""
    return f"{at}: {_followed(firing)}{late}{missed}"


def _followed(firing: Firing) -> str:
    if firing.run is None:
        return f"skipped, {firing.skipped}" if firing.skipped else "skipped"
    if firing.result == "waiting":
        return f"run {firing.run} has not begun"
    if firing.result == "declined":
        return f"run {firing.run} cannot begin: {firing.ended}"
    ended = f": {firing.ended}" if firing.ended and firing.result != "finished" else ""
    return f"run {firing.run} {firing.result}{ended}"


def _span(seconds: float) -> str:
    from everloop.project import format_duration

    return format_duration(timedelta(minutes=max(1, round(seconds / 60))))


def _stamp(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M %Z}"
