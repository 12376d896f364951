"""How a project stands: for each model who answers, how well, what is being tried, what needs someone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everloop.clock import Clock
from everloop.control.timetable import pause_record, schedule_status
from everloop.ledger import AlertState, Ledger, RolloutState, RoutingState, RunState
from everloop.project import Model, Project

__all__ = ["ModelStatus", "Status", "status"]

_ALIVE_S = 5.0
_SHOWN = ("mean_score", "high_risk_share", "medium_risk_share", "low_risk_share", "decision_share")
_LABELS = {
    "mean_score": "mean score",
    "high_risk_share": "high risk",
    "medium_risk_share": "medium risk",
    "low_risk_share": "low risk",
    "decision_share": "decided positive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model.

    champion_since: when it began to answer. window, matured_window: the newest judged windows, as `start`, `end`.
    metrics: name → {point, low, high, positives}, of the newest windows; promised: the champion's own, on test rows.
    rollout: {version, against, step, steps, share, mode, since} or None. next_retrain: of the schedule;
    None while it is paused, and then schedule_paused is {by, at, reason}.
    """

    model: str
    champion: int | None
    previous: int | None
    champion_since: datetime | None
    spec: str | None
    window: Mapping[str, Any] | None
    matured_window: Mapping[str, Any] | None
    metrics: Mapping[str, Mapping[str, Any]]
    promised: Mapping[str, Mapping[str, Any]]
    rollout: Mapping[str, Any] | None
    alerts: tuple[AlertState, ...]
    last_run: RunState | None
    next_retrain: datetime | None
    waiting_for: str | None = None
    schedule_paused: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        run = self.last_run
        names = ("run", "spec", "trigger", "status", "step", "sentence")
        return {
            "model": self.model,
            "champion": self.champion,
            "previous": self.previous,
            "champion_since": _iso(self.champion_since),
            "spec": self.spec,
            "window": self.window,
            "matured_window": self.matured_window,
            "metrics": {name: dict(value) for name, value in self.metrics.items()},
            "promised": {name: dict(value) for name, value in self.promised.items()},
            "rollout": None if self.rollout is None else dict(self.rollout),
            "alerts": [_alert(alert) for alert in self.alerts],
            "last_run": None if run is None else {name: getattr(run, name) for name in names},
            "next_retrain": _iso(self.next_retrain),
            "schedule_paused": None if self.schedule_paused is None else dict(self.schedule_paused),
            "waiting_for": self.waiting_for,
        }

    def lines(self) -> list[str]:
        """What a person reads, a line each."""
        return [*self._who(), "", *self._how_well(), *self._what_is_tried(), *self._what_needs_someone()]

    def _who(self) -> list[str]:
        if self.champion is None:
            return [
                f"{self.model}: nothing is deployed yet; 'everloop train' makes the first version, and "
                "'everloop model add' names one that something else serves"
            ]
        since = f", since {_minute(self.champion_since)}" if self.champion_since else ""
        before = f"; before it v{self.previous}" if self.previous else ""
        return [f"{self.model} v{self.champion} ({self.spec}) answers{since}{before}"]

    def _how_well(self) -> list[str]:
        if not self.metrics:
            return ["No window was judged yet."]
        shown = []
        if self.window is not None:
            shown.append(f"Traffic of {_span(self.window)}, {self.window['rows']:,} rows:")
            shown += [f"  • {_labelled(name, self.metrics[name])}" for name in _SHOWN if name in self.metrics]
        judged = [name for name in self.metrics if name not in _LABELS]
        if judged and self.matured_window is not None:
            matured, positives = self.matured_window["matured"], self.matured_window["positives"]
            # of a regression every row counts as a positive does
            counted = f"{matured:,} rows" if matured == positives else f"{positives:,} positives"
            shown.append(f"Outcomes of {_span(self.matured_window)}, {counted}:")
            shown += [f"  • {_labelled(name, self.metrics[name])}{self._promise(name)}" for name in judged]
        return shown

    def _promise(self, name: str) -> str:
        value = self.promised.get(name, {}).get("point")
        return "" if value is None else f"   (promised {value:.3f})"

    def _what_is_tried(self) -> list[str]:
        said = []
        if self.rollout is not None:
            one = self.rollout
            said += ["", f"Being tried: v{one['version']} against v{one['against']}, {one['steps'][one['step']]}"
                         f" of {' → '.join(one['steps'])}, since {_minute(one['since'])}",
                     "  → everloop rollout show"]  # fmt: skip
        run = self.last_run
        if run is not None:
            at = run.ended_at if run.ended_at is not None else run.started_at
            why = f": {run.sentence}" if run.sentence else ""
            of = run.spec or "what its store held"
            said.append(f"Last run: {run.run} of {of} ({run.trigger}) {run.status} {_minute(at)}{why}")
        if self.schedule_paused is not None:
            held = self.schedule_paused
            said += [f"Next retrain: paused by {held['by']} since {_minute(held['at'])}: {held['reason']}",
                     f"  → everloop schedule resume {self.model}"]  # fmt: skip
        elif self.next_retrain is not None:
            said.append(f"Next retrain: {_minute(self.next_retrain)}")
        return said

    def _what_needs_someone(self) -> list[str]:
        if not self.alerts:
            return ["", "No open alert."]
        said = [""]
        for alert in self.alerts:
            said.append(f"ALERT {alert.alert} ({alert.evidence_kind}), {_minute(alert.opened_at)}: {alert.sentence}")
            if alert.investigation is not None:
                said.append(f"  → everloop alert show {alert.alert}")
        if self.waiting_for:
            said.append(f"  → {self.waiting_for}")
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A project. pending: rows that wait in the spools. up: the process id of `everloop up`, None where it is not."""

    project: str
    at: datetime
    models: tuple[ModelStatus, ...]
    pending: int
    up: int | None
    workers: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def has_alert(self) -> bool:
        """Whether anything needs someone."""
        return any(model.alerts for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "project": self.project,
            "at": self.at.isoformat(),
            "up": self.up,
            "pending": self.pending,
            "workers": [dict(worker) for worker in self.workers],
            "models": [model.to_dict() for model in self.models],
        }

    def text(self, width: int = 80) -> str:
        """A box per model, no wider than `width` columns."""
        running = f"up, process {self.up}" if self.up else "not up"
        head = f"{self.project}: {running}; {self.pending:,} rows on their way to the log"
        boxes = [_box(f"{model.model} – {_minute(self.at)}", model.lines(), width) for model in self.models]
        return "\n".join([head, *boxes])


def status(project: Project, ledger: Ledger, clock: Clock, *, model: str | None = None) -> Status:
    """How the project stands, or one model of it."""
    from everloop.serving import read_slots
    from everloop.traffic import pending_rows

    chosen = sorted(project.models.values(), key=lambda one: one.name) if model is None else [project.model(model)]
    now = clock.now()
    workers = tuple(
        {"slot": record.slot, "pid": record.pid, "at": record.at.isoformat()} for record in read_slots(project)
    )
    return Status(
        project=project.name,
        at=now,
        models=tuple(_model_status(ledger, one, now) for one in chosen),
        pending=pending_rows(project.paths.spool),
        up=_holder(project.paths.lock),
        workers=workers,
    )


def _holder(lock: Path) -> int | None:
    """The process that holds the project up. A lock that nobody holds is an empty file, or one that a crash left."""
    import fcntl

    try:
        with lock.open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = handle.read(32).decode(errors="replace").strip()
                return int(text) if text.isdigit() else None
    except FileNotFoundError:
        return None
    return None


def _model_status(ledger: Ledger, model: Model, now: datetime) -> ModelStatus:
    from everloop.monitoring import latest

    routing = ledger.routing(model.name)
    seen = latest(model, ledger)
    runs = [run for run in ledger.runs(model.name) if run.workflow != "score"]  # a batch an hour would hide trainings
    running = ledger.rollouts(model.name, running_only=True)
    schedule = schedule_status(ledger, model, now=now, count=1)
    paused = pause_record(schedule.pause) if schedule.state == "paused" and schedule.pause is not None else None
    champion = None
    if routing is not None and routing.champion is not None:
        champion = ledger.version(model.name, routing.champion)
    return ModelStatus(
        model=model.name,
        champion=None if routing is None else routing.champion,
        previous=None if routing is None else routing.previous,
        champion_since=_champion_since(ledger, model.name, routing),
        spec=None if champion is None else champion.spec,
        window=_window(seen.traffic),
        matured_window=_window(seen.outcomes),
        metrics=seen.metrics,
        promised={} if champion is None else champion.metrics,
        rollout=_rollout(running[-1], routing) if running else None,
        alerts=seen.open_alerts,
        last_run=runs[-1] if runs else None,
        next_retrain=schedule.next[0].astimezone(UTC) if schedule.state == "active" and schedule.next else None,
        schedule_paused=paused,
        waiting_for=_waiting_for(ledger, seen.open_alerts) or _arrived(ledger, model),
    )


def _champion_since(ledger: Ledger, model: str, routing: RoutingState | None) -> datetime | None:
    if routing is None:
        return None
    since = None
    for fact in ledger.facts(kind="routing.changed", subject=model, newest_first=True):
        if fact.payload["champion"] != routing.champion:
            break
        since = fact.at
    return since


def _waiting_for(ledger: Ledger, alerts: Sequence[AlertState]) -> str | None:
    """What a person can do about an alert whose proposal nobody has approved yet."""
    for alert in alerts:
        if alert.proposal is not None and ledger.last("spec.approved", alert.proposal) is None:
            return f"{alert.proposal} answers it: review it, then everloop approve {alert.proposal} --by NAME"
    return None


def _arrived(ledger: Ledger, model: Model) -> str | None:
    """What a person can do about a configuration that somebody promoted in the model's store."""
    fact = None if model.spec_store.store.is_files else ledger.last("spec.arrived", model.name)
    if fact is None or ledger.approval(model.name, fact.payload["spec_hash"]) is not None:
        return None
    spec = fact.payload["spec"]
    return f"{spec} arrived from {fact.payload['store']}: review it, then everloop approve {spec} --by NAME"


def _rollout(state: RolloutState, routing: RoutingState | None) -> dict[str, Any]:
    exposed = () if routing is None else routing.challengers
    share = next((one.share for one in exposed if one.version == state.version), 0.0)
    mode = next((one.mode for one in exposed if one.version == state.version), "shadow")
    return {
        "version": state.version,
        "against": state.against,
        "step": min(state.step, len(state.steps) - 1),
        "steps": list(state.steps),
        "share": share,
        "mode": mode,
        "since": state.moved_at.isoformat(),
        "trigger": state.trigger,
    }


def _window(one: Any) -> dict[str, Any] | None:
    if one is None:
        return None
    names = ("start", "end", "version", "rows", "matured", "positives")
    return {name: getattr(one, name) for name in names}


def _alert(alert: AlertState) -> dict[str, Any]:
    names = ("alert", "check", "sentence", "evidence_kind", "proposal")
    return {name: getattr(alert, name) for name in names} | {"opened_at": alert.opened_at.isoformat()}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _minute(at: datetime | str | None) -> str:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return "–" if moment is None else moment.strftime("%Y-%m-%d %H:%M")


def _span(window: Mapping[str, Any]) -> str:
    start, end = datetime.fromisoformat(window["start"]), datetime.fromisoformat(window["end"])
    whole_day = (end - start).total_seconds() == 86_400 and start.hour == start.minute == 0
    return f"{start:%Y-%m-%d}" if whole_day else f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"


def _labelled(name: str, value: Mapping[str, Any]) -> str:
    point, low, high = (value.get(part) for part in ("point", "low", "high"))
    label = _LABELS.get(name, name.replace("_", " "))
    if point is None:
        return f"{label}: –"
    number = f"{point:.2%}" if name.endswith("_share") else f"{point:.3f}"
    if low is None or high is None:
        return f"{label}: {number}"
    ends = f"{low:.2%}, {high:.2%}" if name.endswith("_share") else f"{low:.3f}, {high:.3f}"
    return f"{label}: {number} [{ends}]"


def _box(title: str, lines: Sequence[str], width: int) -> str:
    """Lines in a frame of at most `width` columns, long ones folded under their own indent."""
    import textwrap

    inner = width - 4
    drawn = [f"┌{'─' * (inner + 2)}┐", f"│ {title:<{inner}} │", f"├{'─' * (inner + 2)}┤"]
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        folded = textwrap.wrap(line, inner, subsequent_indent=indent, break_long_words=True) or [""]
        drawn += [f"│ {part:<{inner}} │" for part in folded]
    return "\n".join([*drawn, f"└{'─' * (inner + 2)}┘"])
