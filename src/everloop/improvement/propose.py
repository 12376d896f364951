"""The answer to an alert as the next spec: a parent, what differs, and the reason; a person or a policy approves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from everloop.clock import Clock
from everloop.data import Rows, load_features, read_contract
from everloop.errors import NotFound
from everloop.improvement.compared import matured
from everloop.improvement.investigation import Investigation
from everloop.improvement.study import known_data
from everloop.improvement.variation import Variation, best_variation
from everloop.ledger import AlertState, DataSpan, Estimate, Fact, Key, Ledger, ProposalMade, SpecWritten, Version
from everloop.project import Model, Spec, write_spec
from everloop.tasks import get_task

__all__ = ["Proposal", "propose"]

_ACTOR: Final = "improvement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The spec that answers an alert, written beside its parent, and the fact `proposal.made`."""

    spec: Spec
    fact: Fact


def propose(
    model: Model,
    alert: AlertState,
    investigation: Investigation,
    *,
    ledger: Ledger,
    clock: Clock,
    known: Rows | None = None,
    attempt: int = 1,
) -> Proposal:
    """Write the next spec: the champion's, to be trained on what is known by now.

    known: all labelled rows known now; with them hyperparameters beside the champion's are tried on the newest of them
    and taken where clearly better. Without, the champion's are kept. attempt: 1, or more to answer the same alert
    once more, such as when its positives have doubled.
    Repeated, also after a kill between file and fact, it finds its own spec and writes no second.
    Raises NotFound where there is no champion.
    """
    key: Key = (f"alert:{alert.alert}", "propose", attempt)
    made = ledger.keyed(*key)
    if made is not None:
        return Proposal(spec=model.spec(made.payload["spec"]), fact=made)
    spec = _written(model, alert, attempt)
    if spec is None:
        version = _champion(model, ledger, investigation)
        spec = _next(model, alert, investigation, version, clock=clock, known=known, attempt=attempt)
        write_spec(model.spec_path(spec.number), spec)
    return Proposal(spec=spec, fact=_told(model, alert, investigation, spec, ledger=ledger, key=key))


def _written(model: Model, alert: AlertState, attempt: int) -> Spec | None:
    """The spec of this attempt, where its file was written and its fact was not."""
    mine = [
        spec for spec in model.specs() if (spec.data.get("alert"), spec.data.get("attempt")) == (alert.alert, attempt)
    ]
    return mine[0] if mine else None


def _champion(model: Model, ledger: Ledger, investigation: Investigation) -> Version:
    routing = ledger.routing(model.name)
    number = None if routing is None else routing.champion
    if number is None:
        number = investigation.findings.get("version")
    if number is None:
        raise NotFound(f"{model.name} has no champion to propose a successor of; 'everloop train' makes the first")
    return ledger.version(model.name, number)


def _next(
    model: Model,
    alert: AlertState,
    investigation: Investigation,
    version: Version,
    *,
    clock: Clock,
    known: Rows | None,
    attempt: int,
) -> Spec:
    parent = model.spec(version.spec)
    variation = _variation(model, parent, investigation, known, clock)
    data = dict(investigation.findings.get("known", {})) if known is None else known_data(known)
    spec = Spec.new(
        name=f"{model.name}-s{model.next_spec_number()}",
        objective=str(model.objective),
        learner=parent.learner,
        hyperparameters=dict(variation.hyperparameters),
        features=parent.features,
        calibration=parent.calibration,
        quantiles=parent.quantiles,
        seed=parent.seed,
        expected=_expected(investigation, "recall" if get_task(model.task).decides else model.objective.metric),
        data={**data, "alert": alert.alert, "attempt": attempt},
        parent=parent.name,
        reason=_reason(alert, investigation, variation, attempt),
        created_at=clock.now(),
    )
    return spec.model_copy(update={"diff": _diff(parent, spec, version)})


def _variation(model: Model, parent: Spec, investigation: Investigation, known: Rows | None, clock: Clock) -> Variation:
    own = Variation(hyperparameters=dict(parent.hyperparameters), changed=(), sentence="")
    if known is None or investigation.findings.get("focus") == "inputs":
        return own
    rows = matured(known.frame, as_of=clock.now(), delay=model.outcome.delay)
    tree = load_features(model.features_path, read_contract(model)).tree()
    tree = tree.only(parent.features) if parent.features else tree
    return best_variation(
        rows, tree, parent, since=investigation.since, clock=clock, own=model.own_learners, task=model.task
    )


def _expected(investigation: Investigation, metric: str) -> dict[str, Any]:
    """What the retrain estimate promises of the metric; an empty one where it could not be made."""
    retrained = investigation.findings.get("repair", {}).get("retrained")
    return {} if retrained is None else {metric: retrained}


def _reason(alert: AlertState, investigation: Investigation, variation: Variation, attempt: int) -> str:
    parts = [f"alert {alert.alert} ({alert.check}): {investigation.sentence}"]
    repair = investigation.findings.get("repair", {}).get("sentence")
    if repair:
        parts.append(str(repair))
    if variation.changed:
        parts.append(variation.sentence)
    if attempt > 1:
        parts.append(f"proposed again, time {attempt}, as more of it is known")
    return ". ".join([parts[0], *(f"{part[0].upper()}{part[1:]}" for part in parts[1:])])


def _diff(parent: Spec, child: Spec, version: Version) -> dict[str, Any]:
    """key → {from, to}: the rows it is to be trained on, and what else differs."""
    trained: Mapping[str, Any] = parent.data if version.data is None else version.data
    diff = {
        f"data.{name}": {"from": trained.get(name), "to": child.data[name]}
        for name in ("start", "end", "rows", "positives")
        if name in child.data and not _same(trained.get(name), child.data[name])
    }
    before, after = dict(parent.hyperparameters), dict(child.hyperparameters)
    diff |= {
        f"hyperparameters.{name}": {"from": before.get(name), "to": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    if parent.objective != child.objective:
        diff["objective"] = {"from": parent.objective, "to": child.objective}
    if not diff:
        diff["data.alert"] = {"from": parent.data.get("alert"), "to": child.data["alert"]}
    return diff


def _same(first: object, second: object) -> bool:
    """Equal as values, a time in whatever way it is written."""
    if isinstance(first, str) and isinstance(second, str):
        return datetime.fromisoformat(first) == datetime.fromisoformat(second)
    return first == second


def _told(
    model: Model, alert: AlertState, investigation: Investigation, spec: Spec, *, ledger: Ledger, key: Key
) -> Fact:
    """Both facts or none."""
    run, _, attempt = key
    with ledger.transaction() as transaction:
        written = transaction.append(
            "spec.written",
            spec.name,
            _spec_fact(alert, spec),
            actor=_ACTOR,
            cause=investigation.seq,
            key=(run, "propose-spec", attempt),
        )
        payload = ProposalMade(
            model=model.name,
            spec=spec.name,
            reason=spec.reason,
            spec_hash=spec.hash,
            parent=spec.parent,
            diff=dict(spec.diff),
            investigation=investigation.seq,
            alert=alert.alert,
            details={"attempt": attempt},
        )
        return transaction.append("proposal.made", spec.name, payload, actor=_ACTOR, cause=written.seq, key=key)


def _spec_fact(alert: AlertState, spec: Spec) -> SpecWritten:
    data = spec.data
    start, end = (None if data.get(name) is None else datetime.fromisoformat(data[name]) for name in ("start", "end"))
    return SpecWritten.of(
        spec,
        trigger="alert",
        alert=alert.alert,
        expected={
            metric: Estimate(**{name: interval[name] for name in ("point", "low", "high", "level")})
            for metric, interval in spec.expected.items()
        },
        data=DataSpan(
            rows=data.get("rows", 0),
            start=start,
            end=end,
            source=data.get("source", ""),
            hash=data.get("hash", ""),
            positives=data.get("positives"),
        ),
    )
