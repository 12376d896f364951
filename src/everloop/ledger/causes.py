"""From a fact back to what brought it about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from everloop.ledger.facts import Fact

__all__ = ["causes_of"]

Last = Callable[[str | Sequence[str], str | None], Fact | None]


def causes_of(fact: Fact, last: Last) -> list[int]:
    """The seqs of a fact's causes: its `cause`, and the facts that its payload names.

    last: finds the newest fact of a kind about a subject. A version names its run, a run its spec, a spec its
    approval, proposal and parent run, a proposal its alert: so the chain holds also where a link was not given.
    """
    found = [] if fact.cause is None else [fact.cause]
    for kind, subject in _named(fact):
        earlier = last(kind, subject)
        if earlier is not None and earlier.seq < fact.seq:
            found.append(earlier.seq)
    return found


def _named(fact: Fact) -> list[tuple[str | Sequence[str], str]]:
    payload = fact.payload
    links: dict[str, list[tuple[str | Sequence[str], str | None]]] = {
        "version.registered": [("run.started", payload.get("run")), ("spec.approved", payload.get("spec"))],
        "run.started": [("spec.approved", payload.get("spec")), ("spec.written", payload.get("spec"))],
        "spec.arrived": [("spec.written", payload.get("spec"))],
        "spec.approved": [("spec.written", payload.get("spec"))],
        "spec.written": [
            ("proposal.made", payload.get("spec")),
            ("run.started", payload.get("run")),
            ("alert.opened", payload.get("alert")),
        ],
        "proposal.made": [("investigation.made", payload.get("alert")), ("alert.opened", payload.get("alert"))],
        "investigation.made": [("alert.opened", payload.get("alert"))],
        "rollout.started": [("version.registered", fact.subject)],
        "rollout.promoted": [("rollout.started", fact.subject)],
    }
    return [(kind, subject) for kind, subject in links.get(fact.kind, []) if subject]
