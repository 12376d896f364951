"""The loop's decisions: from what is, what to do next. Pure: no reading, no writing, no clock.

An alert is answered as `on_alert` says. `notify`: people are told, nothing else. `propose`: it is investigated and a
spec proposed; once a person approved it, it is trained, gated and exposed. `rollout`: the policy approves it itself,
unless `approval.by` asks for an approver and the roles do not name the policy as one: then it waits as under `propose`.

A training for an alert is worth its while once it can be fitted on the change: at least `FIRST_POSITIVES` positives of
the changed span (a person's own approval waits for none). What a gate or a rollout refused is tried again when they
have doubled, as long as the alert is open; after a promotion once more, where the loss persists.

What something else serves is watched, and people are told: nothing here was its spec. A person begins its rollouts.

A configuration that somebody promotes in the model's store is trained once, when it is approved.
"""

from __future__ import annotations

from collections.abc import Iterator

from everloop.control.actions import (
    Action,
    ApproveByPolicy,
    CloseAlert,
    FireSchedule,
    Investigate,
    JudgeWindows,
    NoteBatches,
    NoteSchedule,
    Propose,
    RemoveOld,
    StartRollout,
    StartScoring,
    StartTraining,
    StepRollout,
    StopRollout,
)
from everloop.control.view import AlertView, ModelView, Try, View

__all__ = ["FIRST_POSITIVES", "MOST_PROMOTIONS", "decide", "leading_alert", "positives_needed"]

FIRST_POSITIVES = 30
"""As many as a gate needs to judge a metric at all."""
MOST_PROMOTIONS = 2
"""The first answer to an alert, and once more where the loss persists."""
_MORE_POSITIVES = 10


def decide(view: View) -> list[Action]:
    """What is to be done now, in order; nothing where all is as it should be."""
    found = [action for model in view.models for action in _of_model(model, view)]
    # last: what is begun in this round refers to what may not go
    return [*found, RemoveOld(model=view.project)] if view.retention_due else found


def _of_model(model: ModelView, view: View) -> Iterator[Action]:
    if model.windows_due:
        yield JudgeWindows(model=model.model.name)
    yield from _outdated(model)
    yield from _answers(model)
    yield from _noted(model)
    yield from _trainings(model)
    yield from _batches(model)
    yield from _exposure(model, view)


def _outdated(model: ModelView) -> Iterator[Action]:
    """The monitor closes what is over; it can say nothing of a check that it is no longer asked."""
    for alert in model.alerts:
        if alert.state.check not in model.model.monitor.checks:
            reason = f"{alert.state.check} is no longer among monitor.checks"
            yield CloseAlert(model=model.model.name, alert=alert.id, reason=reason)


def _answers(model: ModelView) -> Iterator[Action]:
    """Investigate, propose, approve: as far as the policy goes without anybody."""
    policy, name = model.model.on_alert, model.model.name
    if policy == "notify":
        return
    for alert in model.alerts:
        if _is_external(alert, model):
            continue  # there is no spec to ask what else it could have been
        if not alert.investigated:
            yield Investigate(model=name, alert=alert.id)
        elif alert.proposal is None and _asks_for_a_proposal(alert, model):
            yield Propose(model=name, alert=alert.id)
        elif (
            alert.proposal is not None and alert.approval_seq is None and policy == "rollout" and model.policy_approves
        ):
            yield ApproveByPolicy(model=name, spec=alert.proposal, alert=alert.id)


def _is_external(alert: AlertView, model: ModelView) -> bool:
    """Whether the alert is about a version that something else made and serves."""
    number = alert.state.record.get("version")
    version = None if number is None else model.version(number)
    return version is not None and version.external


def _asks_for_a_proposal(alert: AlertView, model: ModelView) -> bool:
    """One proposal at a time; outcomes, once they are known, say more than what was seen without them."""
    others = [other for other in model.alerts if other.proposal is not None]
    if not others:
        return True
    return alert.state.evidence_kind == "labels" and all(one.state.evidence_kind != "labels" for one in others)


def leading_alert(model: ModelView) -> AlertView | None:
    """The open alert whose proposal is being followed: the newest approved one."""
    approved = [alert for alert in model.alerts if alert.approval_seq is not None and alert.proposal is not None]
    return max(approved, key=lambda alert: alert.proposal_seq or 0, default=None)


def positives_needed(alert: AlertView, tries: tuple[Try, ...]) -> int:
    """How many positives of the changed span the next run for this alert waits for."""
    if not tries:
        return FIRST_POSITIVES if alert.by_policy else 0
    last = tries[-1]
    if last.status == "failed" and last.error == "Undecided":
        return max(FIRST_POSITIVES, last.positives + max(_MORE_POSITIVES, last.positives // 4))
    return max(FIRST_POSITIVES, 2 * last.positives)


def _trainings(model: ModelView) -> Iterator[Action]:
    """At most one run of a model at a time; what answers an alert comes first."""
    if model.running:
        return
    for_alert = _for_alert(model)
    if for_alert is not None:
        yield for_alert
        return
    arrived = model.arrived
    if arrived is not None and arrived.approved and not arrived.trained:
        name = f"{model.model.name}/store/{arrived.seq}"
        yield StartTraining(model=model.model.name, spec=arrived.spec, trigger="store", name=name, cause=arrived.seq)
        return
    yield from _scheduled(model)


def _for_alert(model: ModelView) -> Action | None:
    alert = leading_alert(model)
    if alert is None or alert.proposal is None or _is_answered(model) or _awaits_exposure(model):
        return None
    if alert.positives is None or alert.positives < positives_needed(alert, model.tries):
        return None
    return StartTraining(
        model=model.model.name,
        spec=alert.proposal,
        trigger="alert",
        name=f"{alert.id}/{alert.proposal}/{model.tries_before}",
        alert=alert.id,
        cause=alert.approval_seq,
    )


def _is_answered(model: ModelView) -> bool:
    """Whether nothing more is tried: as good as before, or promoted as often as a policy may on one alert."""
    return model.promotions >= MOST_PROMOTIONS or (model.promotions > 0 and model.recovered)


def _awaits_exposure(model: ModelView) -> bool:
    """Whether a challenger that no schedule asked for is being tried, or about to be."""
    waiting = model.waiting
    tried = model.rollout is not None and model.rollout_trigger != "schedule"
    return tried or (waiting is not None and waiting.trigger != "schedule")


def _noted(model: ModelView) -> Iterator[Action]:
    """Another schedule in model.yaml than before is a change of state, and counts from when it was seen."""
    schedule = model.schedule
    if model.champion is not None and not schedule.known and schedule.since is not None:
        yield NoteSchedule(model=model.model.name, before=schedule.said, since=schedule.since)


def _scheduled(model: ModelView) -> Iterator[Action]:
    """What someone asked for, and what is due; a schedule that is paused fires nothing and begins nothing."""
    schedule, name = model.schedule, model.model.name
    champion = None if model.champion is None else model.version(model.champion)
    if champion is None or champion.external:
        return
    if schedule.asked is not None:
        yield StartTraining(
            model=name,
            spec=champion.spec,
            trigger="person",
            name=f"{name}/asked/{schedule.asked.seq}",
            cause=schedule.asked.seq,
            run=schedule.asked.run,
        )
    if schedule.paused:
        return
    if schedule.due is not None:
        skipped = _why_not_scheduled(model)
        yield FireSchedule(
            model=name, due=schedule.due, skipped=skipped, after=schedule.after, sentence=schedule.sentence
        )
    elif schedule.asked is None and schedule.fired is not None and not schedule.started:
        yield StartTraining(
            model=name,
            spec=champion.spec,
            trigger="schedule",
            name=f"{name}/schedule/{schedule.fired.isoformat()}",
            cause=schedule.fired_seq,
        )


def _batches(model: ModelView) -> Iterator[Action]:
    """Batch scoring needs nothing but a champion, and waits for no training, alert or rollout."""
    batches, name = model.batches, model.model.name
    if model.champion is None or model.champion_is_external:
        return
    if not batches.known and batches.since is not None:
        yield NoteBatches(model=name, before=batches.said, since=batches.since)
    elif batches.due is not None:
        yield StartScoring(model=name, due=batches.due, missed=batches.missed, sentence=batches.sentence)


def _why_not_scheduled(model: ModelView) -> str | None:
    if model.schedule.late in ("idle", "paused") and model.model.train.missed == "skip":
        return f"{model.schedule.sentence}, and train.missed is skip"
    if _awaits_exposure(model):
        return "another challenger is being tried"
    alert = leading_alert(model)
    if alert is not None and not _is_answered(model):
        return f"{alert.id} is being answered by {alert.proposal}"
    return None


def _exposure(model: ModelView, view: View) -> Iterator[Action]:
    """One rollout of a model at a time; the newest version waits its turn, one for an alert takes it."""
    waiting, rollout, name = model.waiting, model.rollout, model.model.name
    if rollout is not None:
        if waiting is not None and waiting.trigger == "alert" and model.rollout_trigger == "schedule":
            reason = f"v{waiting.number}, which answers an alert, takes its place"
            yield StopRollout(model=name, version=rollout.challenger, reason=reason)
        elif model.looked_at is None or view.now - model.looked_at >= view.rollout_every:
            yield StepRollout(model=name, version=rollout.challenger)
        return
    if waiting is not None and model.champion is not None:
        yield StartRollout(
            model=name,
            version=waiting.number,
            champion=model.champion,
            answers_alert=waiting.trigger == "alert",
            trigger=waiting.trigger,
            cause=waiting.seq,
        )
