"""Why a version is there: the chain of causes, back to the alert, the data and the people, as sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from everloop.errors import UsageError
from everloop.ledger import Fact, Ledger, Version
from everloop.project import FILES, Project

__all__ = ["Reason", "version_number", "why"]

_NAME = re.compile(r"(?:(?P<model>[^/]+)/)?v?(?P<number>[1-9]\d*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One link: who did what, when, and the fact it stands on."""

    seq: int
    at: datetime
    actor: str
    kind: str
    subject: str
    sentence: str
    cause: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        names = ("seq", "actor", "kind", "subject", "sentence", "cause")
        return {name: getattr(self, name) for name in names} | {"at": self.at.isoformat()}


def version_number(text: str) -> tuple[str | None, int]:
    """The model, where it is named, and the number of `v2`, `2` or `fraud/v2`. Raises UsageError."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a version; say v2, or fraud/v2 where the project has several models")
    return match["model"], int(match["number"])


def why(project: Project, ledger: Ledger, *, version: str, model: str | None = None) -> list[Reason]:
    """From the version back: what became of it first, then what made it, newest first, to what began it all.

    Raises NotFound for an unknown version, UsageError for what is no version's name.
    """
    named, number = version_number(version)
    chosen = project.model(named if named is not None else model)
    found = ledger.version(chosen.name, number)
    causes = ledger.why(chosen.name, number)
    told = [*_fate(ledger, found), *causes, *_proposals(ledger, causes), *_parents(ledger, causes)]
    told += _sources(ledger, causes)
    facts = {fact.seq: fact for fact in told}
    return [_reason(facts[seq]) for seq in sorted(facts, reverse=True)]


def _fate(ledger: Ledger, version: Version) -> list[Fact]:
    """What happened to the version since: rollouts, becoming champion, giving way."""
    kinds = ("rollout.started", "rollout.moved", "rollout.stopped", "rollout.promoted")
    rollouts = ledger.facts(kind=kinds, subject=version.name)
    routed = ledger.facts(kind=("routing.changed", "rollback.done"), subject=version.model, after=version.seq)
    return [*rollouts, *(fact for fact in routed if _concerns(fact, version.number))]


def _proposals(ledger: Ledger, causes: list[Fact]) -> list[Fact]:
    """Which of the specs were proposals: that fact follows the spec's own, and so is the cause of neither."""
    written = [fact.subject for fact in causes if fact.kind == "spec.written"]
    found = [ledger.last("proposal.made", spec) for spec in written]
    return [fact for fact in found if fact is not None]


def _parents(ledger: Ledger, causes: list[Fact]) -> list[Fact]:
    """What the specs came from, and who approved that; one generation back, no further."""
    parents = {fact.payload["parent"] for fact in causes if fact.kind == "spec.written"} - {None}
    found = [ledger.last(kind, parent) for parent in sorted(parents) for kind in ("spec.written", "spec.approved")]
    return [fact for fact in found if fact is not None]


def _sources(ledger: Ledger, causes: list[Fact]) -> list[Fact]:
    """What a run took from a store; of a folder's spec the approval says it."""
    runs = [fact.subject for fact in causes if fact.kind == "run.started"]
    found = [ledger.last("run.configured", run) for run in runs]
    return [fact for fact in found if fact is not None and fact.payload["store"] != FILES]


def _concerns(fact: Fact, number: int) -> bool:
    payload = fact.payload
    if fact.kind == "rollback.done":
        return number in (payload["from_version"], payload["to_version"])
    # Changes of exposure are told by the rollout's own facts; a first version has none and is told here.
    return bool(payload["champion"] == number and payload["previous"] is None and payload["revision"] == 1)


def _reason(fact: Fact) -> Reason:
    told = _SENTENCES.get(fact.kind)
    sentence = f"{fact.kind} {fact.subject}" if told is None else told(fact.payload)
    return Reason(
        seq=fact.seq,
        at=fact.at,
        actor=fact.actor,
        kind=fact.kind,
        subject=fact.subject,
        sentence=sentence,
        cause=fact.cause,
    )


Payload = Mapping[str, Any]


def _registered(payload: Payload) -> str:
    if payload.get("external"):
        held = f"; its traffic is held against {_rows(payload['data'])}" if payload["data"] else ""
        return f"v{payload['number']} was registered, which something else made and serves{held}"
    gates = "; ".join(one["sentence"] for one in payload["verdicts"]) or "no gate was asked"
    made = f"v{payload['number']} was registered by run {payload['run']} from {payload['spec']}"
    return (
        f"{made}, made from {_rows(payload['data'])}. Gates: {gates}" if payload["data"] else f"{made}. Gates: {gates}"
    )


def _rows(data: Payload) -> str:
    """`6,001 rows of payments.parquet, 2024-02-18 to 2024-03-04, 619 positive`."""
    source = f" of {data['source']}" if data["source"] else ""
    span = f", {data['start'][:10]} to {data['end'][:10]}" if data["start"] and data["end"] else ""
    known = data["positives"] is not None and data["positives"] != data["rows"]  # a regression counts every row
    positives = f", {data['positives']:,.0f} positive" if known else ""
    return f"{data['rows']:,} rows{source}{span}{positives}"


def _trained(payload: Payload) -> str:
    as_of = payload["inputs"].get("as_of")
    known = "" if as_of is None else f" on what was known at {as_of[:16].replace('T', ' ')}"
    trained = payload["spec"] or f"what {payload['inputs'].get('store')} held"
    return f"run {payload['run']} trained {trained}{known} (asked by {payload['trigger'] or 'a person'})"


def _written(payload: Payload) -> str:
    parent = f", child of {payload['parent']}" if payload["parent"] else ""
    rows = f", on {_rows(payload['data'])}" if payload["data"] else ""
    return f"{payload['spec']} was written ({payload['learner'] or 'by hand'}){parent}{rows}: {payload['reason']}"


def _approved(payload: Payload) -> str:
    note = f": {payload['note']}" if payload["note"] else ""
    edited = ", which a person had edited," if payload["details"].get("edited") else ""
    imported = f", brought from its file, where it is {payload['by']}'s" if payload["details"].get("imported") else ""
    return f"approved {payload['spec']}{edited}{imported}{note}"


def _configured(payload: Payload) -> str:
    by = f", written by {payload['modifier']}" if payload["modifier"] else ""
    return f"run {payload['run']} took {payload['spec']} from {payload['store']}, version {payload['version']}{by}"


def _arrived(payload: Payload) -> str:
    by = f" by {payload['modifier']}" if payload["modifier"] else ""
    return f"{payload['spec']} arrived from {payload['store']}, version {payload['version']}{by}"


def _proposed(payload: Payload) -> str:
    answers = f" in answer to {payload['alert']}" if payload["alert"] else ""
    changed = [name for name in payload["diff"] if not name.startswith("data.")]
    return f"{payload['spec']} was proposed{answers}; it changes {', '.join(changed) or 'only its data'}"


def _alerted(payload: Payload) -> str:
    return f"alert {payload['alert']} ({payload['check']}, {payload['evidence_kind']}): {payload['sentence']}"


def _checked(payload: Payload) -> str:
    window = payload["window"]
    failed = [one["name"] for one in payload["verdicts"] if one["outcome"] == "failed"]
    judged = f"failed {', '.join(failed)}" if failed else "passed"
    return f"the window {window['start'][:16].replace('T', ' ')} with {payload['rows']:,} rows {judged}"


def _moved(payload: Payload) -> str:
    share = payload["share"]
    to = "shadow" if payload["mode"] == "shadow" else f"{share:.4g} of the keys" if share is not None else "a step"
    return f"v{payload['version']} went on to {to}"


def _asked(payload: Payload) -> str:
    reason = f": {payload['reason']}" if payload["reason"] else ""
    return f"asked for the run that the schedule {payload['schedule']} asks for, now{reason}"


def _fired(payload: Payload) -> str:
    late = f", and was late: {payload['sentence']}" if payload.get("sentence") else ""
    return f"the schedule {payload['schedule']} came due at {payload['due'][:16].replace('T', ' ')}{late}"


_SENTENCES: Mapping[str, Callable[[Payload], str]] = {
    "alert.opened": _alerted,
    "check.done": _checked,
    "investigation.made": lambda payload: f"{payload['alert']} was investigated: {payload['sentence']}",
    "project.created": lambda payload: f"the project {payload['project']} began",
    "proposal.made": _proposed,
    "rollback.done": lambda payload: (
        f"v{payload['from_version']} gave way to v{payload['to_version']}: {payload['reason'] or 'rolled back'}"
    ),
    "rollout.moved": _moved,
    "rollout.promoted": lambda payload: f"v{payload['version']} became champion: {payload['sentence']}",
    "rollout.started": lambda payload: (
        f"v{payload['version']} began to be tried against v{payload['against']}, {' → '.join(payload['steps'])}"
    ),
    "rollout.stopped": lambda payload: f"v{payload['version']} was taken back: {payload['sentence']}",
    "routing.changed": lambda payload: f"v{payload['champion']} answers: {payload['reason']}",
    "run.configured": _configured,
    "run.started": _trained,
    "schedule.asked": _asked,
    "schedule.fired": _fired,
    "spec.approved": _approved,
    "spec.arrived": _arrived,
    "spec.put": lambda payload: f"{payload['spec']} was put into {payload['store']} as version {payload['version']}",
    "spec.written": _written,
    "version.registered": _registered,
}
