from datetime import UTC, datetime, timedelta

import pytest

from everloop.clock import SimulatedClock
from everloop.errors import Conflict, NotFound
from everloop.ledger import Ledger, VersionRegistered
from everloop.rollout import (
    AbortRequested,
    Comparison,
    Evidence,
    PauseRequested,
    ResumeRequested,
    Rollout,
    Stage,
    Tick,
    advance,
    deploy,
    load_rollout,
    load_routing,
    rollback,
    start,
)
from everloop.stats import Verdict

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def clock():
    return SimulatedClock(START)


@pytest.fixture
def ledger(tmp_path, clock):
    ledger = Ledger.open(tmp_path / "ledger.db", clock=clock)
    for number in range(1, 4):
        payload = VersionRegistered(
            model="fraud", bundle=f"{number}" * 64, run=f"r-{number}", spec="fraud-s1", spec_hash="h"
        )
        ledger.register_version("fraud", payload, actor="test")
    deploy(ledger, "fraud", 1, actor="alice", reason="first version")
    return ledger


def rollout(clock, *, challenger: int = 2, champion: int = 1) -> Rollout:
    plan = (Stage(mode="shadow", share=0.0, duration=DAY), Stage(mode="canary", share=0.1, duration=DAY))
    return Rollout(
        id=f"fraud/v{challenger}", model="fraud", challenger=challenger, champion=champion, plan=plan, salt="s",
        started_at=clock.now(), entered_at=clock.now(),
    )  # fmt: skip


def tick(clock, *, comparison="better", guardrail=None) -> Tick:
    guardrail = Verdict.passed("fine") if guardrail is None else guardrail
    found = Comparison(outcome=comparison, sentence=f"it is {comparison}")
    return Tick(at=clock.now(), evidence=Evidence(guardrails=(guardrail,), comparison=found))


def test_a_rollout_walks_through_the_ledger_to_its_promotion(ledger, clock):
    start(ledger, rollout(clock), actor="control")
    assert load_routing(ledger, "fraud").live == (1, 2)
    for expected in (0.1, 1.0):
        clock.advance(DAY)
        moved, _ = advance(ledger, "fraud", tick(clock), actor="control")
        assert load_routing(ledger, "fraud").exposure(2) == expected == moved.share
    routing = load_routing(ledger, "fraud")
    assert (routing.champion, routing.previous, routing.challengers) == (2, 1, ())
    assert load_rollout(ledger, "fraud") is None
    assert ledger.rollouts("fraud")[0].status == "promoted"
    assert ledger.verify().ok


def test_a_failed_guardrail_takes_the_challenger_out_and_says_why(ledger, clock):
    start(ledger, rollout(clock), actor="control")
    advance(ledger, "fraud", tick(clock, guardrail=Verdict.failed("errors: 3 rows", rows=9)), actor="control")
    assert load_routing(ledger, "fraud").live == (1,)
    fact = ledger.last("rollout.stopped")
    assert fact.payload["verdict"]["sentence"] == "errors: 3 rows"
    assert ledger.last("routing.changed").cause == fact.seq


def test_a_look_that_changes_nothing_writes_nothing(ledger, clock):
    start(ledger, rollout(clock), actor="control")
    head = ledger.head()
    advance(ledger, "fraud", tick(clock), actor="control")
    assert ledger.head() == head


def test_pause_and_resume_are_facts(ledger, clock):
    begun = start(ledger, rollout(clock), actor="control")
    advance(ledger, "fraud", PauseRequested(at=clock.now(), by="alice"), actor="alice")
    assert load_rollout(ledger, "fraud").status == "paused"
    clock.advance(DAY)
    advance(ledger, "fraud", ResumeRequested(at=clock.now(), by="alice"), actor="alice")
    assert load_rollout(ledger, "fraud").entered_at == begun.entered_at + DAY


def test_a_rollback_is_at_once_stops_what_goes_on_and_knows_who_was_before(ledger, clock):
    deploy(ledger, "fraud", 2, actor="alice", reason="by hand")
    start(ledger, rollout(clock, challenger=3, champion=2), actor="control")
    routing = rollback(ledger, "fraud", actor="alice", reason="recall fell")
    assert (routing.champion, routing.previous, routing.challengers) == (1, None, ())
    assert ledger.rollouts("fraud")[-1].status == "stopped"
    with pytest.raises(NotFound, match="only champion"):
        rollback(ledger, "fraud", actor="alice", reason="again")
    with pytest.raises(NotFound, match="nothing is deployed"):
        rollback(ledger, "other", actor="alice", reason="again")


def test_one_rollout_at_a_time_against_the_champion_there_is(ledger, clock):
    with pytest.raises(Conflict, match="the champion is v1"):
        start(ledger, rollout(clock, challenger=3, champion=2), actor="control")
    start(ledger, rollout(clock), actor="control")
    with pytest.raises(Conflict, match="one challenger at a time"):
        start(ledger, rollout(clock, challenger=3), actor="control")
    with pytest.raises(Conflict, match="is being rolled out"):
        deploy(ledger, "fraud", 3, actor="alice", reason="by hand")
    advance(ledger, "fraud", AbortRequested(at=clock.now(), by="alice"), actor="alice")
    with pytest.raises(NotFound, match="no rollout"):
        advance(ledger, "fraud", tick(clock), actor="control")
