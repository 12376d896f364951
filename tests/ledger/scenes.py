"""Facts that several tests write."""

from __future__ import annotations

from datetime import UTC, datetime

from everloop.ledger import (
    AlertOpened,
    DataSpan,
    Estimate,
    Fact,
    InvestigationMade,
    Ledger,
    NoticeSent,
    ProposalMade,
    RunStarted,
    SpecApproved,
    SpecWritten,
    Version,
    VersionRegistered,
    Window,
)

WINDOW = Window(start=datetime(2026, 1, 4, tzinfo=UTC), end=datetime(2026, 1, 5, tzinfo=UTC))


def notice(ledger: Ledger, sentence: str = "hello") -> Fact:
    payload = NoticeSent(channel="log", sentence=sentence, delivered=True)
    return ledger.append("notice.sent", "team", payload, actor="tester")


def candidate(*, bundle: str = "b1", run: str = "r-000001", spec: str = "fraud-s1") -> VersionRegistered:
    return VersionRegistered(
        model="fraud",
        bundle=bundle,
        run=run,
        spec=spec,
        spec_hash=f"hash of {spec}",
        metrics={"recall": Estimate(point=0.8, low=0.75, high=0.85, positives=120)},
        data=DataSpan(rows=1000, source="past.parquet"),
    )


def register(ledger: Ledger, **names: str) -> Version:
    return ledger.register_version("fraud", candidate(**names), actor="worker")[0]


def alert(ledger: Ledger, name: str = "a-1") -> Fact:
    payload = AlertOpened(
        alert=name,
        model="fraud",
        check="recall",
        window=WINDOW,
        sentence="recall 0.41 [0.30, 0.52] is below 0.75",
        evidence_kind="labels",
        evidence={"recall": 0.41},
    )
    return ledger.append("alert.opened", name, payload, actor="monitor")


def improvement(ledger: Ledger) -> Version:
    """From an alert to a version, linked only by what the payloads name."""
    alert(ledger)
    found = InvestigationMade(alert="a-1", model="fraud", sentence="a new pattern: amount > 900 at night")
    ledger.append("investigation.made", "a-1", found, actor="improvement")
    proposal = ProposalMade(model="fraud", spec="fraud-s2", reason="a-1", alert="a-1", parent="fraud-s1")
    ledger.append("proposal.made", "fraud-s2", proposal, actor="improvement")
    spec = SpecWritten(model="fraud", spec="fraud-s2", spec_hash="h2", parent="fraud-s1", alert="a-1", trigger="alert")
    ledger.append("spec.written", "fraud-s2", spec, actor="improvement")
    approval = SpecApproved(model="fraud", spec="fraud-s2", spec_hash="h2", by="alice")
    ledger.append("spec.approved", "fraud-s2", approval, actor="alice")
    run = RunStarted(run="r-000002", workflow="train", model="fraud", spec="fraud-s2")
    ledger.append("run.started", "r-000002", run, actor="worker")
    notice(ledger, "nothing to do with it")
    return register(ledger, bundle="b2", run="r-000002", spec="fraud-s2")
