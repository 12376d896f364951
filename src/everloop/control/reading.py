"""From the ledger, the log and the clock to a `View`.

What follows from facts alone is read again only when the ledger's head has moved, so a tick in which nothing happens
costs a query or two. What of one model cannot be read is left out, and asked again a minute later; the others are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from everloop.actors import policy_may_approve
from everloop.control.batches import BatchFacts, batch_at, read_batches
from everloop.control.positives import ChangedPositives
from everloop.control.recovery import recovered
from everloop.control.resources import Resources
from everloop.control.schedules import ScheduleFacts, read_schedule, schedule_at
from everloop.control.trouble import told
from everloop.control.view import AlertView, Arrived, ModelView, Try, View
from everloop.errors import LedgerUnreadable
from everloop.ledger import AlertState, Ledger, RunState, Version
from everloop.production import PIPELINE
from everloop.project import Model
from everloop.registry import last_pruning
from everloop.rollout import load_rollout

__all__ = ["POLICY", "Reader", "read_view"]

T = TypeVar("T")

POLICY = "policy:on_alert"
"""Who approves a proposal where `on_alert: rollout` does."""
_MONITOR_EVERY = timedelta(minutes=1)
_PRUNE_EVERY = timedelta(days=1)
_AFTER_TROUBLE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """A model as its facts tell it; `view` lacks only what the clock and the log say."""

    head: int
    read_at: datetime
    view: ModelView
    schedule: ScheduleFacts
    batches: BatchFacts
    data_start: datetime | None
    alert_runs: tuple[Try, ...]


@dataclass(frozen=True, slots=True)
class _Unread:
    """What could not be read: when, and why."""

    at: datetime
    sentence: str


@dataclass(slots=True)
class Reader:
    """Reads views of one project. looked_at: when a rollout's evidence was last looked at, by model.

    pruned_at: when this process last looked for what the retention rule lets go.
    """

    resources: Resources
    looked_at: dict[str, datetime] = field(default_factory=dict)
    pruned_at: datetime | None = None
    _facts: dict[str, _Facts] = field(default_factory=dict)
    _positives: ChangedPositives = field(default_factory=ChangedPositives)
    _monitored: dict[str, datetime] = field(default_factory=dict)
    _unread: dict[tuple[str, str], _Unread] = field(default_factory=dict)

    def view(self) -> View:
        """Everything as it is now."""
        now = self.resources.clock.now()
        head = self.resources.ledger.head().seq
        models = self.resources.project.models.values()
        seen = [self._tried(model, "state", now, partial(self._model_view, model, now, head), None) for model in models]
        return View(
            now=now,
            models=tuple(view for view in seen if view is not None),
            project=self.resources.project.name,
            retention_due=self._retention_due(now),
            unread=tuple(unread.sentence for unread in self._unread.values()),
        )

    def _tried(self, model: Model, what: str, now: datetime, read: Callable[[], T], otherwise: T) -> T:
        """What `read` gives; `otherwise` where it fails, and for a while after."""
        before = self._unread.get((model.name, what))
        if before is not None and timedelta(0) <= now - before.at < _AFTER_TROUBLE:
            return otherwise
        try:
            found = read()
        except LedgerUnreadable:
            raise  # not the model, but what all of them stand on
        except Exception as error:  # whatever one model's files raise, the others are seen
            why = told(error, logs=self.resources.project.paths.logs, name=f"{model.name}-{what}")
            sentence = f"{model.name}: its {what} cannot be read, which is tried again each minute: {why}"
            self._unread[model.name, what] = _Unread(now, sentence)
            return otherwise
        self._unread.pop((model.name, what), None)
        return found

    def _retention_due(self, now: datetime) -> bool:
        if not self.resources.project.settings.retention.any:
            return False
        if self.pruned_at is None:  # another worker, or this one before, may have looked today
            self.pruned_at = last_pruning(self.resources.ledger)
        return self.pruned_at is None or not timedelta(0) <= now - self.pruned_at < _PRUNE_EVERY

    def _model_view(self, model: Model, now: datetime, head: int) -> ModelView:
        facts = self._facts.get(model.name)
        if facts is None or facts.head != head or now < facts.read_at:  # a clock was put back
            facts = self._facts[model.name] = _read_facts(self.resources, model, head, now)
        view = facts.view
        if view.alerts:
            counted = partial(self._with_positives, view, facts, now)
            view = self._tried(view.model, "change", now, counted, view)
        return replace(
            view,
            looked_at=self.looked_at.get(model.name),
            schedule=schedule_at(facts.schedule, model, now),
            batches=batch_at(facts.batches, model, now),
            windows_due=self._tried(model, "windows", now, partial(self._windows_due, model, now), False),
        )

    def _windows_due(self, model: Model, now: datetime) -> bool:
        last = self._monitored.get(model.name)
        if last is not None and now - last < _MONITOR_EVERY:
            return False
        due = bool(self.resources.monitor(model.name).due(now))
        if not due:
            self._monitored[model.name] = now
        return due

    def _with_positives(self, view: ModelView, facts: _Facts, now: datetime) -> ModelView:
        """Counts, where a training might wait for them; runs that could not have met the change are no tries."""
        alerts = [alert for alert in view.alerts if alert.approval_seq is not None]
        if not alerts or view.running or view.rollout is not None:
            return view
        model, at = view.model, ChangedPositives.step(view.model, now)
        leading = max(alerts, key=lambda alert: alert.proposal_seq or 0)
        met_it = [one for one in facts.alert_runs if one.as_of >= leading.since]
        tries = tuple(replace(one, positives=self._count(model, leading, one.as_of, facts)) for one in met_it[-1:])
        counted = replace(leading, positives=self._count(model, leading, at, facts))
        others = tuple(counted if alert.id == leading.id else alert for alert in view.alerts)
        return replace(view, alerts=others, tries=tries)

    def _count(self, model: Model, alert: AlertView, as_of: datetime, facts: _Facts) -> int:
        log = self.resources.log(model.name)
        return self._positives.count(model, log, since=alert.since, as_of=as_of, data_start=facts.data_start)


def read_view(resources: Resources) -> View:
    """Everything as it is now, read afresh."""
    return Reader(resources=resources).view()


def _read_facts(resources: Resources, model: Model, head: int, now: datetime) -> _Facts:
    ledger = resources.ledger
    versions = tuple(ledger.versions(model.name))
    routing = ledger.routing(model.name)
    changes = ledger.facts(kind="routing.changed", subject=model.name)
    rollouts = ledger.rollouts(model.name)
    runs = [run for run in ledger.runs(model.name) if run.workflow == PIPELINE]
    started = {run.run: ledger.fact(run.seq) for run in runs if run.trigger == "alert"}
    alerts = tuple(_alert_view(ledger, alert) for alert in ledger.alerts(model.name, open_only=True))
    proposals = {alert.proposal for alert in alerts if alert.proposal is not None}
    tried = tuple(_try(ledger, run) for run in runs if run.trigger == "alert" or run.spec in proposals)
    opened = min((alert.state.opened_at for alert in alerts), default=None)
    answers = {one.number for one in versions if one.trigger == "alert" or one.spec in proposals}
    answered = [one for one in rollouts if one.status == "promoted" and one.version in answers]
    view = ModelView(
        model=model,
        routing=routing,
        versions=versions,
        been_champion=frozenset(fact.payload["champion"] for fact in changes if fact.payload["champion"] is not None),
        rolled_out=frozenset(one.version for one in rollouts),
        rollout=load_rollout(ledger, model.name),
        rollout_trigger=next((one.trigger for one in reversed(rollouts) if one.status == "running"), ""),
        alerts=alerts,
        running=tuple(run for run in runs if run.open),
        tries_before=len(started),
        promotions=0 if opened is None else sum(1 for one in answered if (one.ended_at or opened) >= opened),
        recovered=recovered(model, alerts, versions, routing),
        arrived=_arrived(ledger, model, runs, versions),
        policy_approves=policy_may_approve(resources.project, model, POLICY),
    )
    starts = [version.data["start"] for version in versions if version.data is not None and version.data.get("start")]
    return _Facts(
        head=head,
        read_at=now,
        view=view,
        schedule=read_schedule(ledger, model, runs=runs, deployed=changes[0].at if changes else None, now=now),
        batches=read_batches(ledger, model),
        data_start=min((_moment(text) for text in starts), default=None),
        alert_runs=tried,
    )


def _arrived(ledger: Ledger, model: Model, runs: Sequence[RunState], versions: Sequence[Version]) -> Arrived | None:
    """What was promoted last in the model's store; trained also where a person began the run that took it."""
    fact = None if model.spec_store.store.is_files else ledger.last("spec.arrived", model.name)
    if fact is None:
        return None
    spec_hash = fact.payload["spec_hash"]
    later = [run for run in runs if run.trigger == "store" and run.seq > fact.seq]
    begun = any(ledger.fact(run.seq).cause == fact.seq for run in later)
    made = any(version.seq > fact.seq and version.spec_hash == spec_hash for version in versions)
    approved = ledger.approval(model.name, spec_hash) is not None
    return Arrived(spec=fact.payload["spec"], seq=fact.seq, approved=approved, trained=begun or made)


def _alert_view(ledger: Ledger, alert: AlertState) -> AlertView:
    made = None if alert.investigation is None else ledger.fact(alert.investigation)
    since = None if made is None else made.payload.get("since")
    proposal = None if alert.proposal is None else ledger.last("proposal.made", alert.proposal)
    approval = None if alert.proposal is None else ledger.last("spec.approved", alert.proposal)
    return AlertView(
        state=alert,
        since=_moment(alert.window["start"] if since is None else since),
        proposal=alert.proposal,
        proposal_seq=None if proposal is None else proposal.seq,
        approval_seq=None if approval is None else approval.seq,
        by_policy=approval is not None and approval.payload["by"] == POLICY,
    )


def _try(ledger: Ledger, run: RunState) -> Try:
    begun = ledger.fact(run.seq)
    error = ""
    if run.status == "failed":
        failed = ledger.last("run.failed", run.run)
        error = "" if failed is None else str(failed.payload["error"])
    as_of = begun.payload["inputs"].get("as_of")
    return Try(
        run=run.run,
        spec=run.spec or "",
        status=run.status,
        as_of=begun.at if as_of is None else _moment(as_of),
        error=error,
    )


def _moment(text: str | datetime) -> datetime:
    at = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
