"""What people ask of a model's schedule: to pause, to go on, and for its run now."""

from __future__ import annotations

from dataclasses import dataclass

from everloop.control.schedules import pending_request
from everloop.control.timetable import worker_is_alive
from everloop.control.view import Asked
from everloop.errors import NotFound, UsageError
from everloop.ids import new_run_id
from everloop.ledger import Ledger, ScheduleAsked, SchedulePaused, ScheduleResumed, ScheduleState
from everloop.project import EXTERNAL, Model

__all__ = ["ScheduleRequest", "ask_for_run", "pause_schedule", "resume_schedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """A run that was asked for.

    run: the name it will have. by: who asked. new: it was asked for now, and not before. fact: the request's seq.
    after: the training that goes on, and that it waits for. worker: one is alive that will begin it. paused: the
    schedule is, which does not hold what a person asks for.
    """

    model: str
    run: str
    by: str
    new: bool
    fact: int
    after: str | None
    worker: bool
    paused: bool


def pause_schedule(ledger: Ledger, model: Model, *, by: str, reason: str) -> ScheduleState:
    """Let the model's schedule fire nothing until it is resumed.

    Raises UsageError where nothing fires by itself or no reason is given, Conflict where it is paused already.
    """
    _refuse_unscheduled(model, "there is nothing to pause")
    if not reason.strip():
        raise UsageError("say why, for whoever finds no new version: --reason TEXT")
    ledger.append("schedule.paused", model.name, SchedulePaused(model=model.name, reason=reason.strip()), actor=by)
    return _state(ledger, model)


def resume_schedule(ledger: Ledger, model: Model, *, by: str, reason: str = "") -> ScheduleState:
    """Let it fire again; what came due in between is handled as `train.missed` says. Raises Conflict."""
    paused = ledger.schedule(model.name)
    cause = paused.seq if paused is not None and paused.status == "paused" else None
    payload = ScheduleResumed(model=model.name, reason=reason.strip())
    ledger.append("schedule.resumed", model.name, payload, actor=by, cause=cause)
    return _state(ledger, model)


def _state(ledger: Ledger, model: Model) -> ScheduleState:
    state = ledger.schedule(model.name)
    assert state is not None
    return state


def ask_for_run(ledger: Ledger, model: Model, *, by: str, reason: str = "") -> ScheduleRequest:
    """Ask for the run that the schedule would ask for; the worker begins it, once. One that waits is not asked twice.

    Raises UsageError for a model without a schedule, NotFound where there is no champion to train anew.
    """
    if model.train.schedule is None:
        raise UsageError(f"{model.name} has no train.schedule in its model.yaml; 'everloop train' trains it now")
    routing = ledger.routing(model.name)
    if routing is None or routing.champion is None:
        raise NotFound(
            f"{model.name} has no champion yet, and a schedule trains the champion's spec anew; "
            "'everloop train' makes the first version"
        )
    with ledger.transaction() as transaction:
        asked = pending_request(transaction, model.name)
        new = asked is None
        if asked is None:
            payload = ScheduleAsked(
                model=model.name, schedule=model.train.schedule, run=new_run_id(), reason=reason.strip()
            )
            fact = transaction.append("schedule.asked", model.name, payload, actor=by)
            asked = Asked(seq=fact.seq, run=payload.run, by=by, at=fact.at)
    running = [run for run in ledger.runs(model.name, status="running") if run.workflow != "score"]
    state = ledger.schedule(model.name)
    return ScheduleRequest(
        model=model.name,
        run=asked.run,
        by=asked.by,
        new=new,
        fact=asked.seq,
        after=running[-1].run if running else None,
        worker=worker_is_alive(ledger),
        paused=state is not None and state.status == "paused",
    )


def _refuse_unscheduled(model: Model, so: str) -> None:
    schedule = model.train.schedule
    if schedule is None or schedule == EXTERNAL:
        why = "is external: what calls 'everloop train' decides" if schedule == EXTERNAL else "is left out"
        raise UsageError(f"train.schedule of {model.name} {why}, and nothing fires by itself, so {so}")
