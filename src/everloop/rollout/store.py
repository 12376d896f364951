"""Routing and rollouts as facts: read from the ledger, decided purely, written in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from everloop.errors import Conflict, NotFound, Refused
from everloop.ledger import (
    Exposure as ExposureRecord,
)
from everloop.ledger import (
    Fact,
    Key,
    Ledger,
    RollbackDone,
    RolloutMoved,
    RolloutPromoted,
    RolloutStarted,
    RolloutState,
    RolloutStopped,
    RoutingState,
    Transaction,
    VerdictRecord,
)
from everloop.project import Model
from everloop.rollout.machine import (
    DEFAULT_PATIENCE,
    Action,
    Comparison,
    ComparisonJudged,
    Event,
    GuardrailsJudged,
    Promote,
    Rollout,
    SetExposure,
    Started,
    Stop,
    Tick,
    stages,
    step,
)
from everloop.rollout.routing import Exposure, Routing
from everloop.stats import Verdict

__all__ = ["advance", "deploy", "load_rollout", "load_routing", "prepare", "rollback", "routing_of", "start"]


def routing_of(state: RoutingState) -> Routing:
    """The ledger's record as what the router asks."""
    return Routing(
        model=state.model,
        revision=state.revision,
        champion=state.champion,
        previous=state.previous,
        challengers=tuple(
            Exposure(version=one.version, share=one.share, mode=one.mode, salt=one.salt) for one in state.challengers
        ),
    )


def load_routing(ledger: Ledger | Transaction, model: str) -> Routing:
    """Who answers for `model` now; revision 0 and no champion before the first version was released."""
    state = ledger.routing(model)
    return Routing(model=model, revision=0) if state is None else routing_of(state)


def load_rollout(ledger: Ledger | Transaction, model: str) -> Rollout | None:
    """The rollout of `model` that goes on, as its last fact left it, or None."""
    state = _running(ledger, model)
    if state is None:
        return None
    return msgspec.convert(ledger.fact(state.last_seq).payload["details"]["rollout"], Rollout)


def prepare(
    model: Model,
    *,
    challenger: int,
    champion: int,
    at: datetime,
    salt: str | None = None,
    answers_alert: bool = False,
) -> Rollout:
    """A rollout by the plan in model.yaml, not started yet.

    salt: one per rollout; from the versions and the time unless given, so that a seed repeats it.
    It waits for an undecided question as long as outcomes take to be known, and 30 days.
    """
    return Rollout(
        id=f"{model.name}/v{challenger}",
        model=model.name,
        challenger=challenger,
        champion=champion,
        plan=stages(model.rollout.steps),
        salt=f"{model.name}/v{challenger}@{at.isoformat()}" if salt is None else salt,
        started_at=at,
        entered_at=at,
        promote=model.promotes_if(answers_alert=answers_alert),
        answers_alert=answers_alert,
        patience=model.outcome.delay + DEFAULT_PATIENCE,
    )


def deploy(
    ledger: Ledger,
    model: str,
    version: int,
    *,
    actor: str,
    reason: str,
    cause: int | None = None,
    key: Key | None = None,
) -> Routing:
    """Make `version` the champion at once: the first version of a model, or what a person decides.

    Raises NotFound where there is no such version, Conflict while another rollout goes on.
    """
    with ledger.transaction() as transaction:
        routing = load_routing(transaction, model)
        if routing.champion == version:
            return routing
        going_on = _running(transaction, model)
        if going_on is not None:
            raise Conflict(
                f"{model} v{going_on.version} is being rolled out; end that with 'everloop rollout abort {model}' first"
            )
        state, _ = transaction.change_routing(
            model,
            expected_revision=routing.revision,
            champion=version,
            previous=routing.champion,
            reason=reason,
            actor=actor,
            cause=cause,
            key=key,
        )
    return routing_of(state)


def start(
    ledger: Ledger,
    rollout: Rollout,
    *,
    actor: str,
    trigger: str = "person",
    reason: str = "",
    cause: int | None = None,
) -> Rollout:
    """Begin a prepared rollout: its first step is exposed from now on.

    Raises Conflict where the model has another champion than the rollout's, or a rollout that goes on.
    """
    begun, actions = step(rollout, Started(at=rollout.started_at))
    with ledger.transaction() as transaction:
        routing = load_routing(transaction, rollout.model)
        if routing.champion != rollout.champion:
            now = "none" if routing.champion is None else f"v{routing.champion}"
            raise Conflict(f"{rollout.id} was to be tried against v{rollout.champion}, but the champion is {now}")
        going_on = _running(transaction, rollout.model)
        if going_on is not None:
            raise Conflict(f"{rollout.model} v{going_on.version} is being rolled out; one challenger at a time")
        payload = RolloutStarted(
            model=rollout.model,
            version=rollout.challenger,
            against=rollout.champion,
            steps=[_stage_name(begun, index) for index in range(len(begun.plan))],
            salt=rollout.salt,
            trigger=trigger,
            promote=rollout.promote,
            reason=reason,
            details={"rollout": msgspec.to_builtins(begun)},
        )
        fact = transaction.append("rollout.started", rollout.id, payload, actor=actor, cause=cause)
        _route(transaction, begun, actions, actor=actor, cause=fact.seq)
    return begun


def advance(
    ledger: Ledger,
    model: str,
    event: Event,
    *,
    actor: str,
    cause: int | None = None,
) -> tuple[Rollout, list[Action]]:
    """Give `event` to the model's rollout and write what comes of it; nothing is written where nothing changes.

    Reads, decides and writes in one transaction, so two deciders cannot both move a rollout. cause: else the fact
    that brought the rollout to where it was.
    Raises NotFound where no rollout goes on.
    """
    with ledger.transaction() as transaction:
        going_on = _running(transaction, model)
        before = load_rollout(transaction, model)
        if going_on is None or before is None:
            raise NotFound(f"no rollout of {model} goes on; 'everloop rollout list' shows those that ended")
        after, actions = step(before, event)
        if after != before:
            why = going_on.last_seq if cause is None else cause
            fact = _written(transaction, after, event, actions, actor=actor, cause=why)
            _route(transaction, after, actions, actor=actor, cause=fact.seq)
    return after, actions


def rollback(
    ledger: Ledger,
    model: str,
    *,
    actor: str,
    reason: str,
    cause: int | None = None,
    has_bundle: Callable[[str], bool] = lambda bundle: False,
) -> Routing:
    """Back to the previous champion, at once; a rollout that goes on is stopped with it.

    has_bundle: whether a bundle that the retention rule removed was put back since.
    Raises NotFound where there is no previous champion, Refused where its bundle was removed.
    """
    with ledger.transaction() as transaction:
        routing = load_routing(transaction, model)
        if routing.champion is None or routing.previous is None:
            now = "nothing is deployed" if routing.champion is None else f"v{routing.champion} is the only champion yet"
            raise NotFound(f"{model} has no previous champion to go back to: {now}")
        _refuse_removed(transaction, model, routing.previous, has_bundle)
        done = RollbackDone(model=model, from_version=routing.champion, to_version=routing.previous, reason=reason)
        fact = transaction.append("rollback.done", model, done, actor=actor, cause=cause)
        _stop_with(transaction, model, f"v{routing.champion} was rolled back", actor=actor, cause=fact.seq)
        state, _ = transaction.change_routing(
            model,
            expected_revision=routing.revision,
            champion=routing.previous,
            previous=_before(transaction, model, routing.previous),
            reason=reason,
            actor=actor,
            cause=fact.seq,
        )
    return routing_of(state)


def _refuse_removed(transaction: Transaction, model: str, number: int, has_bundle: Callable[[str], bool]) -> None:
    version = transaction.version(model, number)
    removal = transaction.removal(version.bundle)
    if removal is not None and not has_bundle(version.bundle):
        raise Refused(
            f"{version.name} cannot answer again: its bundle was removed by the retention rule on "
            f"{removal.at:%Y-%m-%d}; put the bundle's folder back from a copy, or train {version.spec} again"
        )


def _running(ledger: Ledger | Transaction, model: str) -> RolloutState | None:
    found = ledger.rollouts(model, running_only=True)
    return found[-1] if found else None


def _before(transaction: Transaction, model: str, champion: int) -> int | None:
    """Who was champion before `champion` became it the last time."""
    for fact in transaction.facts(kind="routing.changed", subject=model, newest_first=True):
        if fact.payload["champion"] == champion:
            previous: int | None = fact.payload["previous"]
            return previous
    return None


def _stop_with(transaction: Transaction, model: str, sentence: str, *, actor: str, cause: int) -> None:
    rollout = load_rollout(transaction, model)
    if rollout is None:
        return
    ended = msgspec.structs.replace(rollout, status="stopped", reason=sentence, paused_at=None)
    payload = RolloutStopped(
        model=model,
        version=rollout.challenger,
        sentence=sentence,
        step=rollout.index,
        details={"rollout": msgspec.to_builtins(ended)},
    )
    transaction.append("rollout.stopped", rollout.id, payload, actor=actor, cause=cause)


def _written(
    transaction: Transaction,
    after: Rollout,
    event: Event,
    actions: Sequence[Action],
    *,
    actor: str,
    cause: int | None,
) -> Fact:
    verdicts, comparison = _evidence_of(event)
    details: dict[str, Any] = {"rollout": msgspec.to_builtins(after)}
    if verdicts:
        details["guardrails"] = [verdict.to_dict() for verdict in verdicts]
    if comparison is not None:
        details["comparison"] = msgspec.to_builtins(comparison)
    verdict = _decisive(verdicts)
    common: dict[str, Any] = {"model": after.model, "version": after.challenger, "details": details, "verdict": verdict}
    action = actions[0] if actions else None
    match action:
        case Promote(reason=reason):
            kind, payload = "rollout.promoted", RolloutPromoted(sentence=reason, replaced=after.champion, **common)
            return transaction.append(kind, after.id, payload, actor=actor, cause=cause)
        case Stop(reason=reason):
            stopped = RolloutStopped(sentence=reason, step=after.index, **common)
            return transaction.append("rollout.stopped", after.id, stopped, actor=actor, cause=cause)
        case _:
            sentence = after.reason if after.status == "paused" else f"{_stage_name(after, after.index)}"
            moved = RolloutMoved(
                step=after.index, share=after.share, mode=after.stage.mode, sentence=sentence, **common
            )
            return transaction.append("rollout.moved", after.id, moved, actor=actor, cause=cause)


def _evidence_of(event: Event) -> tuple[tuple[Verdict, ...], Comparison | None]:
    match event:
        case Tick(evidence=evidence):
            return evidence.guardrails, evidence.comparison
        case GuardrailsJudged(verdicts=verdicts):
            return verdicts, None
        case ComparisonJudged(comparison=comparison):
            return (), comparison
        case _:
            return (), None


def _decisive(verdicts: Sequence[Verdict]) -> VerdictRecord | None:
    failed = [verdict for verdict in verdicts if verdict.outcome == "failed"]
    if not failed:
        return None
    return VerdictRecord(outcome="failed", sentence=failed[0].sentence, evidence=dict(failed[0].evidence))


def _route(transaction: Transaction, rollout: Rollout, actions: Sequence[Action], *, actor: str, cause: int) -> None:
    for action in actions:
        routing = load_routing(transaction, rollout.model)
        champion, previous = routing.champion, routing.previous
        others = tuple(one for one in routing.challengers if one.version != action.version)
        match action:
            case SetExposure(version=version, mode=mode, share=share, salt=salt):
                others += (Exposure(version=version, mode=mode, share=share, salt=salt),)
            case Promote(version=version):
                champion, previous = version, champion
            case Stop():
                pass
        transaction.change_routing(
            rollout.model,
            expected_revision=routing.revision,
            champion=champion,
            previous=previous,
            challengers=[
                ExposureRecord(version=one.version, share=one.share, mode=one.mode, salt=one.salt) for one in others
            ],
            reason=action.reason,
            actor=actor,
            cause=cause,
        )


def _stage_name(rollout: Rollout, index: int) -> str:
    stage = rollout.plan[index]
    return "shadow" if stage.mode == "shadow" else f"{stage.share:.12%}".rstrip("%").rstrip("0").rstrip(".") + "%"
