"""The controller: reads the view, decides, acts, until nothing more is to be done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from everloop.actors import Actor
from everloop.control import actions as to_do
from everloop.control.actions import Action
from everloop.control.answering import investigated, proposed
from everloop.control.batches import batch_key, batch_subject
from everloop.control.decisions import decide
from everloop.control.evidence import RolloutEvidence, champions_bound
from everloop.control.reading import POLICY, Reader
from everloop.control.resources import Resources
from everloop.control.schedules import declined_key
from everloop.control.trouble import told
from everloop.errors import EverloopError, NotFound, Refused
from everloop.experiment import approve
from everloop.ids import new_run_id
from everloop.ledger import AlertClosed, ScheduleDeclined, ScheduleFired, ScheduleSet
from everloop.production import start_scoring, start_training
from everloop.project import Model, due_times, format_duration
from everloop.registry import prune, removal_sentence
from everloop.rollout import AbortRequested, Tick, advance, load_rollout, prepare, start

__all__ = ["ACTOR", "Controller"]

ACTOR = "control"
_MOST_ROUNDS = 20
_MOST_MISSED = 10_000
_MINUTE = timedelta(minutes=1)
_FIRST_PAUSE = timedelta(minutes=10)
_LONGEST_PAUSE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An action that could not be done: how often by now, and when it is tried again."""

    times: int
    again_at: datetime


class Controller:
    """Carries out what `decide` decides.

    wait: trainings are waited for within the tick, as a replay needs it; else they go on in the background.
    What cannot be done now (a spec that was edited, a disk that is full, a mistake of anybody's) is said and tried
    again later, each time later than before; everything else goes on.
    """

    def __init__(self, resources: Resources, *, wait: bool = False) -> None:
        self._resources = resources
        self._wait = wait
        self._reader = Reader(resources=resources)
        self._evidence: dict[str, RolloutEvidence] = {}
        self._failures: dict[Action, _Failure] = {}
        self._unread: tuple[str, ...] = ()
        self._acts: dict[type[Any], Callable[[Any], str | None]] = {
            to_do.JudgeWindows: self._judge_windows,
            to_do.Investigate: self._investigate,
            to_do.Propose: self._propose,
            to_do.ApproveByPolicy: self._approve,
            to_do.NoteSchedule: self._note_schedule,
            to_do.FireSchedule: self._fire_schedule,
            to_do.NoteBatches: self._note_batches,
            to_do.StartScoring: self._start_scoring,
            to_do.StartTraining: self._start_training,
            to_do.StartRollout: self._start_rollout,
            to_do.StepRollout: self._step_rollout,
            to_do.StopRollout: self._stop_rollout,
            to_do.CloseAlert: self._close_alert,
            to_do.RemoveOld: self._remove_old,
        }

    def tick(self) -> list[str]:
        """Do all that is to be done now; a sentence for each thing that was done, or could not be."""
        said: list[str] = []
        tried: set[Action] = set()
        for _ in range(_MOST_ROUNDS):
            view = self._reader.view()
            said += [sentence for sentence in view.unread if sentence not in self._unread]  # what lasts is said once
            self._unread = view.unread
            chosen = [one for one in decide(view) if one not in tried and not self._pauses(one, view.now)]
            if not chosen:
                break
            for action in chosen:
                tried.add(action)
                sentence = self._tried(action, view.now)
                if sentence:
                    said.append(sentence)
        return said

    def _pauses(self, action: Action, now: datetime) -> bool:
        failure = self._failures.get(action)
        return failure is not None and now < failure.again_at

    def _tried(self, action: Action, now: datetime) -> str | None:
        try:
            sentence = self._acts[type(action)](action)
        except Exception as error:  # whatever one model's action raises, the others go on
            before = self._failures.get(action)
            times = 1 if before is None else before.times + 1
            pause = min(_FIRST_PAUSE * 2 ** (times - 1), _LONGEST_PAUSE)
            self._failures[action] = _Failure(times, now + pause)
            done = type(action).__name__
            sentence = told(error, logs=self._resources.project.paths.logs, name=f"{action.model}-{done}")
            return f"{action.model}: {done} was not possible: {sentence}"
        self._failures.pop(action, None)
        return sentence

    def _judge_windows(self, action: to_do.JudgeWindows) -> str | None:
        resources = self._resources
        known = {alert.alert for alert in resources.ledger.alerts(action.model, open_only=True)}
        resources.monitor(action.model).judge(resources.clock.now())
        now_open = resources.ledger.alerts(action.model, open_only=True)
        opened = [f"alert {alert.alert}: {alert.sentence}" for alert in now_open if alert.alert not in known]
        closed = [f"alert {alert} closed" for alert in sorted(known - {alert.alert for alert in now_open})]
        return "; ".join([*opened, *closed]) or None

    def _investigate(self, action: to_do.Investigate) -> str:
        sentence = investigated(self._resources, self._resources.ledger.alert(action.alert))
        return f"{action.alert} investigated: {sentence}"

    def _propose(self, action: to_do.Propose) -> str:
        spec = proposed(self._resources, self._resources.ledger.alert(action.alert))
        return f"{spec.name} proposed for {action.alert}: {spec.reason}"

    def _approve(self, action: to_do.ApproveByPolicy) -> str:
        resources = self._resources
        model = resources.model(action.model)
        note = f"on_alert: rollout answers {action.alert}"
        approve(resources.project, model, action.spec, by=Actor.policy(POLICY), ledger=resources.ledger, note=note)
        return f"{action.spec} approved by {POLICY}"

    def _note_schedule(self, action: to_do.NoteSchedule) -> str | None:
        model, ledger = self._resources.model(action.model), self._resources.ledger
        schedule = model.train.schedule
        first = ledger.last(("schedule.set", "schedule.fired"), model.name) is None
        payload = ScheduleSet(
            model=model.name, schedule=schedule, timezone=model.timezone, before=action.before, since=action.since
        )
        ledger.append("schedule.set", model.name, payload, actor=ACTOR)
        if first:
            return None
        return f"{model.name}: the schedule is {schedule or 'none'} ({model.timezone}) from now on"

    def _fire_schedule(self, action: to_do.FireSchedule) -> str | None:
        key = (f"schedule:{action.model}", action.due.isoformat(), 0)
        if self._resources.ledger.keyed(*key) is not None:  # by a clock that was ahead then
            return None
        model = self._resources.model(action.model)
        schedule = model.train.schedule
        assert schedule is not None
        late = self._resources.clock.now() - action.due
        name = f"{action.model}/schedule/{action.due.isoformat()}"
        payload = ScheduleFired(
            model=action.model,
            schedule=schedule,
            due=action.due,
            run=None if action.skipped else self._run_id(name),
            late_s=max(0.0, late.total_seconds()),
            missed=_missed(model, action),
            skipped=action.skipped,
            sentence=action.sentence,
        )
        self._resources.ledger.append("schedule.fired", action.model, payload, actor=ACTOR, key=key)
        follows = f"skipped: {action.skipped}" if action.skipped else "a retrain follows"
        ago = format_duration(max(1, round(late / _MINUTE)) * _MINUTE)
        told = f" {ago} ago, and {action.sentence}" if action.sentence else ""
        return f"{action.model}: the schedule {schedule} came due{told}; {follows}"

    def _note_batches(self, action: to_do.NoteBatches) -> str | None:
        model = self._resources.model(action.model)
        schedule = model.score.schedule
        payload = ScheduleSet(
            model=model.name, schedule=schedule, timezone=model.timezone, before=action.before, since=action.since
        )
        self._resources.ledger.append("schedule.set", batch_subject(model.name), payload, actor=ACTOR)
        return f"{model.name}: batch scoring is {schedule or 'by hand'} ({model.timezone}) from now on"

    def _start_scoring(self, action: to_do.StartScoring) -> str:
        resources, name = self._resources, action.model
        if resources.engine is None:
            raise EverloopError("this process scores nothing; start 'everloop worker'")
        model, now = resources.model(name), resources.clock.now()
        assert model.score.schedule is not None
        payload = ScheduleFired(
            model=name,
            schedule=model.score.schedule,
            due=action.due,
            run=self._run_id(f"{name}/score/{action.due.isoformat()}"),
            late_s=max(0.0, (now - action.due).total_seconds()),
            missed=action.missed,
            sentence=action.sentence,
        )
        fact = resources.ledger.append(
            "schedule.fired", batch_subject(name), payload, actor=ACTOR, key=batch_key(name, action.due)
        )
        handle = start_scoring(
            resources.engine,
            resources.project,
            resources.ledger,
            model=model,
            as_of=now,
            actor=ACTOR,
            trigger="schedule",
            cause=fact.seq,
            run_id=fact.payload["run"],
            begin=False,
        )
        sentence = f"{name}: {handle.run_id} is to score what is new in {model.score.source}"
        if not self._wait:
            return sentence
        result = resources.engine.wait(handle.run_id)
        return f"{sentence}; {result.status}: {result.sentence or result.state.get('sentence', '')}"

    def _run_id(self, name: str) -> str:
        return new_run_id(seed=f"{self._resources.seed}/{name}")

    def _start_training(self, action: to_do.StartTraining) -> str:
        try:
            return self._trained(action)
        except (NotFound, Refused) as error:
            if action.run is None:
                raise  # a schedule's own is tried again, ever later
            payload = ScheduleDeclined(model=action.model, run=action.run, sentence=str(error))
            key, ledger = declined_key(action.run), self._resources.ledger
            ledger.append("schedule.declined", action.model, payload, actor=ACTOR, cause=action.cause, key=key)
            return f"{action.model}: run {action.run}, which someone asked for, cannot begin: {error}"

    def _trained(self, action: to_do.StartTraining) -> str:
        resources = self._resources
        if resources.engine is None:
            raise EverloopError("this process trains nothing; start 'everloop worker'")
        model = resources.model(action.model)
        reads_store = not model.spec_store.store.is_files and action.trigger != "alert"
        handle = start_training(
            resources.engine,
            resources.pipeline,
            resources.ledger,
            model=model,
            as_of=resources.clock.now(),
            actor=ACTOR,
            spec=None if reads_store else action.spec,
            trigger=action.trigger,
            alert=action.alert,
            cause=action.cause,
            run_id=self._run_id(action.name) if action.run is None else action.run,
            begin=False,
        )
        why = f"for alert {action.alert}" if action.alert else f"by {action.trigger}"
        sentence = f"{handle.run_id} is to train {model.spec_store.store if reads_store else action.spec} {why}"
        if not self._wait:
            return sentence
        result = resources.engine.wait(handle.run_id)
        ended = f": {result.sentence}" if result.sentence else ""
        return f"{sentence}; {result.status}{ended}"

    def _start_rollout(self, action: to_do.StartRollout) -> str:
        resources = self._resources
        now = resources.clock.now()
        prepared = prepare(
            resources.model(action.model),
            challenger=action.version,
            champion=action.champion,
            at=now,
            salt=f"{resources.seed}/{action.model}/v{action.version}",
            answers_alert=action.answers_alert,
        )
        reason = f"v{action.version} passed its gates"
        begun = start(
            resources.ledger, prepared, actor=ACTOR, trigger=action.trigger, reason=reason, cause=action.cause
        )
        return f"{begun.id} is tried against v{action.champion}"

    def _step_rollout(self, action: to_do.StepRollout) -> str | None:
        resources = self._resources
        now = resources.clock.now()
        before = load_rollout(resources.ledger, action.model)
        if before is None:
            return None
        evidence = self._evidence.get(action.model)
        if evidence is None or evidence.rollout.id != before.id:
            model, log = resources.model(action.model), resources.log(action.model)
            bound = champions_bound(resources.project, resources.ledger, before)
            evidence = RolloutEvidence(resources.project, model, log, before, bound=bound)
            self._evidence[action.model] = evidence
        self._reader.looked_at[action.model] = now
        tick = Tick(at=now, evidence=evidence.look(now))
        after, done = advance(resources.ledger, action.model, tick, actor=ACTOR)
        if after == before or not done:
            return None
        if after.open:
            share = "shadow" if after.stage.mode == "shadow" else f"{after.share:.4g} of the keys"
            return f"{after.id} goes on to {share}"
        return f"{after.id} {after.status}: {after.reason}"

    def _stop_rollout(self, action: to_do.StopRollout) -> str:
        resources = self._resources
        event = AbortRequested(at=resources.clock.now(), by=ACTOR, reason=action.reason)
        after, _ = advance(resources.ledger, action.model, event, actor=ACTOR)
        return f"{after.id} stopped: {action.reason}"

    def _close_alert(self, action: to_do.CloseAlert) -> str:
        ledger = self._resources.ledger
        alert = ledger.alert(action.alert)
        payload = AlertClosed(alert=alert.alert, model=alert.model, reason=action.reason)
        ledger.append("alert.closed", alert.alert, payload, actor=ACTOR, cause=alert.seq)
        return f"alert {alert.alert} closed: {action.reason}"

    def _remove_old(self, action: to_do.RemoveOld) -> str | None:
        resources = self._resources
        self._reader.pruned_at = resources.clock.now()
        done = prune(resources.project, resources.ledger, resources.clock, actor=ACTOR)
        return f"{action.model}: {removal_sentence(done.removed)} removed" if done.removed else None


def _missed(model: Model, action: to_do.FireSchedule) -> int:
    """How many times before the one that is fired had come due since the last; no more than are worth counting."""
    if action.after is None or model.train.schedule is None:
        return 0
    passed = due_times(model.train.schedule, after=action.after, timezone=model.timezone)
    return sum(1 for _ in takewhile(lambda due: due < action.due, islice(passed, _MOST_MISSED)))
